//! What a plug-in's action is told to do, and what it says it would do. It holds no behaviour.

use std::time::Duration;

use heald_model::{Fact, Incident, IntentId, Moment, ServiceView};
use serde_json::Value;

/// What an action is told to do.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The `now` of the call.
    pub now: Moment,
    /// The seed of the call's randomness.
    pub seed: u64,
    /// The attempt, which is the idempotency key of the effect.
    pub attempt: IntentId,
    /// The service as it stands.
    pub service: &'a ServiceView,
    /// The incident; None: an operator asked for the action, outside any incident.
    pub incident: Option<&'a Incident>,
    /// The name of the action.
    pub action: &'a str,
    /// Its parameters. Null is an empty object.
    pub parameters: &'a Value,
}

/// What an action would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One line for a person.
    pub summary: String,
    /// Details.
    pub facts: Vec<Fact>,
}

/// A task, and the wall-clock budget of the call.
#[derive(Clone, Copy)]
pub(crate) struct TaskInput<'a> {
    pub(crate) task: &'a Task<'a>,
    pub(crate) wall: Duration,
}
