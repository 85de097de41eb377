//! What the daemon gives a host of the processes that heald runs: how to look at them, and how to touch them.
//!
//! It holds no behaviour.

use std::sync::Arc;

use async_trait::async_trait;
use heald_engine::ports::Processes;
use heald_model::ProcessState;
use heald_model::ServiceName;

/// The processes that plug-ins can be granted.
#[derive(Clone, Default)]
pub struct ProcessAccess {
    /// Looks at processes; None: heald runs none.
    pub processes: Option<Arc<dyn Processes>>,
    /// Touches processes; None: heald runs none.
    pub control: Option<Arc<dyn Touch>>,
}

/// What a plug-in's action may do to the processes of its service. An implementation need not ask the guard: the action
/// itself had its permit.
#[async_trait]
pub trait Touch: Send + Sync {
    /// Starts what does not run. Without a replica: all.
    async fn start(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError>;
    /// Stops a replica, or all.
    async fn stop(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError>;
    /// Stops and starts a replica, or all.
    async fn restart(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError>;
    /// Sends a signal, by its name without SIG.
    async fn signal(&self, service: &ServiceName, replica: Option<&str>, name: &str) -> Result<(), TouchError>;
    /// The processes of a service.
    fn children(&self, service: &ServiceName) -> Vec<ProcessState>;
}

/// Why a process was not touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TouchError {
    /// heald runs no such service or copy.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense, such as a signal that does not exist.
    #[error("{0}")]
    BadInput(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
}
