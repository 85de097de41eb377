//! What the prober is told about one service: its checks, its circuit and how it starts.
//!
//! Plain data. It starts nothing and validates nothing but that probe ids differ.

use std::collections::BTreeSet;
use std::time::Duration;

use heald_breaker::BreakerConfig;
use heald_model::{PROCESS_PROBE, ProbeId, ProbeSpec, Role, ServiceName};

use crate::config::ProbeConfig;

/// What is checked of one service.
#[derive(Clone, Debug)]
pub struct ServiceProbes {
    /// The service.
    pub service: ServiceName,
    /// The configured probes.
    pub probes: Vec<ProbeConfig>,
    /// The settings of the circuit.
    pub breaker: BreakerConfig,
    /// How often the processes are measured; `None` if heald does not run them.
    pub process: Option<Duration>,
    /// How many replicas run, if heald runs them.
    pub replicas: u32,
    /// How long the service may take from its start to its first success.
    pub startup: Duration,
}

impl ServiceProbes {
    /// A service without probes and with the defaults: one replica, ten seconds to start.
    pub fn new(service: ServiceName) -> Self {
        Self {
            service,
            probes: Vec::new(),
            breaker: BreakerConfig::default(),
            process: None,
            replicas: 1,
            startup: Duration::from_secs(10),
        }
    }

    /// An id that two probes share.
    pub fn duplicate(&self) -> Option<ProbeId> {
        let mut ids = BTreeSet::new();
        self.specs().into_iter().map(|spec| spec.id).find(|id| !ids.insert(id.clone()))
    }

    /// The probes as the engine knows them, the implicit process probe included.
    pub fn specs(&self) -> Vec<ProbeSpec> {
        let process = self.process.map(|period| ProbeSpec {
            id: ProbeId::from(PROCESS_PROBE),
            role: Role::Liveness,
            period,
            timeout: period,
            failure_threshold: 1,
            success_threshold: 1,
        });
        process.into_iter().chain(self.probes.iter().map(ProbeConfig::spec)).collect()
    }
}
