//! The actions of a plug-in. They do what they are told; the guard decides whether they may, and the journal knows
//! whether they did.

use async_trait::async_trait;
use heald_engine::ports::ActionError;
use heald_model::{ActionInfo, Fault, Moment, PluginRef, Receipt};
use serde_json::Value;

use crate::bindings::exports::heald::plugin::act;
use crate::bindings::heald::plugin::types::Error;
use crate::code::schema::{self, ValueProblem};
use crate::guest::clock::{Cut, Spent, timed};
use crate::guest::instance::{Setup, SetupError};
use crate::guest::pool::{BusyInstance, CallKind, Pool, Pooled};
use crate::guest::role::Act;
use crate::guest::task::{Plan, Task, TaskInput};
use crate::guest::{fault, lift, weigh};
use crate::world::capability::Capability;
use crate::world::context::GuestCall;
use crate::world::recorder::Recorder;

/// Why an action was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ActionFailure {
    /// The plug-in does not offer it.
    #[error("unknown action `{0}`")]
    Unknown(String),
    /// The parameters do not fit the action's schema. The plug-in was not called.
    #[error("{}", ValueProblem::list(.0))]
    BadParameters(Vec<ValueProblem>),
    /// The plug-in failed, or answer that it cannot.
    #[error("{0}")]
    Fault(Fault),
}

impl From<ActionFailure> for ActionError {
    fn from(failure: ActionFailure) -> Self {
        match failure {
            ActionFailure::Unknown(action) => Self::Unknown(action),
            ActionFailure::BadParameters(problems) => Self::BadParameters(ValueProblem::list(&problems)),
            ActionFailure::Fault(fault) => Self::Failed(fault.to_string()),
        }
    }
}

impl From<Fault> for ActionFailure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The actions of one plug-in, with one configuration. Every call gets an instance of its own.
pub struct PluginActions {
    pool: Box<dyn ActionPool>,
    infos: Vec<ActionInfo>,
}

impl PluginActions {
    /// Sets up the actions of one configured plug-in.
    pub(crate) async fn set_up<G: Act>(setup: Setup) -> Result<Self, SetupError> {
        let (pool, about) = Pool::<G>::fill(setup).await?;
        let infos = lift::actions(about)
            .map_err(|fault| SetupError::Fault { plugin: pool.plugin().reference.name.clone(), fault })?;
        Ok(Self { pool: Box::new(pool), infos })
    }

    /// The plug-in that offers them.
    pub fn plugin(&self) -> &PluginRef {
        &self.pool.plugin().reference
    }

    /// Whether it was granted to touch processes.
    pub fn touches_processes(&self) -> bool {
        self.pool.plugin().access.grants.holds(Capability::ProcessControl)
    }

    /// The actions that it offers.
    pub fn infos(&self) -> &[ActionInfo] {
        &self.infos
    }

    /// Says whether the action could be done and what it would do. It has no effect.
    ///
    /// # Errors
    /// When it could not be done, as far as the plug-in can know.
    pub async fn check(&self, task: &Task<'_>) -> Result<Plan, ActionFailure> {
        self.judge_parameters(task)?;
        let done = self.pool.check(task).await;
        Ok(self.pool.plugin().faulted(done)?)
    }

    /// Does the action.
    ///
    /// # Errors
    /// When the action was not done, or may not have been done.
    pub async fn perform(&self, task: &Task<'_>) -> Result<Receipt, ActionFailure> {
        self.judge_parameters(task)?;
        let done = self.pool.perform(task).await;
        Ok(self.pool.plugin().faulted(done)?)
    }

    /// Undoes the action, with the token of its receipt.
    ///
    /// # Errors
    /// When the action was not undone, or may not have been undone.
    pub async fn undo(&self, task: &Task<'_>, token: &[u8]) -> Result<Receipt, ActionFailure> {
        self.judge_parameters(task)?;
        let done = self.pool.undo(task, token).await;
        Ok(self.pool.plugin().faulted(done)?)
    }

