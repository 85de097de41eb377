//! The stage of an incident: a word that incidents and journal records share.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an incident stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Found, nothing done yet.
    #[default]
    Opened,
    /// Something was done or is about to be.
    Healing,
    /// Over, by proof.
    Resolved,
    /// Handed to people.
    Escalated,
}

impl Stage {
    /// The word used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Healing => "healing",
            Self::Resolved => "resolved",
            Self::Escalated => "escalated",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
