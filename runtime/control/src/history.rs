//! What the journal can tell.

use std::sync::Arc;

use async_trait::async_trait;
use heald_model::{Attempt, Experience, Incident, IncidentId, JournalError, Row, ServiceName, Stage};
use tokio::sync::broadcast;

/// Which incidents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentQuery {
    /// Of this service.
    pub service: Option<ServiceName>,
    /// At this stage.
    pub stage: Option<Stage>,
    /// Only those that are not resolved.
    pub open: bool,
    /// At most so many.
    pub limit: u32,
    /// After skipping so many.
    pub offset: u32,
}

/// A part of a longer list, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The part.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
}

/// What the journal can tell.
#[async_trait]
pub trait History: Send + Sync {
    /// Incidents, newest first.
    async fn incidents(&self, query: IncidentQuery) -> Result<Page<Incident>, JournalError>;
    /// One incident with its whole timeline.
    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, JournalError>;
    /// Attempts, newest first, of one service or all.
    async fn attempts(
        &self,
        service: Option<ServiceName>,
        limit: u32,
        offset: u32,
    ) -> Result<Page<Attempt>, JournalError>;
    /// The fix catalog.
    async fn catalog(&self) -> Result<Vec<Experience>, JournalError>;
    /// Rows with a sequence number above `after`, oldest first.
    async fn rows(&self, after: u64, limit: u32) -> Result<Vec<Row>, JournalError>;
    /// The sequence number of the newest row.
    async fn newest(&self) -> Result<u64, JournalError>;
    /// Rows as they are written. A receiver that lags learns so and reads [`History::rows`].
    fn subscribe(&self) -> broadcast::Receiver<Arc<Row>>;
}
