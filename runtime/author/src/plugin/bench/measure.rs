//! The measuring: the same calls again and again, each timed from outside, as the engine would feel it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use heald_engine::ports::{Detector, Policy};
use heald_host::{ActionFailure, PluginActions, PluginDetector, PluginPolicy, PluginRole};
use heald_model::CallInput;
use heald_model::Fault;
use heald_model::{Observation, Question};
use serde::Serialize;
use serde_json::{Map, Value};

use super::weight;
use crate::plugin::scenario::{CheckedScenario, TaskInput, task_inputs};
use crate::plugin::subject::Subject;
use crate::plugin::test::play;

/// Calls before those that count: the first ones find cold caches.
const WARMING: u32 = 100;
/// Fresh instances that are made. Each costs as much as a hundred calls, and 200 have a 99th percentile.
const FRESH: u32 = 200;

/// Times of many calls.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Spread {
    /// Half were faster.
    #[serde(rename = "p50_ns", serialize_with = "nanos")]
    pub(super) p50: Duration,
    /// One of a hundred was slower.
    #[serde(rename = "p99_ns", serialize_with = "nanos")]
    pub(super) p99: Duration,
    /// The slowest.
    #[serde(rename = "max_ns", serialize_with = "nanos")]
    pub(super) max: Duration,
}

fn nanos<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(heald_model::time::nanos(*duration))
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        // Nearest rank.
        let rank = |percent: usize| (times.len() * percent).div_ceil(100).saturating_sub(1);
        let at = |percent| times.get(rank(percent)).copied().unwrap_or_default();
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

/// What one role of a plug-in costs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) role: String,
    /// What was called.
    pub(super) what: &'static str,
    /// Different inputs.
    pub(super) inputs: usize,
    pub(super) calls: u32,
    pub(super) warm: Spread,
    pub(super) instantiate: Spread,
    pub(super) fresh: Spread,
    pub(super) fresh_calls: u32,
    /// Mean of the warm calls.
    #[serde(rename = "guest_ns", serialize_with = "nanos")]
    pub(super) guest: Duration,
    #[serde(rename = "load_ns", serialize_with = "nanos")]
    pub(super) load: Duration,
    pub(super) memory: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// Calls that failed, and how the first did.
    pub(super) faults: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<String>,
}

/// Something that can be called again and again, with an input.
trait Callable: Sized {
    type Input;
    const WHAT: &'static str;

    fn make(subject: &Subject, config: &Map<String, Value>) -> impl Future<Output = anyhow::Result<Self>>;
    fn call(&self, input: &Self::Input) -> impl Future<Output = Result<(), String>>;
    fn weigh(input: &Self::Input) -> usize;
}

impl Callable for Arc<PluginDetector> {
    type Input = Box<Observation>;
    const WHAT: &'static str = "evaluate";

    async fn make(subject: &Subject, config: &Map<String, Value>) -> anyhow::Result<Self> {
        Ok(subject.plugin.detector(config).await?)
    }

    async fn call(&self, input: &Self::Input) -> Result<(), String> {
        self.evaluate(input).await.map(drop).map_err(|fault: Fault| fault.to_string())
    }

    fn weigh(input: &Self::Input) -> usize {
        weight::observation(input)
    }
}

impl Callable for Arc<PluginPolicy> {
    type Input = Box<Question>;
    const WHAT: &'static str = "decide";

    async fn make(subject: &Subject, config: &Map<String, Value>) -> anyhow::Result<Self> {
        Ok(subject.plugin.policy(config).await?)
    }

    async fn call(&self, input: &Self::Input) -> Result<(), String> {
        self.decide(input).await.map(drop).map_err(|fault: Fault| fault.to_string())
    }

    fn weigh(input: &Self::Input) -> usize {
        weight::question(input)
    }
}

impl Callable for Arc<PluginActions> {
    type Input = TaskInput;
    const WHAT: &'static str = "check";

    async fn make(subject: &Subject, config: &Map<String, Value>) -> anyhow::Result<Self> {
        Ok(subject.plugin.actions(config).await?)
    }

    async fn call(&self, input: &Self::Input) -> Result<(), String> {
        match self.check(&input.task()).await {
            // An action that says why it could not be done answered.
            Ok(_) => Ok(()),
            Err(ActionFailure::Fault(fault)) if fault.cause == heald_model::FaultCause::Refused => Ok(()),
            Err(failure) => Err(failure.to_string()),
        }
    }

    fn weigh(input: &Self::Input) -> usize {
        weight::task(&input.task())
    }
}

