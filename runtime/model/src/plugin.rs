//! Who answered, and what went wrong inside a plug-in. A guest's failure is data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{IncidentId, PluginName, ServiceName};
use crate::time::Moment;

/// One plug-in as loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PluginRef {
    /// The configured name.
    pub name: PluginName,
    /// Its own version.
    pub version: String,
    /// SHA-256 of the component, lower-case hex.
    pub digest: String,
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.digest.get(..12).unwrap_or(&self.digest))
    }
}

/// Who made a finding or a decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A plug-in.
    Plugin(PluginRef),
    /// heald's own rules: the fallback, or what only the host can know.
    Native,
    /// A person or a program, over the API; the name it gave.
    Operator(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plugin(plugin) => plugin.fmt(f),
            Self::Native => f.write_str("native"),
            Self::Operator(name) => write!(f, "operator {name}"),
        }
    }
}

/// What kind of failure it was; the words of incidents and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCause {
    /// It trapped (a panic, `unreachable`, out-of-bounds access).
    Trap,
    /// It used more CPU time than its budget.
    CpuBudget,
    /// The call as a whole took longer than its deadline.
    Deadline,
    /// It asked for more memory, table or instances than its limit.
    Memory,
    /// Its stack overflowed.
    Stack,
    /// It called the host too often or moved too many bytes.
    HostBudget,
    /// Its answer breaks the contract: not finite, out of range, too large.
    BadOutput,
    /// It refused its configuration.
    BadConfig,
    /// It answered with an error of its own.
    Refused,
    /// It could not be loaded.
    Load,
}

impl FaultCause {
    /// The word used in conditions, metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::CpuBudget => "cpu-budget",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::HostBudget => "host-budget",
            Self::BadOutput => "bad-output",
            Self::BadConfig => "bad-config",
            Self::Refused => "refused",
            Self::Load => "load",
        }
    }
}

impl fmt::Display for FaultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure of a plug-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind.
    pub cause: FaultCause,
    /// What happened, for a person.
    pub detail: String,
}

impl Fault {
    /// A fault of this kind.
    pub fn new(cause: FaultCause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.detail)
    }
}

impl std::error::Error for Fault {}

/// A service about which the plug-in is not asked for a while, after failing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Which service.
    pub service: ServiceName,
    /// Failures in a row.
    pub strikes: u32,
    /// Until then; one trial call follows. None: struck, not rested.
    pub until: Option<Moment>,
}

/// How often it agreed with what was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Answers that were compared.
    pub compared: u64,
    /// Those that were the same in what matters: the action with its parameters, or the set of findings.
    pub agreed: u64,
    /// Those that were not.
    pub disagreed: u64,
    /// Calls in which it passed, and so said nothing to compare.
    pub abstained: u64,
    /// Calls in which it failed.
    pub faulted: u64,
    /// Of those that disagreed: it would have acted where nothing was done.
    pub would_have_acted: u64,
    /// And it would have done nothing where something was done.
    pub would_have_withheld: u64,
}

impl Agreement {
    /// The share of compared answers that disagreed, 0..1; 0 when none was compared.
    pub fn disagreement(&self) -> f64 {
        // Counts far below 2^53.
        #[allow(clippy::cast_precision_loss)]
        let share = if self.compared == 0 { 0.0 } else { self.disagreed as f64 / self.compared as f64 };
        share
    }
}

/// One answer that differed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// When.
    pub at: Moment,
    /// About which service.
    pub service: ServiceName,
    /// In which incident, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// What it would have done, or found.
    pub would: String,
    /// What was done, or found.
    pub did: String,
    /// Who said that.
    pub by: String,
}
