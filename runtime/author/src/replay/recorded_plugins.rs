//! Finds the plug-in that answered a recorded call: the same component by its digest, with the configuration it had. It searches the
//! built-in plug-ins, the configured files and the components that heald keeps. A component with another digest is another plug-in,
//! whatever its name.

use std::collections::HashMap;
use std::path::PathBuf;

use heald_host::{Grant, Host, HostError, Options, Plugin, PluginConfig, PluginDetector, PluginPolicy};
use heald_model::{CallInput, CallResult, HostCall, PluginCall};
use heald_model::{Fault, FaultCause, PluginName, PluginRef};

use super::{object, short};
use heald_config::{Config, chain};
use heald_platform::builtins;
use heald_platform::{Components, components_dir};

/// The result of repeating a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Again {
    /// The same answer, to the bit.
    Same,
    /// Another answer.
    Differs(Box<CallResult>),
    /// No heald can repeat it, for this reason.
    Untold(String),
    /// This heald cannot repeat it, for this reason.
    Gone(String),
}

/// The plug-ins of the record.
pub(super) struct RecordedPlugins {
    host: Host,
    tables: Vec<PluginConfig>,
    kept: Components,
    folder: PathBuf,
    loaded: HashMap<PluginRef, Result<Plugin, String>>,
}

impl RecordedPlugins {
    /// Loads no plug-in yet.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        // The operator's trusted keys are for plug-ins that run. Here the answers have no effect, so none is asked for.
        let host = Host::with(Options { builtins: builtins::embedded(), ..Options::default() })?;
        let folder = components_dir(&config.store);
        let kept = Components::at(folder.clone());
        Ok(Self { host, tables: config.plugin.clone(), kept, folder, loaded: HashMap::new() })
    }

    /// Where plug-ins run.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Repeats a call.
    pub(super) async fn again(&mut self, call: &PluginCall) -> Again {
        if !call.replayable {
            return Again::Untold(
                "it saw a real clock, real dice, files or the network, which no record can show again".into(),
            );
        }
        if let CallResult::Fault(Fault { cause: FaultCause::CpuBudget | FaultCause::Deadline, detail }) = &call.said {
            return Again::Untold(format!("it was stopped by the clock ({detail}), which runs otherwise each time"));
        }
        if let CallResult::Fault(Fault { cause: FaultCause::Refused | FaultCause::Load, detail }) = &call.said {
            return Again::Untold(format!("it was refused ({detail}), which was heald's doing, not its own"));
        }
        let plugin = match self.find(&call.plugin) {
            Ok(plugin) => plugin,
            Err(why) => return Again::Gone(why),
        };
        let told = plugin.requested().iter().any(|word| matches!(word.as_str(), "kv" | "process"));
        if told && matches!(call.said, CallResult::Fault(_)) {
            return Again::Untold("it failed after asking the host, and what it was told is not on record".into());
        }
        let config = match object("its configuration", &call.settings.text) {
            Ok(config) => config,
            Err(_) => {
                return Again::Gone(format!("its configuration {} is not on record", short(&call.settings.digest)));
            }
        };
        let said = match &call.asked {
            CallInput::Policy(question) => match plugin.policy(&config).await {
                Ok(policy) => said_by_policy(&policy, question, heard(&call.said)).await,
                Err(error) => return Again::Gone(chain(&error)),
            },
            CallInput::Detector(input) => match plugin.detector(&config).await {
                Ok(detector) => said_by_detector(&detector, input, heard(&call.said)).await,
                Err(error) => return Again::Gone(chain(&error)),
            },
        };
        match heald_engine::compare::replay::to_the_bit(&said) == heald_engine::compare::replay::to_the_bit(&call.said)
        {
            true => Again::Same,
            false => Again::Differs(Box::new(said)),
        }
    }

    /// The plug-in of this name and digest.
    fn find(&mut self, plugin: &PluginRef) -> Result<Plugin, String> {
        if let Some(known) = self.loaded.get(plugin) {
            return known.clone();
        }
        let found = self.load(plugin);
        self.loaded.insert(plugin.clone(), found.clone());
        found
    }

    fn load(&self, plugin: &PluginRef) -> Result<Plugin, String> {
        let failed = |error: HostError| chain(&error);
        let builtin = heald_builtin::all().iter().find(|builtin| builtin.digest == plugin.digest);
        if let Some(builtin) = builtin {
            let component = format!("builtin:{}", builtin.name);
            return self.host.load(&PluginConfig { component, ..table(&self.tables, &plugin.name) }).map_err(failed);
        }
        let files = self.tables.iter().map(|table| &table.component).filter(|path| !path.starts_with("builtin:"));
        let mut contents = files.filter_map(|path| std::fs::read(path).ok());
        let bytes = contents.find(|bytes| heald_host::digest(bytes) == plugin.digest);
        let bytes = bytes.or_else(|| self.kept.find(&plugin.digest)).ok_or_else(|| {
            let (digest, folder) = (short(&plugin.digest), self.folder.display());
            format!("its component {digest} is gone: not built into this heald, not configured, not kept in {folder}")
        })?;
        self.host.load_bytes(&table(&self.tables, &plugin.name), &bytes).map_err(failed)
    }
}

/// The table with which a plug-in of this name is loaded for a replay. It is granted `kv` and processes: their answers come from the record,
/// so these grants are harmless.
pub(super) fn table(tables: &[PluginConfig], name: &PluginName) -> PluginConfig {
    let unnamed = || PluginConfig {
        name: name.clone(),
        component: String::new(),
        config: serde_json::Map::new(),
        grant: Grant::default(),
        limits: heald_host::LimitsConfig::default(),
        mode: heald_control::PluginMode::default(),
        instead_of: None,
        canary: heald_host::CanaryConfig::default(),
    };
    let table = tables.iter().find(|table| table.name == *name).cloned().unwrap_or_else(unnamed);
    PluginConfig { grant: Grant { kv: true, process: true, process_control: true, ..table.grant }, ..table }
}

/// The calls to the host that the plug-in made for this answer.
pub(super) fn heard(said: &CallResult) -> &[HostCall] {
    match said {
        CallResult::Verdict(verdict) => &verdict.heard,
        CallResult::Answer(answer) => &answer.heard,
        CallResult::Fault(_) => &[],
    }
}

pub(super) async fn said_by_policy(
    policy: &PluginPolicy,
    question: &heald_model::Question,
    heard: &[HostCall],
) -> CallResult {
    policy.replay(question, heard).await.map_or_else(CallResult::Fault, |answer| CallResult::Answer(Box::new(answer)))
}

pub(super) async fn said_by_detector(
    detector: &PluginDetector,
    input: &heald_model::Observation,
    heard: &[HostCall],
) -> CallResult {
    detector.replay(input, heard).await.map_or_else(CallResult::Fault, CallResult::Verdict)
}
