//! How a service stands, for whoever asks. Data.

use heald_model::{Breaker, Desired, IncidentId, Mode, ServiceName};

use crate::ports::ProcessState;

/// How a service stands, in one object.
#[derive(Clone, Debug)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// Whether it serves; None: not known, or not wanted.
    pub up: Option<bool>,
    /// Its circuit.
    pub breaker: Breaker,
    /// What the operator wants of it.
    pub desired: Desired,
    /// How decisions about it are treated.
    pub mode: Mode,
    /// Its processes, if heald runs them.
    pub processes: Vec<ProcessState>,
    /// Its open incidents, the leading one first.
    pub incidents: Vec<IncidentId>,
    /// What it needs.
    pub depends_on: Vec<ServiceName>,
    /// The operator's tags.
    pub tags: Vec<String>,
}
