//! A plug-in as the engine's [`Policy`].

use std::pin::Pin;

use async_trait::async_trait;
use heald_engine::calls::{Heard, Settings};
use heald_engine::ports::{Answer, Blob, Policy, Question, Window};
use heald_model::{Alternative, Choice, Decision, Fault, FaultCause, PluginRef, Proposal, Source};

use crate::bindings::exports::heald::plugin::decide;
use crate::bindings::heald::plugin::types::Error as Said;
use crate::guest::clock::timed;
use crate::guest::instance::{Setup, SetupError};
use crate::guest::pool::{Kind, Pool, Pooled};
use crate::guest::role::Decide;
use crate::guest::{fault, lift, weigh};
use crate::world::context::Call;
use crate::world::heard::Ear;

/// Actions that one policy may announce, and alternatives that one decision may weigh.
const ACTIONS: usize = 64;
const ALTERNATIVES: usize = 32;

/// A policy in a plug-in, with one configuration.
pub struct PluginPolicy {
    pool: Box<dyn WeighUp>,
    actions: Vec<String>,
    window: Window,
}

impl PluginPolicy {
    /// With guests of this kind.
    pub(crate) async fn set_up<G: Decide>(setup: Setup) -> Result<Self, SetupError> {
        let (pool, about) = Pool::<G>::fill(setup).await?;
        let actions = lift::at_most("actions", about.actions, ACTIONS)
            .and_then(|actions| actions.into_iter().map(|name| lift::name("action", name)).collect())
            .map_err(|fault| SetupError::Fault { plugin: pool.plugin().reference.name.clone(), fault })?;
        Ok(Self { pool: Box::new(pool), actions, window: lift::window(about.window) })
    }

    /// The actions it may ask for; empty: any on offer.
    pub fn actions(&self) -> &[String] {
        &self.actions
    }

    /// What it wants to see of the past.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Makes a call again that was made before; as [`PluginDetector::replay`](crate::PluginDetector::replay).
    ///
    /// # Errors
    /// As there.
    pub async fn replay(&self, question: &Question, heard: &[Heard]) -> Result<Answer, Fault> {
        self.pool.plugin().premises.judge_replay()?;
        self.pool.weigh_up(question, Kind::Replay, Ear::told(heard)).await
    }
}

/// Warm policies, whatever version they speak.
#[async_trait]
trait WeighUp: Pooled {
    /// Asks one of them; again without its state, if that is none of its own.
    async fn weigh_up(&self, question: &Question, kind: Kind, ear: Ear) -> Result<Answer, Fault>;
}

#[async_trait]
impl<G: Decide> WeighUp for Pool<G> {
    async fn weigh_up(&self, question: &Question, kind: Kind, ear: Ear) -> Result<Answer, Fault> {
        let answered = weigh_up(self, question, kind, ear).await;
        if kind == Kind::Live { self.plugin().faulted(answered) } else { answered }
    }
}

async fn weigh_up<G: Decide>(pool: &Pool<G>, question: &Question, kind: Kind, mut ear: Ear) -> Result<Answer, Fault> {
    let state = question.state.as_ref().map(|state| state.0.as_slice());
    let said = match ask(pool, question, state, kind, &mut ear).await? {
        None => ask(pool, question, None, kind, &mut ear).await?,
        said => said,
    };
    // Only with state can it say `bad-state`.
    let answer = said.ok_or_else(|| Fault::new(FaultCause::Refused, "it says that its state is not its own"))?;
    Ok(Answer { heard: ear.into_heard(), ..answer })
}

async fn ask<G: Decide>(
    pool: &Pool<G>,
    question: &Question,
    state: Option<&[u8]>,
    kind: Kind,
    ear: &mut Ear,
) -> Result<Option<Answer>, Fault> {
    let mut turn = pool.turn(kind).await?;
    let warm = &mut *turn;
    let call = Call::looking(question.now, question.seed, &question.service);
    warm.store.data_mut().begin(call, std::mem::take(ear));
    let revoked = pool.revoked(&warm.store);
    let call = warm.guest.decide(&mut warm.store, &warm.scratch, question, state);
    let (outcome, spent) = timed(call, pool.limits().wall, revoked).await;
    *ear = turn.store.data_mut().end();
    let answered = match turn.judge(outcome, spent)? {
        Ok(said) => {
            turn.carried(weigh::decision(&said));
            Some(answer(said, pool.plugin().reference.clone())?)
        }
        Err(Said::BadState) if state.is_some() => None,
        Err(said) => return Err(fault::of_answer(&said)),
    };
    turn.finish();
    Ok(answered)
}

fn answer(said: decide::Decision, source: PluginRef) -> Result<Answer, Fault> {
    let weighed = |alternative: decide::Alternative| {
        Ok(Alternative {
            action: lift::name("action", alternative.action)?,
            score: lift::finite("the score of an alternative", alternative.score)?,
            reason: lift::message(&alternative.reason),
        })
    };
    let considered = lift::at_most("alternatives", said.considered, ALTERNATIVES)?;
    let decision = Decision {
        choice: choice(said.choice)?,
        confidence: lift::ratio("the confidence", said.confidence)?,
        reason: lift::message(&said.reason),
        considered: considered.into_iter().map(weighed).collect::<Result<_, Fault>>()?,
        facts: lift::facts(said.facts)?,
        again_in: lift::optional(said.again_in),
        source: Source::Plugin(source),
    };
    Ok(Answer { decision, state: lift::state(said.state)?.map(Blob), heard: Vec::new() })
}

fn choice(said: decide::Choice) -> Result<Choice, Fault> {
    Ok(match said {
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

    fn settings(&self) -> Settings {
        self.pool.settings().clone()
    }

    fn replayable(&self) -> bool {
        self.pool.plugin().premises.judge_replay().is_ok()
    }

    async fn replayed(&self, question: &Question, heard: &[Heard]) -> Result<Answer, Fault> {
        self.replay(question, heard).await
    }

    // Written out, since the future of `weigh_up` is boxed already.
    fn decide<'policy, 'question, 'call>(
        &'policy self,
        question: &'question Question,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, Fault>> + Send + 'call>>
    where
        'policy: 'call,
        'question: 'call,
        Self: 'call,
    {
        self.pool.weigh_up(question, Kind::Live, Ear::noting())
    }
}
