//! An action's part: it is told to check, perform or undo, one task after the other.

use std::time::Duration;

use heald_host::{ActionFailure, PluginActions, Task};
use heald_model::{IntentId, Moment, ServiceView};
use serde_json::Value;
use uuid::Uuid;

use heald_model::Window;

use super::form::TaskKind;
use super::maker::Time;
use super::samples::seed;
use super::world::{World, moment};
use super::{CheckedScenario, PluginAnswer, ScenarioCall};

/// Between two tasks, unless said.
const BETWEEN: Duration = Duration::from_secs(1);

/// One task, all that the action is told in it.
#[derive(Clone, Debug)]
pub struct TaskInput {
    /// When, from the beginning.
    at: Time,
    now: Moment,
    seed: u64,
    attempt: IntentId,
    service: ServiceView,
    action: String,
    parameters: Value,
    deed: TaskKind,
}

impl TaskInput {
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
    pub fn checking(scenario: &CheckedScenario, action: &str) -> Self {
        let world = World::of(&scenario.form, Window::default());
        Self {
            at: Time::default(),
            now: moment(Time::default()),
            seed: 0,
            attempt: IntentId(Uuid::nil()),
            service: world.view(),
            action: action.to_owned(),
            parameters: Value::Object(serde_json::Map::new()),
            deed: TaskKind::Check,
        }
    }
}

/// Every task of a scenario.
pub fn task_inputs(scenario: &CheckedScenario) -> Vec<TaskInput> {
    let form = &scenario.form;
    let mut world = World::of(form, Window::default());
    let mut next = Duration::ZERO;
    let mut task_inputs: Vec<TaskInput> = Vec::new();
    for (step, written) in form.task.iter().enumerate() {
        let written = written.get_ref();
        let at = Time(written.at.map_or(next, |at| at.0));
        next = at.0 + BETWEEN;
        world.change(&written.service);
        let attempt = match written.deed {
            // To take back is to name the same attempt again.
            TaskKind::Undo => {
                task_inputs.iter().rev().find(|input| input.deed == TaskKind::Perform).map(|done| done.attempt)
            }
            TaskKind::Check | TaskKind::Perform => None,
        };
        task_inputs.push(TaskInput {
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
    task_inputs
}

/// Plays it. What the action is granted, it can do: this is no dry run.
pub async fn play(scenario: &CheckedScenario, actions: &PluginActions) -> Vec<ScenarioCall> {
    let mut turns = Vec::new();
    let mut token = None;
    for (step, input) in task_inputs(scenario).into_iter().enumerate() {
        let task = input.task();
        let said = match input.deed {
            TaskKind::Check => actions.check(&task).await.map(PluginAnswer::Plan),
            TaskKind::Perform => actions.perform(&task).await.map(PluginAnswer::Receipt),
            TaskKind::Undo => match token.take() {
                Some(token) => {
                    let token: Vec<u8> = token;
                    actions.undo(&task, &token).await.map(PluginAnswer::Receipt)
                }
                None => Ok(PluginAnswer::Undone("no receipt before this one can be undone".into())),
            },
        };
        if let (TaskKind::Perform, Ok(PluginAnswer::Receipt(receipt))) = (input.deed, &said) {
            token.clone_from(&receipt.undo);
        }
        let said = said.unwrap_or_else(undone);
        turns.push(ScenarioCall { steps: vec![step], at: input.at, asked: None, said });
    }
    turns
}

/// An action that says no is no fault of the plug-in; one that traps is.
fn undone(failure: ActionFailure) -> PluginAnswer {
    match failure {
        ActionFailure::Fault(fault) if fault.cause != heald_model::FaultCause::Refused => {
            PluginAnswer::Fault(fault.to_string())
        }
        failure => PluginAnswer::Undone(failure.to_string()),
    }
}
