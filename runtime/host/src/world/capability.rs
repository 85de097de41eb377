//! The capabilities that an operator can grant to a plug-in and revoke, and their words.
//!
//! It does not say what a plug-in holds: `grants` does.

use std::fmt;
use std::str::FromStr;

use crate::config::Grant;

/// What can be granted beyond the log, and revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Requests to granted hosts.
    Http,
    /// Granted directories.
    Files,
    /// The memory that a plug-in's services share.
    Kv,
    /// Looking at processes.
    Process,
    /// Touching them.
    ProcessControl,
    /// The real time.
    Clock,
    /// Real randomness.
    Random,
}

impl Capability {
    /// All capabilities.
    pub const ALL: [Self; 7] =
        [Self::Http, Self::Files, Self::Kv, Self::Process, Self::ProcessControl, Self::Clock, Self::Random];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Files => "files",
            Self::Kv => "kv",
            Self::Process => "process",
            Self::ProcessControl => "process-control",
            Self::Clock => "clock",
            Self::Random => "random",
        }
    }

    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::Http => 1,
            Self::Files => 1 << 1,
            Self::Kv => 1 << 2,
            Self::Process => 1 << 3,
            Self::ProcessControl => 1 << 4,
            Self::Clock => 1 << 5,
            Self::Random => 1 << 6,
        }
    }

    /// Whether it is built into an instance when the instance is made.
    pub(crate) const fn is_built_in(self) -> bool {
        matches!(self, Self::Files | Self::Clock | Self::Random)
    }

    pub(crate) fn is_granted(self, grant: &Grant) -> bool {
        match self {
            Self::Http => grant.http.is_some(),
            Self::Files => grant.files.is_some(),
            Self::Kv => grant.kv,
            Self::Process => grant.process,
            Self::ProcessControl => grant.process_control,
            Self::Clock => grant.clock,
            Self::Random => grant.random,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// No capability has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no capability; there are {}", Capability::ALL.map(Capability::as_str).join(", "))]
pub struct NoCapability {
    name: String,
}

impl FromStr for Capability {
    type Err = NoCapability;

    fn from_str(name: &str) -> Result<Self, NoCapability> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| NoCapability { name: name.to_owned() })
    }
}
