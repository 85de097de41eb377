//! A plug-in as the engine's [`Detector`].

use std::pin::Pin;

use async_trait::async_trait;
use heald_engine::calls::{Heard, Settings};
use heald_engine::ports::{Blob, Detector, Observation, Verdict, Window};
use heald_model::{Fault, PluginRef};

use crate::bindings::exports::heald::plugin::detect;
use crate::bindings::heald::plugin::types::Error as Said;
use crate::guest::clock::timed;
use crate::guest::instance::{Setup, SetupError};
use crate::guest::pool::{Kind, Pool, Pooled};
use crate::guest::role::Detect;
use crate::guest::{fault, lift, weigh};
use crate::world::context::Call;
use crate::world::heard::Ear;

/// Conditions that one detector may announce.
const CONDITIONS: usize = 256;

/// A detector in a plug-in, with one configuration.
pub struct PluginDetector {
    pool: Box<dyn Look>,
    conditions: Vec<String>,
    window: Window,
}

impl PluginDetector {
    /// With guests of this kind.
    pub(crate) async fn set_up<G: Detect>(setup: Setup) -> Result<Self, SetupError> {
        let (pool, about) = Pool::<G>::fill(setup).await?;
        let conditions = lift::at_most("conditions", about.conditions, CONDITIONS)
            .and_then(|conditions| conditions.into_iter().map(|name| lift::name("condition", name)).collect())
            .map_err(|fault| SetupError::Fault { plugin: pool.plugin().reference.name.clone(), fault })?;
        Ok(Self { pool: Box::new(pool), conditions, window: lift::window(about.window) })
    }

    /// Makes a call again that was made before: what it then heard of the host it is told from the record, and nothing of the
    /// world is asked, changed, counted or written. The limits are as ever. What is heard is in the verdict again, so that two
    /// verdicts of the same call are equal.
    ///
    /// # Errors
    /// A fault, as in any call; [`FaultCause::BadOutput`](heald_model::FaultCause::BadOutput) also where it asked the host for
    /// something else than the record has; and [`FaultCause::Refused`](heald_model::FaultCause::Refused) where it is not
    /// [`replayable`](Detector::replayable).
    pub async fn replay(&self, input: &Observation, heard: &[Heard]) -> Result<Verdict, Fault> {
        self.pool.plugin().premises.judge_replay()?;
        self.pool.look(input, Kind::Replay, Ear::told(heard)).await
    }
}

/// Warm detectors, whatever version they speak.
#[async_trait]
trait Look: Pooled {
    /// Asks one of them; again without its state, if that is none of its own.
    async fn look(&self, input: &Observation, kind: Kind, ear: Ear) -> Result<Verdict, Fault>;
}

#[async_trait]
impl<G: Detect> Look for Pool<G> {
    async fn look(&self, input: &Observation, kind: Kind, ear: Ear) -> Result<Verdict, Fault> {
        let said = look(self, input, kind, ear).await;
        if kind == Kind::Live { self.plugin().faulted(said) } else { said }
    }
}

async fn look<G: Detect>(pool: &Pool<G>, input: &Observation, kind: Kind, mut ear: Ear) -> Result<Verdict, Fault> {
    let state = input.state.as_ref().map(|state| state.0.as_slice());
    let said = match ask(pool, input, state, kind, &mut ear).await? {
        None => ask(pool, input, None, kind, &mut ear).await?,
        said => said,
    };
    // Without state there is no `bad-state` to say.
    let verdict = said.unwrap_or_default();
    Ok(Verdict { heard: ear.into_heard(), ..verdict })
}

async fn ask<G: Detect>(
    pool: &Pool<G>,
    input: &Observation,
    state: Option<&[u8]>,
    kind: Kind,
    ear: &mut Ear,
) -> Result<Option<Verdict>, Fault> {
    let mut turn = pool.turn(kind).await?;
    let warm = &mut *turn;
    let call = Call::looking(input.now, input.seed, &input.service);
    warm.store.data_mut().begin(call, std::mem::take(ear));
    let revoked = pool.revoked(&warm.store);
    let call = warm.guest.evaluate(&mut warm.store, &warm.scratch, input, state);
    let (outcome, spent) = timed(call, pool.limits().wall, revoked).await;
    *ear = turn.store.data_mut().end();
    let verdict = match turn.judge(outcome, spent)? {
        Ok(said) => {
            turn.carried(weigh::verdict(&said));
            Some(verdict(said)?)
        }
        // Its state is none of its own; whoever asked may ask again without.
        Err(Said::BadState) if state.is_some() => None,
        Err(said) => return Err(fault::of_answer(&said)),
    };
    turn.finish();
    Ok(verdict)
}

fn verdict(said: detect::Verdict) -> Result<Verdict, Fault> {
    Ok(Verdict {
        findings: lift::findings(said.findings)?,
        gauges: lift::gauges(said.gauges)?,
        state: lift::state(said.state)?.map(Blob),
        heard: Vec::new(),
    })
}

#[async_trait]
impl Detector for PluginDetector {
    fn plugin(&self) -> &PluginRef {
        &self.pool.plugin().reference
    }

    fn window(&self) -> Window {
        self.window
    }

    fn conditions(&self) -> &[String] {
        &self.conditions
    }

    fn settings(&self) -> Settings {
        self.pool.settings().clone()
    }

    fn replayable(&self) -> bool {
        self.pool.plugin().premises.judge_replay().is_ok()
    }

    async fn replayed(&self, input: &Observation, heard: &[Heard]) -> Result<Verdict, Fault> {
        self.replay(input, heard).await
    }

    // Written out, since the future of `look` is boxed already.
    fn evaluate<'detector, 'input, 'call>(
        &'detector self,
        input: &'input Observation,
    ) -> Pin<Box<dyn Future<Output = Result<Verdict, Fault>> + Send + 'call>>
    where
        'detector: 'call,
        'input: 'call,
        Self: 'call,
    {
        self.pool.look(input, Kind::Live, Ear::noting())
    }
}
