//! A service as the engine knows it: what the operator said of it, and how it stands now.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fact::Fact;
use crate::id::{IncidentId, PluginName, ProbeId, ServiceName};
use crate::process::ProcessState;
use crate::sample::Role;

/// How heald treats what it decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Watch and decide, do nothing.
    Observe,
    /// Ask before disrupting.
    Approve,
    /// Heal.
    #[default]
    Auto,
}

/// What the operator wants of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// It is to run and be healed.
    #[default]
    Running,
    /// It is to be down; its being down is no fault.
    Stopped,
    /// Hands off: watched, not touched.
    Paused,
}

impl fmt::Display for Desired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
        })
    }
}

/// What a service's probes say, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The last check passed.
    Healthy,
    /// The last check failed.
    Unhealthy,
    /// Not checked yet.
    #[default]
    Unknown,
    /// Not checked now: the circuit is open.
    CircuitOpen,
}

impl Health {
    /// The word the API and the log use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
            Self::CircuitOpen => "circuit_open",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A circuit breaker's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// Checks go through.
    #[default]
    Closed,
    /// Checks are suspended.
    Open,
    /// Trial checks go through.
    HalfOpen,
    /// An operator holds it open.
    ForcedOpen,
    /// It only counts.
    Disabled,
}

impl Breaker {
    /// The word the API and the log use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the engine must know of a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// Unique within the service.
    pub id: ProbeId,
    /// What its verdict is for.
    pub role: Role,
    /// How often it looks.
    pub period: Duration,
    /// How long one look may take.
    pub timeout: Duration,
    /// Failures in a row that make a change.
    pub failure_threshold: u32,
    /// Successes in a row that make a change.
    pub success_threshold: u32,
}

/// A service as configured. It does not change while heald runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Its name.
    pub name: ServiceName,
    /// The operator's tags.
    pub tags: Vec<String>,
    /// The services it needs.
    pub depends_on: Vec<ServiceName>,
    /// What is checked.
    pub probes: Vec<ProbeSpec>,
    /// True if heald runs its processes.
    pub supervised: bool,
    /// How many copies run, if heald runs them.
    pub replicas: u32,
    /// From spawn to the first expected success.
    pub startup: Duration,
    /// Detectors, asked all.
    pub detectors: Vec<PluginName>,
    /// Policies, asked in order.
    pub policies: Vec<PluginName>,
    /// How decisions are treated.
    pub mode: Mode,
    /// The operator's own object.
    pub metadata: serde_json::Value,
}

/// A service that another needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dependency {
    /// Its name.
    pub service: ServiceName,
    /// Whether it serves; None: unknown, paused or disabled.
    pub up: Option<bool>,
}

/// How a service stands now: what a plug-in is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// The operator's tags.
    pub tags: Vec<String>,
    /// What it needs, and whether that serves.
    pub depends_on: Vec<Dependency>,
    /// How many copies are wanted.
    pub wanted: u32,
    /// How many run.
    pub running: u32,
    /// How many are ready.
    pub ready: u32,
    /// Its circuit.
    pub breaker: Breaker,
    /// The operator's own object.
    pub metadata: serde_json::Value,
    /// What else is known: `desired`, `mode`, ...
    pub facts: Vec<Fact>,
}

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
