//! What the prober needs from its owner, and the changes it reports back.
//!
//! This module only names the ports. It makes no check and holds no state.

use std::sync::Arc;

use heald_engine::ports::{Clock, Entropy, Processes, SampleSink};
use heald_model::{Breaker, Health, Moment, ServiceName};
use tokio::sync::mpsc;

/// What the prober needs from its owner.
#[derive(Clone)]
pub struct ProberPorts {
    /// The clock for the times in samples. The schedule uses the prober's own timers.
    pub clock: Arc<dyn Clock>,
    /// Random numbers for the open times of circuits.
    pub entropy: Arc<dyn Entropy>,
    /// The processes to measure.
    pub processes: Arc<dyn Processes>,
    /// Where samples go.
    pub samples: Arc<dyn SampleSink>,
    /// Where changes of health and circuit go.
    pub changes: mpsc::UnboundedSender<StatusChange>,
}

/// A change of a service's health or circuit. The prober has already logged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusChange {
    /// The health changed.
    Health {
        /// The service.
        service: ServiceName,
        /// When.
        at: Moment,
        /// The health before.
        from: Health,
        /// The health after.
        to: Health,
        /// The message of the failed check, if there is one.
        why: Option<String>,
    },
    /// The circuit changed.
    Breaker {
        /// The service.
        service: ServiceName,
        /// When.
        at: Moment,
        /// The state before.
        from: Breaker,
        /// The state after.
        to: Breaker,
        /// Why.
        why: String,
    },
}