/// Measures one role.
pub(super) async fn measure(
    subject: &Subject,
    scenario: &CheckedScenario,
    role: PluginRole,
    calls: u32,
) -> anyhow::Result<Measured> {
    let config = subject.config(&scenario.form.config);
    match role {
        PluginRole::Detector => {
            let asked = Box::pin(asked(subject, scenario, role)).await?;
            let inputs = asked.into_iter().filter_map(|asked| match asked {
                CallInput::Detector(observation) => Some(observation),
                CallInput::Policy(_) => None,
            });
            Box::pin(run::<Arc<PluginDetector>>(subject, &config, role, inputs.collect(), calls)).await
        }
        PluginRole::Policy => {
            let asked = Box::pin(asked(subject, scenario, role)).await?;
            let inputs = asked.into_iter().filter_map(|asked| match asked {
                CallInput::Policy(question) => Some(question),
                CallInput::Detector(_) => None,
            });
            Box::pin(run::<Arc<PluginPolicy>>(subject, &config, role, inputs.collect(), calls)).await
        }
        PluginRole::Action => {
            let mut inputs = task_inputs(scenario);
            if inputs.is_empty() {
                let actions = subject.plugin.actions(&config).await?;
                inputs = actions.infos().iter().map(|info| TaskInput::checking(scenario, &info.name)).collect();
            }
            Box::pin(run::<Arc<PluginActions>>(subject, &config, role, inputs, calls)).await
        }
    }
}

/// What the plug-in was asked when it played the scenario: with the states that are its own.
async fn asked(subject: &Subject, scenario: &CheckedScenario, role: PluginRole) -> anyhow::Result<Vec<CallInput>> {
    Ok(Box::pin(play(subject, scenario, role)).await?.into_iter().filter_map(|turn| turn.asked).collect())
}

async fn run<C: Callable>(
    subject: &Subject,
    config: &Map<String, Value>,
    role: PluginRole,
    inputs: Vec<C::Input>,
    calls: u32,
) -> anyhow::Result<Measured> {
    if inputs.is_empty() {
        bail!("there is nothing to call this {role} with");
    }
    let mut faults = Faults::default();
    let callable = C::make(subject, config).await?;
    for input in inputs.iter().cycle().take(WARMING.min(calls) as usize) {
        faults.note(callable.call(input).await);
    }
    let before = subject.plugin.stats();
    let mut warm = Vec::with_capacity(calls as usize);
    for input in inputs.iter().cycle().take(calls as usize) {
        let began = Instant::now();
        let outcome = callable.call(input).await;
        warm.push(began.elapsed());
        faults.note(outcome);
    }
    let after = subject.plugin.stats();
    // What nobody holds is forgotten: the next one is made anew.
    drop(callable);
    let count = FRESH.min(calls);
    let (mut instantiate, mut fresh) = (Vec::new(), Vec::new());
    for input in inputs.iter().cycle().take(count as usize) {
        let began = Instant::now();
        let callable = C::make(subject, config).await?;
        instantiate.push(began.elapsed());
        let outcome = callable.call(input).await;
        fresh.push(began.elapsed());
        faults.note(outcome);
    }
    let weight: usize = inputs.iter().map(C::weigh).sum::<usize>() / inputs.len();
    Ok(Measured {
        role: role.to_string(),
        what: C::WHAT,
        inputs: inputs.len(),
        calls,
        warm: Spread::of(warm),
        instantiate: Spread::of(instantiate),
        fresh: Spread::of(fresh),
        fresh_calls: count,
        guest: after.busy.saturating_sub(before.busy) / calls.max(1),
        load: subject.took,
        memory: subject.plugin.stats().peak_memory,
        bytes_in: u64::try_from(weight).unwrap_or(u64::MAX),
        bytes_out: after.bytes_out.saturating_sub(before.bytes_out) / u64::from(calls.max(1)),
        faults: faults.count,
        fault: faults.first,
    })
}

/// Calls that failed.
#[derive(Default)]
struct Faults {
    count: u64,
    first: Option<String>,
}

impl Faults {
    fn note(&mut self, outcome: Result<(), String>) {
        if let Err(why) = outcome {
            self.count += 1;
            self.first.get_or_insert(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let spread = |count: u64| Spread::of((1..=count).rev().map(Duration::from_nanos).collect());
        let read = |spread: Spread| [spread.p50, spread.p99, spread.max].map(|time| time.as_nanos());
        assert_eq!(read(spread(1_000)), [500, 990, 1_000]);
        assert_eq!(read(spread(1)), [1, 1, 1]);
        assert_eq!(read(spread(0)), [0, 0, 0]);
    }
}
