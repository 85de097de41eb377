//! What a host is given of the processes that heald runs: who looks at them, and who touches them.
//!
//! It holds no behaviour.

use std::sync::Arc;

use async_trait::async_trait;
use heald_engine::ports::{ProcessState, Processes};
use heald_model::ServiceName;

/// What of the world plug-ins can be granted, beyond files and the network.
#[derive(Clone, Default)]
pub struct Reach {
    /// The processes to look at; None: there are none.
    pub processes: Option<Arc<dyn Processes>>,
    /// And to touch.
    pub control: Option<Arc<dyn Touch>>,
}

/// What a plug-in's action may do to the processes of the service it was called for. Who implements it need not ask the guard: the
/// action itself had its permit.
#[async_trait]
pub trait Touch: Send + Sync {
    /// Starts what does not run; replica None: all.
    async fn start(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError>;
    /// Stops.
    async fn stop(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError>;
    /// Stops and starts.
    async fn restart(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError>;
    /// Sends a signal, by its name without SIG.
    async fn signal(&self, service: &ServiceName, replica: Option<&str>, name: &str) -> Result<(), TouchError>;
    /// The processes as they stand.
    fn children(&self, service: &ServiceName) -> Vec<ProcessState>;
}

/// Why a process was not touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TouchError {
    /// heald runs no such service or copy.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for makes no sense, such as a signal that does not exist.
    #[error("{0}")]
    BadInput(String),
    /// It was tried and did not work.
    #[error("{0}")]
    Failed(String),
}
