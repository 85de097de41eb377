//! What detectors say. Findings are levels: each evaluation returns all that is true now.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fact::Fact;
use crate::id::Signature;
use crate::plugin::Source;
use crate::time::Moment;

/// How bad. Ascending, so that comparing works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Will become a problem.
    Warning,
    /// A problem.
    Error,
    /// The service does not do its work.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        })
    }
}

/// Something that holds of a service now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// `service-down`, `high-latency`, `memory-pressure`, ... or a plug-in's own word.
    pub condition: String,
    /// What within the service. (condition, subject) is the finding's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How bad.
    pub severity: Severity,
    /// How sure, 0..1.
    pub score: f64,
    /// Not yet so, but expected then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Moment>,
    /// For a person.
    pub message: String,
    /// The numbers behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Fact>,
}

impl Finding {
    /// What is learned about: the condition, its subject, and the fault that caused it where that is known, so that a hang and a
    /// crash of one service are two things.
    pub fn signature(&self) -> Signature {
        let signature = Signature::new(&self.condition, self.subject.as_deref());
        match self.cause() {
            Some(cause) => Signature::from(format!("{signature}:{cause}")),
            None => signature,
        }
    }

    /// The fault that caused it (`refused`, `timeout`, `status`, `exit`, ...), where that is known.
    pub fn cause(&self) -> Option<&str> {
        Fact::find_text(&self.evidence, "cause")
    }

    /// The identity of the finding within its service.
    pub fn key(&self) -> (&str, Option<&str>) {
        (&self.condition, self.subject.as_deref())
    }
}

/// A finding, who made it, and since when it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Concern {
    /// What.
    pub finding: Finding,
    /// Who said so.
    pub source: Source,
    /// Since when.
    pub since: Moment,
}
