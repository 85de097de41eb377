//! What policies answer, and what the guard rules.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fact::Fact;
use crate::id::{ServiceName, Signature};
use crate::plugin::Source;
use crate::time::Moment;

/// An action asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Which.
    pub action: String,
    /// With what.
    pub parameters: Value,
    /// How long the cure may need to show; the guard bounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_within: Option<Duration>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// This.
    Act(Proposal),
    /// Nothing: that is an answer and ends the chain.
    NoAction,
    /// Tell people.
    Escalate,
    /// No answer: the next policy is asked.
    Pass,
}

/// Something else that was weighed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Which action.
    pub action: String,
    /// How good it looked, 0..1.
    pub score: f64,
    /// Why.
    pub reason: String,
}

/// A policy's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What to do.
    pub choice: Choice,
    /// 0..1.
    pub confidence: f64,
    /// For a person.
    pub reason: String,
    /// What else was weighed, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<Alternative>,
    /// With what numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// Ask again then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_in: Option<Duration>,
    /// Who answered.
    pub source: Source,
}

impl Decision {
    /// The action asked for, or the word for there being none.
    pub fn verb(&self) -> &str {
        match &self.choice {
            Choice::Act(proposal) => &proposal.action,
            Choice::NoAction => "no-action",
            Choice::Escalate => "escalate",
            Choice::Pass => "pass",
        }
    }
}

/// What the guard said of a decision, as it stands in the journal. The permit itself exists in the engine alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// Go ahead.
    Admit {
        /// Why it may.
        why: String,
    },
    /// Not now.
    Wait {
        /// Which rule holds it: `back-off`, `budget`, `dependency`, `paused`, ...
        rule: String,
        /// Ask again then; `Moment::NEVER`: only an event can end it.
        until: Moment,
        /// For a person.
        why: String,
    },
    /// No.
    Refuse {
        /// Which rule refused it.
        rule: String,
        /// For a person.
        why: String,
    },
}

/// One line of the fix catalog. The chance of success is Beta(alpha, beta), prior included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experience {
    /// What was wrong.
    pub signature: Signature,
    /// What was done.
    pub action: String,
    /// For which service; None: over all.
    pub service: Option<ServiceName>,
    /// How often it was verified.
    pub tries: u32,
    /// How often it healed.
    pub successes: u32,
    /// Prior plus successes.
    pub alpha: f64,
    /// Prior plus failures.
    pub beta: f64,
    /// Mean time to recover, of the successes.
    pub recovery: Option<Duration>,
    /// 90th percentile of it.
    pub recovery_p90: Option<Duration>,
}
