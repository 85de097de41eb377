//! A plug-in as the engine's [`Detector`]. It asks the guest and checks the answer; what a finding means, the engine
//! decides.

use std::pin::Pin;

use async_trait::async_trait;
use heald_engine::ports::Detector;
use heald_model::{Blob, Observation, Verdict, Window};
use heald_model::{Fault, PluginRef};
use heald_model::{HostCall, PluginSettings};

use crate::bindings::exports::heald::plugin::detect;
use crate::bindings::heald::plugin::types::Error;
use crate::guest::clock::timed;
use crate::guest::instance::{Setup, SetupError};
use crate::guest::pool::{CallKind, Pool, Pooled};
use crate::guest::role::Detect;
use crate::guest::{fault, lift, weigh};
use crate::world::context::GuestCall;
use crate::world::recorder::Recorder;

/// Conditions that one detector may announce.
const CONDITIONS: usize = 256;

/// A detector in a plug-in, with one configuration.
pub struct PluginDetector {
    pool: Box<dyn DetectorPool>,
    conditions: Vec<String>,
    window: Window,
}

impl PluginDetector {
    /// Sets up the detector of one configured plug-in.
    pub(crate) async fn set_up<G: Detect>(setup: Setup) -> Result<Self, SetupError> {
        let (pool, about) = Pool::<G>::fill(setup).await?;
        let conditions = lift::at_most("conditions", about.conditions, CONDITIONS)
            .and_then(|conditions| conditions.into_iter().map(|name| lift::name("condition", name)).collect())
            .map_err(|fault| SetupError::Fault { plugin: pool.plugin().reference.name.clone(), fault })?;
        Ok(Self { pool: Box::new(pool), conditions, window: lift::window(about.window) })
    }

    /// Repeats a recorded call. The guest gets the recorded answers of the host; nothing of the world is asked,
    /// changed, counted or written. The limits are those of any call. The verdict holds the same answers again, so that
    /// two verdicts of the same call are equal.
    ///
    /// # Errors
    /// A fault, as in any call. Also [`FaultCause::BadOutput`](heald_model::FaultCause::BadOutput) where the guest
    /// asked the host for something else than the record has, and
    /// [`FaultCause::Refused`](heald_model::FaultCause::Refused) where the detector is not
    /// [`replayable`](Detector::replayable).
    pub async fn replay(&self, input: &Observation, recorded: &[HostCall]) -> Result<Verdict, Fault> {
        self.pool.plugin().access.judge_replay()?;
        self.pool.evaluate(input, CallKind::Replay, Recorder::replaying(recorded)).await
    }
}

/// The instances behind a [`PluginDetector`], whatever version of the contract they speak.
#[async_trait]
trait DetectorPool: Pooled {
    /// Asks one instance. If it does not know the state as its own, asks again without the state.
    async fn evaluate(&self, input: &Observation, kind: CallKind, recorder: Recorder) -> Result<Verdict, Fault>;
}

#[async_trait]
impl<G: Detect> DetectorPool for Pool<G> {
    async fn evaluate(&self, input: &Observation, kind: CallKind, recorder: Recorder) -> Result<Verdict, Fault> {
        let answer = evaluate(self, input, kind, recorder).await;
        if kind == CallKind::Live { self.plugin().faulted(answer) } else { answer }
    }
}

async fn evaluate<G: Detect>(
    pool: &Pool<G>,
    input: &Observation,
    kind: CallKind,
    mut recorder: Recorder,
) -> Result<Verdict, Fault> {
    let state = input.state.as_ref().map(|state| state.0.as_slice());
    let answer = match ask(pool, input, state, kind, &mut recorder).await? {
        None => ask(pool, input, None, kind, &mut recorder).await?,
        answer => answer,
    };
    // Without state, no guest can answer `bad-state`.
    let verdict = answer.unwrap_or_default();
    Ok(Verdict { heard: recorder.into_calls(), ..verdict })
}

async fn ask<G: Detect>(
    pool: &Pool<G>,
    input: &Observation,
    state: Option<&[u8]>,
    kind: CallKind,
    recorder: &mut Recorder,
) -> Result<Option<Verdict>, Fault> {
    let mut instance = pool.take(kind).await?;
    let warm = &mut *instance;
    let call = GuestCall::looking(input.now, input.seed, &input.service);
    warm.store.data_mut().begin(call, std::mem::take(recorder));
    let revoked = pool.revoked(&warm.store);
    let call = warm.guest.evaluate(&mut warm.store, &warm.scratch, input, state);
    let (outcome, spent) = timed(call, pool.limits().wall, revoked).await;
    *recorder = instance.store.data_mut().end();
    let verdict = match instance.judge(outcome, spent)? {
        Ok(answer) => {
            instance.carried(weigh::verdict(&answer));
            Some(verdict(answer)?)
        }
        // The state is not its own; the caller may ask again without it.
        Err(Error::BadState) if state.is_some() => None,
        Err(error) => return Err(fault::of_answer(&error)),
    };
    instance.finish();
    Ok(verdict)
}

fn verdict(answer: detect::Verdict) -> Result<Verdict, Fault> {
    Ok(Verdict {
        findings: lift::findings(answer.findings)?,
        gauges: lift::gauges(answer.gauges)?,
        state: lift::state(answer.state)?.map(Blob),
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

    fn settings(&self) -> PluginSettings {
        self.pool.settings().clone()
    }

    fn replayable(&self) -> bool {
        self.pool.plugin().access.judge_replay().is_ok()
    }

    async fn replayed(&self, input: &Observation, recorded: &[HostCall]) -> Result<Verdict, Fault> {
        self.replay(input, recorded).await
    }

    // Written out by hand, because the future of `DetectorPool::evaluate` is boxed already.
    fn evaluate<'detector, 'input, 'call>(
        &'detector self,
        input: &'input Observation,
    ) -> Pin<Box<dyn Future<Output = Result<Verdict, Fault>> + Send + 'call>>
    where
        'detector: 'call,
        'input: 'call,
        Self: 'call,
    {
        self.pool.evaluate(input, CallKind::Live, Recorder::recording())
    }
}
