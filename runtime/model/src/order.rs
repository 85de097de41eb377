//! An operator's order, and what became of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action::{Intent, Outcome};
use crate::id::ServiceName;
use crate::journal::JournalError;

/// An operator asks for an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// On which service.
    pub service: ServiceName,
    /// Which action.
    pub action: String,
    /// With what.
    #[serde(default)]
    pub parameters: Value,
    /// Who asks.
    pub by: String,
    /// True: it is carried out although healing is halted, or the service paused or only observed.
    #[serde(default)]
    pub force: bool,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderOutcome {
    /// What was intended.
    pub intent: Intent,
    /// What the action claimed.
    pub summary: String,
    /// What the probes showed; None: nobody waited for it.
    pub outcome: Option<Outcome>,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such service.
    #[error("no service is named `{0}`")]
    NoService(ServiceName),
    /// Nobody offers the action.
    #[error("Unknown action received: {action}")]
    NoAction {
        /// What was asked for.
        action: String,
        /// What is on offer for the service.
        offered: Vec<String>,
    },
    /// The guard withheld it.
    #[error("withheld by the guard ({rule}): {why}")]
    Withheld {
        /// The rule.
        rule: String,
        /// Its words.
        why: String,
    },
    /// Its parameters do not fit.
    #[error("bad parameters: {0}")]
    BadParameters(String),
    /// There is nothing that it could apply to now.
    #[error("{0}")]
    NothingToDo(String),
    /// It was tried and did not work.
    #[error("{0}")]
    Failed(String),
    /// The journal would not take it.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