    fn judge_parameters(&self, task: &Task<'_>) -> Result<(), ActionFailure> {
        let info = self.infos.iter().find(|info| info.name == task.action);
        let info = info.ok_or_else(|| ActionFailure::Unknown(task.action.to_owned()))?;
        let empty = Value::Object(serde_json::Map::new());
        let problems =
            schema::check(&info.parameters, if task.parameters.is_null() { &empty } else { task.parameters });
        if problems.is_empty() { Ok(()) } else { Err(ActionFailure::BadParameters(problems)) }
    }
}

/// The instances behind [`PluginActions`], whatever version of the contract they speak.
#[async_trait]
trait ActionPool: Pooled {
    async fn check(&self, task: &Task<'_>) -> Result<Plan, Fault>;
    async fn perform(&self, task: &Task<'_>) -> Result<Receipt, Fault>;
    async fn undo(&self, task: &Task<'_>, token: &[u8]) -> Result<Receipt, Fault>;
}

#[async_trait]
impl<G: Act> ActionPool for Pool<G> {
    async fn check(&self, task: &Task<'_>) -> Result<Plan, Fault> {
        let mut instance = self.take(CallKind::Live).await?;
        let warm = &mut *instance;
        warm.store.data_mut().begin(GuestCall::looking(task.now, task.seed, task.service), Recorder::Off);
        let revoked = self.revoked(&warm.store);
        let input = TaskInput { task, wall: self.limits().wall };
        let call = warm.guest.check(&mut warm.store, &warm.scratch, input);
        let (outcome, spent) = timed(call, self.limits().wall, revoked).await;
        instance.store.data_mut().end();
        let answer = returned(instance.judge(outcome, spent)?)?;
        instance.carried(weigh::plan(&answer));
        instance.finish();
        Ok(Plan { summary: lift::message(&answer.summary), facts: lift::facts(answer.facts)? })
    }

    async fn perform(&self, task: &Task<'_>) -> Result<Receipt, Fault> {
        let mut instance = self.take(CallKind::Live).await?;
        let warm = &mut *instance;
        warm.store.data_mut().begin(GuestCall::touching(task.now, task.seed, task.service), Recorder::Off);
        let revoked = self.revoked(&warm.store);
        let input = TaskInput { task, wall: self.limits().wall };
        let call = warm.guest.perform(&mut warm.store, &warm.scratch, input);
        let (outcome, spent) = timed(call, self.limits().wall, revoked).await;
        receipt(instance, outcome, spent, task.now)
    }

    async fn undo(&self, task: &Task<'_>, token: &[u8]) -> Result<Receipt, Fault> {
        let mut instance = self.take(CallKind::Live).await?;
        let warm = &mut *instance;
        warm.store.data_mut().begin(GuestCall::touching(task.now, task.seed, task.service), Recorder::Off);
        let revoked = self.revoked(&warm.store);
        let input = TaskInput { task, wall: self.limits().wall };
        let call = warm.guest.undo(&mut warm.store, &warm.scratch, input, token);
        let (outcome, spent) = timed(call, self.limits().wall, revoked).await;
        receipt(instance, outcome, spent, task.now)
    }
}

fn returned<T>(answer: Result<T, Error>) -> Result<T, Fault> {
    answer.map_err(|error| fault::of_answer(&error))
}

/// The receipt that the guest returned, dated with the call's `now`. It is checked like any answer; its effect stands
/// in any case.
fn receipt<G: Act>(
    mut instance: BusyInstance<'_, G>,
    outcome: Result<wasmtime::Result<Result<act::Receipt, Error>>, Cut>,
    spent: Spent,
    now: Moment,
) -> Result<Receipt, Fault> {
    instance.store.data_mut().end();
    let answer = returned(instance.judge(outcome, spent)?)?;
    instance.carried(weigh::receipt(&answer));
    let receipt = Receipt {
        summary: lift::message(&answer.summary),
        changed: answer.changed,
        incarnation: None,
        facts: lift::facts(answer.facts)?,
        undo: lift::state(answer.undo)?,
        at: now + spent.wall,
    };
    instance.finish();
    Ok(receipt)
}
