//! A plug-in's actions. It carries one out when told to; whether it may, and whether it was done before, others know.

use async_trait::async_trait;
use heald_engine::ports::ActionError;
use heald_model::{ActionInfo, Fault, Moment, PluginRef, Receipt};
use serde_json::Value;

use crate::bindings::exports::heald::plugin::act;
use crate::bindings::heald::plugin::types::Error as Said;
use crate::code::schema::{self, Problem};
use crate::guest::clock::{Cut, Spent, timed};
use crate::guest::instance::{Setup, SetupError};
use crate::guest::pool::{Kind, Pool, Pooled, Turn};
use crate::guest::role::Act;
use crate::guest::task::{Errand, Plan, Task};
use crate::guest::{fault, lift, weigh};
use crate::world::capability::Capability;
use crate::world::context::Call;
use crate::world::heard::Ear;

/// Why an action was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ActionFailure {
    /// The plug-in does not offer it.
    #[error("unknown action `{0}`")]
    Unknown(String),
    /// The parameters do not fit the action's schema. The plug-in was not asked.
    #[error("{}", Problem::list(.0))]
    BadParameters(Vec<Problem>),
    /// The plug-in failed, or said that it cannot.
    #[error("{0}")]
    Fault(Fault),
}

impl From<ActionFailure> for ActionError {
    fn from(failure: ActionFailure) -> Self {
        match failure {
            ActionFailure::Unknown(action) => Self::Unknown(action),
            ActionFailure::BadParameters(problems) => Self::BadParameters(Problem::list(&problems)),
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
    pool: Box<dyn Carry>,
    infos: Vec<ActionInfo>,
}

impl PluginActions {
    /// With guests of this kind.
    pub(crate) async fn set_up<G: Act>(setup: Setup) -> Result<Self, SetupError> {
        let (pool, about) = Pool::<G>::fill(setup).await?;
        let infos = lift::actions(about)
            .map_err(|fault| SetupError::Fault { plugin: pool.plugin().reference.name.clone(), fault })?;
        Ok(Self { pool: Box::new(pool), infos })
    }

    /// Which plug-in it is.
    pub fn plugin(&self) -> &PluginRef {
        &self.pool.plugin().reference
    }

    /// True if it was granted to touch processes.
    pub fn touches_processes(&self) -> bool {
        self.pool.plugin().premises.leash.holds(Capability::ProcessControl)
    }

    /// What it offers.
    pub fn infos(&self) -> &[ActionInfo] {
        &self.infos
    }

    /// Could it be done, and what would be? Without effect.
    ///
    /// # Errors
    /// When it could not, as far as that can be known before.
    pub async fn check(&self, task: &Task<'_>) -> Result<Plan, ActionFailure> {
        self.judge_parameters(task)?;
        let done = self.pool.check(task).await;
        Ok(self.pool.plugin().faulted(done)?)
    }

    /// Does it.
    ///
    /// # Errors
    /// When it was not done, or not known to be.
    pub async fn perform(&self, task: &Task<'_>) -> Result<Receipt, ActionFailure> {
        self.judge_parameters(task)?;
        let done = self.pool.perform(task).await;
        Ok(self.pool.plugin().faulted(done)?)
    }

    /// Takes it back, with what the receipt kept for that.
    ///
    /// # Errors
    /// When it was not taken back, or not known to be.
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

/// Instances that carry out, whatever version they speak.
#[async_trait]
trait Carry: Pooled {
    async fn check(&self, task: &Task<'_>) -> Result<Plan, Fault>;
    async fn perform(&self, task: &Task<'_>) -> Result<Receipt, Fault>;
    async fn undo(&self, task: &Task<'_>, token: &[u8]) -> Result<Receipt, Fault>;
}

#[async_trait]
impl<G: Act> Carry for Pool<G> {
    async fn check(&self, task: &Task<'_>) -> Result<Plan, Fault> {
        let mut turn = self.turn(Kind::Live).await?;
        let warm = &mut *turn;
        warm.store.data_mut().begin(Call::looking(task.now, task.seed, task.service), Ear::Deaf);
        let revoked = self.revoked(&warm.store);
        let input = Errand { task, wall: self.limits().wall };
        let call = warm.guest.check(&mut warm.store, &warm.scratch, input);
        let (outcome, spent) = timed(call, self.limits().wall, revoked).await;
        turn.store.data_mut().end();
        let said = returned(turn.judge(outcome, spent)?)?;
        turn.carried(weigh::plan(&said));
        turn.finish();
        Ok(Plan { summary: lift::message(&said.summary), facts: lift::facts(said.facts)? })
    }

    async fn perform(&self, task: &Task<'_>) -> Result<Receipt, Fault> {
        let mut turn = self.turn(Kind::Live).await?;
        let warm = &mut *turn;
        warm.store.data_mut().begin(Call::touching(task.now, task.seed, task.service), Ear::Deaf);
        let revoked = self.revoked(&warm.store);
        let input = Errand { task, wall: self.limits().wall };
        let call = warm.guest.perform(&mut warm.store, &warm.scratch, input);
        let (outcome, spent) = timed(call, self.limits().wall, revoked).await;
        receipt(turn, outcome, spent, task.now)
    }

    async fn undo(&self, task: &Task<'_>, token: &[u8]) -> Result<Receipt, Fault> {
        let mut turn = self.turn(Kind::Live).await?;
        let warm = &mut *turn;
        warm.store.data_mut().begin(Call::touching(task.now, task.seed, task.service), Ear::Deaf);
        let revoked = self.revoked(&warm.store);
        let input = Errand { task, wall: self.limits().wall };
        let call = warm.guest.undo(&mut warm.store, &warm.scratch, input, token);
        let (outcome, spent) = timed(call, self.limits().wall, revoked).await;
        receipt(turn, outcome, spent, task.now)
    }
}

fn returned<T>(said: Result<T, Said>) -> Result<T, Fault> {
    said.map_err(|said| fault::of_answer(&said))
}

/// The claim, dated with the call's `now`. What it says is checked as any answer; the effect it had stands in any case.
fn receipt<G: Act>(
    mut turn: Turn<'_, G>,
    outcome: Result<wasmtime::Result<Result<act::Receipt, Said>>, Cut>,
    spent: Spent,
    now: Moment,
) -> Result<Receipt, Fault> {
    turn.store.data_mut().end();
    let said = returned(turn.judge(outcome, spent)?)?;
    turn.carried(weigh::receipt(&said));
    let receipt = Receipt {
        summary: lift::message(&said.summary),
        changed: said.changed,
        incarnation: None,
        facts: lift::facts(said.facts)?,
        undo: lift::state(said.undo)?,
        at: now + spent.wall,
    };
    turn.finish();
    Ok(receipt)
}
