//! A plug-in as the engine's [`Policy`]. It asks the guest and checks the answer; the guard judges the decision.

use std::pin::Pin;

use async_trait::async_trait;
use heald_engine::ports::Policy;
use heald_model::{Alternative, Choice, Decision, Fault, FaultCause, PluginRef, Proposal, Source};
use heald_model::{Answer, Blob, Question};
use heald_model::{HostCall, PluginSettings};

use crate::bindings::exports::heald::plugin::decide;
use crate::bindings::heald::plugin::types::Error;
use crate::guest::clock::timed;
use crate::guest::instance::{Setup, SetupError};
use crate::guest::pool::{CallKind, Pool, Pooled};
use crate::guest::role::Decide;
use crate::guest::{fault, lift, weigh};
use crate::world::context::GuestCall;
use crate::world::recorder::Recorder;

/// Actions that one policy may announce, and alternatives that one decision may weigh.
const ACTIONS: usize = 64;
const ALTERNATIVES: usize = 32;

/// A policy in a plug-in, with one configuration.
pub struct PluginPolicy {
    pool: Box<dyn PolicyPool>,
}

impl PluginPolicy {
    /// Sets up the policy of one configured plug-in.
    pub(crate) async fn set_up<G: Decide>(setup: Setup) -> Result<Self, SetupError> {
        let (pool, about) = Pool::<G>::fill(setup).await?;
        // heald uses neither the announced actions nor the window. A name that breaks the contract is refused all the
        // same.
        lift::at_most("actions", about.actions, ACTIONS)
            .and_then(|actions| actions.into_iter().try_for_each(|name| lift::name("action", name).map(drop)))
            .map_err(|fault| SetupError::Fault { plugin: pool.plugin().reference.name.clone(), fault })?;
        Ok(Self { pool: Box::new(pool) })
    }

    /// Repeats a recorded call; see [`PluginDetector::replay`](crate::PluginDetector::replay).
    ///
    /// # Errors
    /// As there.
    pub async fn replay(&self, question: &Question, recorded: &[HostCall]) -> Result<Answer, Fault> {
        self.pool.plugin().access.judge_replay()?;
        self.pool.decide(question, CallKind::Replay, Recorder::replaying(recorded)).await
    }
}

/// The instances behind a [`PluginPolicy`], whatever version of the contract they speak.
#[async_trait]
trait PolicyPool: Pooled {
    /// Asks one instance. If it does not know the state as its own, asks again without the state.
    async fn decide(&self, question: &Question, kind: CallKind, recorder: Recorder) -> Result<Answer, Fault>;
}

#[async_trait]
impl<G: Decide> PolicyPool for Pool<G> {
    async fn decide(&self, question: &Question, kind: CallKind, recorder: Recorder) -> Result<Answer, Fault> {
        let answered = decide(self, question, kind, recorder).await;
        if kind == CallKind::Live { self.plugin().faulted(answered) } else { answered }
    }
}

async fn decide<G: Decide>(
    pool: &Pool<G>,
    question: &Question,
    kind: CallKind,
    mut recorder: Recorder,
) -> Result<Answer, Fault> {
    let state = question.state.as_ref().map(|state| state.0.as_slice());
    let returned = match ask(pool, question, state, kind, &mut recorder).await? {
        None => ask(pool, question, None, kind, &mut recorder).await?,
        returned => returned,
    };
    // Only a guest that got state can answer `bad-state`.
    let answer = returned.ok_or_else(|| Fault::new(FaultCause::Refused, "it says that its state is not its own"))?;
    Ok(Answer { heard: recorder.into_calls(), ..answer })
}

async fn ask<G: Decide>(
    pool: &Pool<G>,
    question: &Question,
    state: Option<&[u8]>,
    kind: CallKind,
    recorder: &mut Recorder,
) -> Result<Option<Answer>, Fault> {
    let mut instance = pool.take(kind).await?;
    let warm = &mut *instance;
    let call = GuestCall::looking(question.now, question.seed, &question.service);
    warm.store.data_mut().begin(call, std::mem::take(recorder));
    let revoked = pool.revoked(&warm.store);
    let call = warm.guest.decide(&mut warm.store, &warm.scratch, question, state);
    let (outcome, spent) = timed(call, pool.limits().wall, revoked).await;
    *recorder = instance.store.data_mut().end();
    let answered = match instance.judge(outcome, spent)? {
        Ok(returned) => {
            instance.carried(weigh::decision(&returned));
            Some(answer(returned, pool.plugin().reference.clone())?)
        }
        Err(Error::BadState) if state.is_some() => None,
        Err(error) => return Err(fault::of_answer(&error)),
    };
    instance.finish();
    Ok(answered)
}

fn answer(returned: decide::Decision, source: PluginRef) -> Result<Answer, Fault> {
    let weighed = |alternative: decide::Alternative| {
        Ok(Alternative {
            action: lift::name("action", alternative.action)?,
            score: lift::finite("the score of an alternative", alternative.score)?,
            reason: lift::message(&alternative.reason),
        })
    };
    let considered = lift::at_most("alternatives", returned.considered, ALTERNATIVES)?;
    let decision = Decision {
        choice: choice(returned.choice)?,
        confidence: lift::ratio("the confidence", returned.confidence)?,
        reason: lift::message(&returned.reason),
        considered: considered.into_iter().map(weighed).collect::<Result<_, Fault>>()?,
        facts: lift::facts(returned.facts)?,
        again_in: lift::optional(returned.again_in),
        source: Source::Plugin(source),
    };
    Ok(Answer { decision, state: lift::state(returned.state)?.map(Blob), heard: Vec::new() })
}

fn choice(returned: decide::Choice) -> Result<Choice, Fault> {
    Ok(match returned {
        decide::Choice::Act(proposal) => Choice::Act(Proposal {
            action: lift::name("action", proposal.action)?,
            parameters: lift::json("the parameters", &proposal.parameters)?,
            verify_within: lift::optional(proposal.verify_within),
        }),
        decide::Choice::NoAction => Choice::NoAction,
        decide::Choice::Escalate => Choice::Escalate,
        decide::Choice::Pass => Choice::Pass,
    })
}

#[async_trait]
impl Policy for PluginPolicy {
    fn plugin(&self) -> &PluginRef {
        &self.pool.plugin().reference
    }

    fn settings(&self) -> PluginSettings {
        self.pool.settings().clone()
    }

    fn replayable(&self) -> bool {
        self.pool.plugin().access.judge_replay().is_ok()
    }

    async fn replayed(&self, question: &Question, recorded: &[HostCall]) -> Result<Answer, Fault> {
        self.replay(question, recorded).await
    }

    // Written out by hand, because the future of `PolicyPool::decide` is boxed already.
    fn decide<'policy, 'question, 'call>(
        &'policy self,
        question: &'question Question,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, Fault>> + Send + 'call>>
    where
        'policy: 'call,
        'question: 'call,
        Self: 'call,
    {
        self.pool.decide(question, CallKind::Live, Recorder::recording())
    }
}
