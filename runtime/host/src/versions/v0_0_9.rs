//! heald:plugin@0.0.9, a version that never existed: it shows the tests what an adapter of an older version looks like.
//! It knows detectors alone, and translates records that have less or more than the host's.

use std::future::Future;

use async_trait::async_trait;
use bumpalo::Bump;
use heald_model as model;
use heald_model::Observation;
use wasmtime::component::{Instance, Linker};
use wasmtime::{Result, Store};

use self::bindings::exports::heald::plugin::detect as old;
use self::bindings::heald::plugin::{log as old_log, types};
use crate::bindings::exports::heald::plugin::detect;
use crate::bindings::heald::plugin::log::{self, Level};
use crate::bindings::heald::plugin::types::{Error, FindingResult, Problem, Severity, Window, WindowMode};
use crate::code::contract::{Contract, PluginRole, Speaks};
use crate::config::Grant;
use crate::guest::adapter::ContractAdapter;
use crate::guest::detector::PluginDetector;
use crate::guest::instance::{LoadedPlugin, Setup, SetupError};
use crate::guest::role::{Detect, Exports};
use crate::world::context::{Context, HasContext};

// Generated code.
#[allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "tests/versions/0.0.9",
        world: "detector",
        imports: { default: trappable },
        exports: { default: async },
    });
}

/// The adapter of this version.
pub(crate) struct V0_0_9;

const CONTRACT: Contract = Contract {
    version: "0.0.9",
    imports: &["log", "types"],
    exports: &[(PluginRole::Detector, &["configure", "describe", "evaluate"])],
};

impl Speaks for V0_0_9 {
    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }
}

#[async_trait]
impl ContractAdapter for V0_0_9 {
    fn link(&self, linker: &mut Linker<Context>, _: &Grant) -> Result<()> {
        types::add_to_linker::<_, HasContext>(linker, |context| context)?;
        old_log::add_to_linker::<_, HasContext>(linker, |context| context)
    }

    async fn detector(&self, setup: Setup) -> Result<PluginDetector, SetupError> {
        PluginDetector::set_up::<old::Guest>(setup).await
    }
}

impl types::Host for Context {}

/// A guest of this version asks the host as a guest of the newest version does: its requests are counted, cleaned and
/// bounded alike.
impl old_log::Host for Context {
    fn write(&mut self, level: old_log::Level, message: String) -> Result<()> {
        let level = match level {
            old_log::Level::Info => Level::Info,
            old_log::Level::Error => Level::Error,
        };
        log::Host::write(self, level, message, Vec::new())
    }
}

impl Exports for old::Guest {
    const ROLE: PluginRole = PluginRole::Detector;
    type About = detect::About;

    fn load(plugin: &LoadedPlugin, store: &mut Store<Context>, instance: &Instance) -> Result<Self> {
        old::GuestIndices::new(&plugin.pre)?.load(store, instance)
    }

    async fn configure(&self, store: &mut Store<Context>, config: &str) -> Result<Result<(), Error>> {
        Ok(self.call_configure(store, config).await?.map_err(said))
    }

    async fn describe(&self, store: &mut Store<Context>) -> Result<detect::About> {
        // This version cannot name a window, so it sees each new sample once.
        let window = Window { samples: 0, span: 0, mode: WindowMode::News };
        Ok(detect::About { conditions: self.call_describe(store).await?, window, facts: Vec::new() })
    }
}

impl Detect for old::Guest {
    fn evaluate<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        _: &'a Bump,
        input: &'a Observation,
        state: Option<&'a [u8]>,
    ) -> impl Future<Output = Result<Result<detect::Verdict, Error>>> + Send + 'a {
        let observation = old::Observation {
            now: input.now.nanos(),
            service: input.service.name.to_string(),
            series: input.series.iter().map(series).collect(),
            state: state.map(<[u8]>::to_vec),
        };
        async move { Ok(self.call_evaluate(store, &observation).await?.map(verdict).map_err(said)) }
    }
}

fn series(series: &model::Series) -> types::Series {
    let sample = |sample: &model::Sample| types::Sample {
        at: sample.at.nanos(),
        ok: sample.ok,
        cpu: sample.cpu.filter(|cpu| cpu.is_finite()),
    };
    types::Series { probe: series.probe.to_string(), samples: series.samples.iter().map(sample).collect() }
}

fn verdict(said: old::Verdict) -> detect::Verdict {
    let finding = |said: types::Finding| FindingResult {
        condition: said.condition,
        subject: None,
        severity: match said.severity {
            types::Severity::Warning => Severity::Warning,
            types::Severity::Critical => Severity::Critical,
        },
        score: said.score,
        predicted: None,
        message: said.message,
        evidence: Vec::new(),
    };
    detect::Verdict {
        findings: said.findings.into_iter().map(finding).collect(),
        gauges: Vec::new(),
        state: said.state,
    }
}

fn said(error: types::Error) -> Error {
    match error {
        types::Error::BadConfig(message) => Error::BadConfig(vec![Problem { at: String::new(), message }]),
        types::Error::BadState => Error::BadState,
        types::Error::Other(text) => Error::Other(text),
    }
}
