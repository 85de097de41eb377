//! A plug-in as the engine's [`Detector`].

use async_trait::async_trait;
use heald_engine::ports::{Blob, Detector, Observation, Verdict, Window};
use heald_model::{Fault, PluginRef};

use crate::bindings::exports::heald::plugin::detect::{self, About};
use crate::bindings::heald::plugin::types::Error as Said;
use crate::clock::timed;
use crate::error::HostError;
use crate::pool::Pool;
use crate::{fault, lift, lower};

/// Conditions that one detector may announce.
const CONDITIONS: usize = 256;

/// A detector in a plug-in, with one configuration.
pub struct PluginDetector {
    pool: Pool<detect::Guest>,
    conditions: Vec<String>,
    window: Window,
}

impl PluginDetector {
    pub(crate) fn new(pool: Pool<detect::Guest>, about: About) -> Result<Self, HostError> {
        let conditions = lift::at_most("conditions", about.conditions, CONDITIONS)
            .and_then(|conditions| conditions.into_iter().map(|name| lift::name("condition", name)).collect())
            .map_err(|fault| HostError::Setup { plugin: pool.plugin().reference.name.clone(), fault })?;
        Ok(Self { pool, conditions, window: lift::window(about.window) })
    }

    /// The conditions it may report.
    pub fn conditions(&self) -> &[String] {
        &self.conditions
    }

    async fn ask(&self, input: &Observation, state: Option<&[u8]>) -> Result<Option<Verdict>, Fault> {
        let mut turn = self.pool.turn().await?;
        let warm = &mut *turn;
        warm.store.data().set_ambient(input.now, input.seed);
        let arena = &warm.scratch;
        let observation = detect::Observation {
            now: input.now.nanos(),
            seed: input.seed,
            service: lower::service(arena, &input.service),
            series: lower::all_series(arena, &input.series),
            state,
        };
        let call = warm.guest.call_evaluate(&mut warm.store, observation);
        let (outcome, spent) = timed(call, self.pool.limits().wall).await;
        let verdict = match turn.judge(outcome, spent)? {
            Ok(said) => Some(verdict(said)?),
            // Its state is none of its own; whoever asked may ask again without.
            Err(Said::BadState) if state.is_some() => None,
            Err(said) => return Err(fault::of_answer(&said)),
        };
        turn.finish();
        Ok(verdict)
    }
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

    async fn evaluate(&self, input: &Observation) -> Result<Verdict, Fault> {
        let said = match self.ask(input, input.state.as_ref().map(|state| state.0.as_slice())).await {
            Ok(None) => self.ask(input, None).await,
            said => said,
        };
        // Without state there is no `bad-state` to say.
        self.pool.plugin().faulted(said.map(Option::unwrap_or_default))
    }
}
