//! The board of probes: how the checks of every service went, and checking on demand.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use heald_model::{Breaker, Health, Moment, ServiceName};
use serde::{Deserialize, Serialize};

/// How a service's checks went, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// In one word.
    pub health: Health,
    /// When it was last checked.
    pub last_check: Option<Moment>,
    /// How long the last successful check took.
    pub response_time: Option<Duration>,
    /// What the last check said, if it failed.
    pub error: Option<String>,
    /// Failed checks in a row; skipped ones do not count.
    pub consecutive_failures: u32,
    /// Checks made; skipped ones do not count.
    pub total_checks: u64,
    /// Those that passed.
    pub successful_checks: u64,
    /// The circuit.
    pub breaker: Breaker,
    /// The newest metrics: `cpu`, `memory` in percent, `error_rate` 0..1, custom ones.
    pub metrics: BTreeMap<String, f64>,
}

/// The state of all checks, and checking on demand.
#[async_trait]
pub trait ProbeBoard: Send + Sync {
    /// Every service's pulse, by name.
    fn pulses(&self) -> Vec<(ServiceName, ProbeStatus)>;
    /// Checks these services now (None: all), all at the same time, and returns when every check has ended. The timers are not
    /// disturbed; an open circuit is not checked.
    async fn check_now(&self, only: Option<&[ServiceName]>);
    /// The machine's own metrics: `cpu`, `memory`, `disk` in percent. Empty until they were measured once.
    fn host(&self) -> BTreeMap<String, f64>;
}
