//! What probes saw.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{ProbeId, Replica, ServiceName};
use crate::time::Moment;

/// What a probe's verdict is for, as the kubelet means it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Failing means that the service must be healed.
    #[default]
    Liveness,
    /// Failing means that it should get no traffic.
    Readiness,
    /// Until it passes, the others wait.
    Startup,
    /// Measures only, no verdict.
    Metrics,
}

impl Role {
    /// The word used in configuration and in the plug-in contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Startup => "startup",
            Self::Metrics => "metrics",
        }
    }
}

/// What one probe saw at one instant. None is not measured, never zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The service.
    pub service: ServiceName,
    /// Which probe; `process` is the implicit one of a supervised process.
    pub probe: ProbeId,
    /// Which copy, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<Replica>,
    /// Which life of the process it saw, counted from 1; None: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// When the check began.
    pub at: Moment,
    /// None: no verdict (the prober itself failed, or the probe only measures).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// Why not ok: `refused`, `unreachable`, `dns`, `tls`, `timeout`, `status`, `body`, `exit`, `signal`, `missing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// For a person: `Connection refused on port 8002`, `Timeout after 5.0s`, `HTTP 503`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The service's own word: JSON body `status`, gRPC serving status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<String>,
    /// How long the check took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Duration>,
    /// HTTP or gRPC status or exit code, by kind of probe; a signal is its negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// Percent (0..100) of what the service may use: its quota, else the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Percent (0..100) of the nearest limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
    /// Failed share of requests, 0..1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// Custom metrics, base unit in the name: `memory_bytes`, `open_fds`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, f64>,
}

impl Sample {
    /// A sample that measured nothing yet.
    pub fn new(service: ServiceName, probe: ProbeId, at: Moment) -> Self {
        Self {
            service,
            probe,
            replica: None,
            incarnation: None,
            at,
            ok: None,
            fault: None,
            message: None,
            reported: None,
            latency: None,
            status: None,
            cpu: None,
            memory: None,
            error_rate: None,
            values: BTreeMap::new(),
        }
    }
}

/// One probe on one replica, with its newest samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Which probe.
    pub probe: ProbeId,
    /// What its verdict is for.
    pub role: Role,
    /// Which copy, if there are several.
    pub replica: Option<Replica>,
    /// How often it looks.
    pub period: Duration,
    /// Failures in a row that make a change.
    pub failure_threshold: u32,
    /// Successes in a row that make a change.
    pub success_threshold: u32,
    /// Oldest first.
    pub samples: VecDeque<Sample>,
    /// So many at the end of `samples` were in no earlier call.
    pub fresh: u32,
}

impl Series {
    /// Adds a sample, keeping at most `bound` of them.
    pub fn push(&mut self, sample: Sample, bound: usize) {
        self.samples.push_back(sample);
        while self.samples.len() > bound.max(1) {
            self.samples.pop_front();
        }
        self.fresh = self.fresh.saturating_add(1).min(u32::try_from(self.samples.len()).unwrap_or(u32::MAX));
    }
}
