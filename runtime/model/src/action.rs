//! Actions: what is on offer, what was intended, what was claimed, what was proved.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fact::Fact;
use crate::id::{IncidentId, IntentId, ServiceName, Signature};
use crate::plugin::Source;
use crate::time::Moment;

/// What an action does to a service, which is what the guard's rules go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Brings back a dead process that is wanted running.
    Restore,
    /// Touches one that serves.
    Disrupt,
    /// Tells somebody.
    Message,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Restore => "restore",
            Self::Disrupt => "disrupt",
            Self::Message => "message",
        })
    }
}

/// An action that exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionInfo {
    /// `restart`, `stop`, `start`, `signal`, `clear-cache`, `notify`, ... or a plug-in's own.
    pub name: String,
    /// One line for a person.
    pub summary: String,
    /// JSON Schema of the parameters.
    pub parameters: Value,
    /// Touches the service: counts against the budgets and is verified. False: a mere message.
    pub disruptive: bool,
    /// Whether it can be undone.
    pub undoable: bool,
    /// What else is said of it.
    #[serde(default)]
    pub facts: Vec<Fact>,
}

/// An action that exists for one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// What it is.
    pub action: ActionInfo,
    /// Who does it.
    pub source: Source,
    /// Why the guard would refuse it now; what merely has to wait is not blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
}

/// What the guard admitted, on record before the effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// This attempt; the idempotency key of the effect.
    pub id: IntentId,
    /// For which incident; None: an operator's action outside any.
    pub incident: Option<IncidentId>,
    /// On which service.
    pub service: ServiceName,
    /// What the incident is about.
    pub signature: Option<Signature>,
    /// The action.
    pub action: String,
    /// Its parameters.
    pub parameters: Value,
    /// Its class when it was judged.
    pub class: Class,
    /// Who decided.
    pub source: Source,
    /// When it was admitted.
    pub at: Moment,
    /// The leading finding's cause (`refused`, `timeout`, `exit`, ...), which tells how gently to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// How long the cure may need to show after the receipt.
    pub verify_within: Duration,
}

/// A claim that something was done. It proves nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// One line for a person.
    pub summary: String,
    /// Whether anything changed.
    pub changed: bool,
    /// The life of the process that proof must come from, where there is a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// Details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// All that undoing needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Vec<u8>>,
    /// When it was done.
    pub at: Moment,
}

/// What an action turned out to have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The finding is gone, and fresh samples say so.
    Healed,
    /// The finding still holds.
    NotHealed,
    /// There is a more severe finding than before.
    Worse,
    /// No probe could tell.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healed => "healed",
            Self::NotHealed => "not-healed",
            Self::Worse => "worse",
            Self::Unknown => "unknown",
        })
    }
}

/// What the probes showed after an action.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Fresh samples with a verdict.
    pub samples: u32,
    /// Those of them that passed.
    pub passed: u32,
    /// The life of the process they saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// One line for a person.
    pub summary: String,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Judged from probes.
    Verified(Outcome),
    /// The action reported an error.
    Failed(String),
    /// The guard withheld it.
    Withheld(String),
    /// Under way, or heald died meanwhile.
    Unsettled,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified(outcome) => outcome.fmt(f),
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Withheld(why) => write!(f, "withheld: {why}"),
            Self::Unsettled => f.write_str("unsettled"),
        }
    }
}

/// One attempt, from its intent to its ending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was intended.
    pub intent: Intent,
    /// What was claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// How it ended.
    pub ending: Ending,
    /// Whether it was taken back.
    #[serde(default)]
    pub undone: bool,
    /// Whether what it had healed came back within a short while.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relapsed: bool,
    /// From the intent to the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<Duration>,
}
