//! An action's part: it is told to check, perform or undo, one task after the other.

use std::time::Duration;

use heald_host::{ActionFailure, PluginActions, Task};
use heald_model::{IntentId, Moment, ServiceView};
use serde_json::Value;
use uuid::Uuid;

use heald_engine::ports::Window;

use super::form::Deed;
use super::maker::Time;
use super::samples::seed;
use super::world::{World, moment};
use super::{Said, Scenario, Turn};

/// Between two tasks, unless said.
const BETWEEN: Duration = Duration::from_secs(1);

/// One task, all that the action is told in it.
#[derive(Clone, Debug)]
pub struct Errand {
    /// When, from the beginning.
    at: Time,
    now: Moment,
    seed: u64,
    attempt: IntentId,
    service: ServiceView,
    action: String,
    parameters: Value,
    deed: Deed,
}

impl Errand {
    /// As the host takes it.
    pub fn task(&self) -> Task<'_> {
        Task {
            now: self.now,
            seed: self.seed,
            attempt: self.attempt,
            service: &self.service,
            incident: None,
            action: &self.action,
            parameters: &self.parameters,
        }
    }

    /// An action checked without parameters, for a plug-in that offers it.
    pub fn checking(scenario: &Scenario, action: &str) -> Self {
        let world = World::of(&scenario.form, Window::default());
        Self {
            at: Time::default(),
            now: moment(Time::default()),
            seed: 0,
            attempt: IntentId(Uuid::nil()),
            service: world.view(),
            action: action.to_owned(),
            parameters: Value::Object(serde_json::Map::new()),
            deed: Deed::Check,
        }
    }
}

/// Every task of a scenario.
pub fn errands(scenario: &Scenario) -> Vec<Errand> {
    let form = &scenario.form;
    let mut world = World::of(form, Window::default());
    let mut next = Duration::ZERO;
    let mut errands: Vec<Errand> = Vec::new();
    for (step, written) in form.task.iter().enumerate() {
        let written = written.get_ref();
        let at = Time(written.at.map_or(next, |at| at.0));
        next = at.0 + BETWEEN;
        world.change(&written.service);
        let attempt = match written.deed {
            // To take back is to name the same attempt again.
            Deed::Undo => errands.iter().rev().find(|errand| errand.deed == Deed::Perform).map(|done| done.attempt),
            Deed::Check | Deed::Perform => None,
        };
        errands.push(Errand {
            at,
            now: moment(at),
            seed: seed(form.seed, step),
            attempt: attempt.unwrap_or_else(|| IntentId(Uuid::from_u128(step as u128 + 1))),
            service: world.view(),
            action: written.action.clone(),
            parameters: Value::Object(written.parameters.clone()),
            deed: written.deed,
        });
    }
    errands
}

/// Plays it. What the action is granted, it can do: this is no dry run.
pub async fn play(scenario: &Scenario, actions: &PluginActions) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut token = None;
    for (step, errand) in errands(scenario).into_iter().enumerate() {
        let task = errand.task();
        let said = match errand.deed {
            Deed::Check => actions.check(&task).await.map(Said::Plan),
            Deed::Perform => actions.perform(&task).await.map(Said::Receipt),
            Deed::Undo => match token.take() {
                Some(token) => {
                    let token: Vec<u8> = token;
                    actions.undo(&task, &token).await.map(Said::Receipt)
                }
                None => Ok(Said::Undone("no receipt before this one can be undone".into())),
            },
        };
        if let (Deed::Perform, Ok(Said::Receipt(receipt))) = (errand.deed, &said) {
            token.clone_from(&receipt.undo);
        }
        let said = said.unwrap_or_else(undone);
        turns.push(Turn { steps: vec![step], at: errand.at, asked: None, said });
    }
    turns
}

/// An action that says no is no fault of the plug-in; one that traps is.
fn undone(failure: ActionFailure) -> Said {
    match failure {
        ActionFailure::Fault(fault) if fault.cause != heald_model::FaultCause::Refused => {
            Said::Fault(fault.to_string())
        }
        failure => Said::Undone(failure.to_string()),
    }
}
