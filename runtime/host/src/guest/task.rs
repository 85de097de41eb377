//! What a plug-in's action is told to do, and what it says it would do. It holds no behaviour.

use std::time::Duration;

use heald_model::{Fact, Incident, IntentId, Moment, ServiceView};
use serde_json::Value;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The time.
    pub now: Moment,
    /// For its dice.
    pub seed: u64,
    /// The attempt, which is the idempotency key of the effect.
    pub attempt: IntentId,
    /// The service as it stands.
    pub service: &'a ServiceView,
    /// For which incident; None: an operator's action outside any.
    pub incident: Option<&'a Incident>,
    /// Which action.
    pub action: &'a str,
    /// With what. Null is an empty object.
    pub parameters: &'a Value,
}

/// What would be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One line for a person.
    pub summary: String,
    /// Details.
    pub facts: Vec<Fact>,
}

/// A task, and the wall-clock budget of the call.
#[derive(Clone, Copy)]
pub(crate) struct Errand<'a> {
    pub(crate) task: &'a Task<'a>,
    pub(crate) wall: Duration,
}
