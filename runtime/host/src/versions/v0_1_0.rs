//! heald:plugin@0.1.0, the newest version. Its records are the host's own, so it translates nothing.

use std::future::Future;

use async_trait::async_trait;
use bumpalo::Bump;
use heald_model::time::nanos;
use heald_model::{Observation, Question};
use wasmtime::component::{Instance, Linker};
use wasmtime::{Result, Store};

use crate::bindings::exports::heald::plugin::{act, decide, detect};
use crate::bindings::heald::plugin::types::{ActionInfoResult, Error};
use crate::bindings::heald::plugin::{kv, log, process, process_control, types};
use crate::code::contract::{Contract, PluginRole, Speaks};
use crate::config::Grant;
use crate::guest::action::PluginActions;
use crate::guest::adapter::ContractAdapter;
use crate::guest::detector::PluginDetector;
use crate::guest::instance::{LoadedPlugin, Setup, SetupError};
use crate::guest::lower;
use crate::guest::policy::PluginPolicy;
use crate::guest::role::{Act, Decide, Detect, Exports};
use crate::guest::task::TaskInput;
use crate::world::context::{Context, HasContext};

/// The adapter of this version.
pub(crate) struct V0_1_0;

const CONTRACT: Contract = Contract {
    version: "0.1.0",
    imports: &["log", "types", "kv", "process", "process-control"],
    exports: &[
        (PluginRole::Detector, &["configure", "describe", "evaluate"]),
        (PluginRole::Policy, &["configure", "describe", "decide"]),
        (PluginRole::Action, &["configure", "describe", "check", "perform", "undo"]),
    ],
};

impl Speaks for V0_1_0 {
    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }
}

#[async_trait]
impl ContractAdapter for V0_1_0 {
    fn link(&self, linker: &mut Linker<Context>, grant: &Grant) -> Result<()> {
        types::add_to_linker::<_, HasContext>(linker, |context| context)?;
        log::add_to_linker::<_, HasContext>(linker, |context| context)?;
        if grant.kv {
            kv::add_to_linker::<_, HasContext>(linker, |context| context)?;
        }
        if grant.process {
            process::add_to_linker::<_, HasContext>(linker, |context| context)?;
        }
        if grant.process_control {
            process_control::add_to_linker::<_, HasContext>(linker, |context| context)?;
        }
        Ok(())
    }

    async fn detector(&self, setup: Setup) -> Result<PluginDetector, SetupError> {
        PluginDetector::set_up::<detect::Guest>(setup).await
    }

    async fn policy(&self, setup: Setup) -> Result<PluginPolicy, SetupError> {
        PluginPolicy::set_up::<decide::Guest>(setup).await
    }

    async fn actions(&self, setup: Setup) -> Result<PluginActions, SetupError> {
        PluginActions::set_up::<act::Guest>(setup).await
    }
}

macro_rules! exports {
    ($interface:ident, $role:ident, $about:ty) => {
        impl Exports for $interface::Guest {
            const ROLE: PluginRole = PluginRole::$role;
            type About = $about;

            fn load(plugin: &LoadedPlugin, store: &mut Store<Context>, instance: &Instance) -> Result<Self> {
                $interface::GuestIndices::new(&plugin.pre)?.load(store, instance)
            }

            async fn configure(&self, store: &mut Store<Context>, config: &str) -> Result<Result<(), Error>> {
                self.call_configure(store, config).await
            }

            async fn describe(&self, store: &mut Store<Context>) -> Result<Self::About> {
                self.call_describe(store).await
            }
        }
    };
}

exports!(detect, Detector, detect::About);
exports!(decide, Policy, decide::About);
exports!(act, Action, Vec<ActionInfoResult>);

impl Detect for detect::Guest {
    fn evaluate<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: &'a Observation,
        state: Option<&'a [u8]>,
    ) -> impl Future<Output = Result<Result<detect::Verdict, Error>>> + Send + 'a {
        let observation = detect::Observation {
            now: input.now.nanos(),
            seed: input.seed,
            service: lower::service(arena, &input.service),
            series: lower::all_series(arena, &input.series),
            state,
        };
        self.call_evaluate(store, observation)
    }
}

impl Decide for decide::Guest {
    fn decide<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: &'a Question,
        state: Option<&'a [u8]>,
    ) -> impl Future<Output = Result<Result<decide::Decision, Error>>> + Send + 'a {
        let question = decide::Question {
            now: input.now.nanos(),
            seed: input.seed,
            service: lower::service(arena, &input.service),
            series: lower::all_series(arena, &input.series),
            incident: lower::incident(arena, &input.incident, &input.earlier, &input.related),
            offers: lower::offers(arena, &input.offers),
            experience: lower::experience(arena, &input.experience),
            state,
        };
        self.call_decide(store, question)
    }
}

impl Act for act::Guest {
    fn check<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: TaskInput<'a>,
    ) -> impl Future<Output = Result<Result<act::Plan, Error>>> + Send + 'a {
        self.call_check(store, task(arena, input))
    }

    fn perform<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: TaskInput<'a>,
    ) -> impl Future<Output = Result<Result<act::Receipt, Error>>> + Send + 'a {
        self.call_perform(store, task(arena, input))
    }

    fn undo<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: TaskInput<'a>,
        token: &'a [u8],
    ) -> impl Future<Output = Result<Result<act::Receipt, Error>>> + Send + 'a {
        self.call_undo(store, task(arena, input), token)
    }
}

fn task<'a>(arena: &'a Bump, TaskInput { task, wall }: TaskInput<'a>) -> act::Task<'a> {
    act::Task {
        now: task.now.nanos(),
        seed: task.seed,
        attempt: lower::id(arena, &task.attempt),
        deadline: nanos(wall),
        service: lower::service(arena, task.service),
        incident: task.incident.map(|incident| lower::incident(arena, incident, &[], &[])),
        action: task.action,
        parameters: lower::json(arena, task.parameters),
    }
}
