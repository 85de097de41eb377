//! The typed configuration tree: the sections that no other crate owns, and what follows from them. It reads and checks
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use heald_api::ServerConfig;
use heald_breaker::BreakerConfig;
use heald_engine::HealingConfig;
use heald_host::{PluginConfig, PluginsConfig};
use heald_model::time::text;
use heald_model::{Mode, PluginName, ServiceName};
use heald_probe::ProbeConfig;
use heald_store::StoreConfig;
use heald_supervisor::ProcessConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where heald listens.
    #[serde(default)]
    pub server: ServerConfig,
    /// Where it remembers.
    #[serde(default)]
    pub store: StoreConfig,
    /// What it says of itself.
    #[serde(default)]
    pub log: LogConfig,
    /// The process that owns the children.
    #[serde(default)]
    pub keeper: KeeperConfig,
    /// How boldly it heals.
    #[serde(default)]
    pub healing: HealingConfig,
    /// Every service's circuit breaker, below what the service's own says.
    #[serde(default)]
    pub breaker: BreakerConfig,
    /// Every probe, below what the probe's own says.
    #[serde(default)]
    pub probe: ProbeDefaults,
    /// What a consultation (`heald decide`, `POST /orchestrate`) asks, by the profile's name.
    #[serde(default)]
    pub consult: BTreeMap<String, ConsultConfig>,
    /// What holds for all plug-ins.
    #[serde(default)]
    pub plugins: PluginsConfig,
    /// The plug-ins to load: all that the operator's file names and all that something refers to.
    #[serde(default)]
    pub plugin: Vec<PluginConfig>,
    /// What is watched.
    #[serde(default)]
    pub service: Vec<ServiceConfig>,
}

/// The `[log]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The least that is said.
    pub level: LogLevel,
    /// A file that gets every line too, as JSON; none if empty.
    pub file: PathBuf,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: LogLevel::Info, file: PathBuf::new() }
    }
}

/// How grave a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE", try_from = "String")]
pub enum LogLevel {
    /// Details for finding a fault of heald itself.
    Debug,
    /// What happens.
    Info,
    /// What may need a person.
    Warning,
    /// What went wrong.
    Error,
    /// What stops heald from doing its work.
    Critical,
}

impl LogLevel {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

impl TryFrom<String> for LogLevel {
    type Error = String;

    /// In upper or lower case, and in the words of other loggers.
    fn try_from(text: String) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "DEBUG" | "TRACE" => Ok(Self::Debug),
            "INFO" => Ok(Self::Info),
            "WARNING" | "WARN" => Ok(Self::Warning),
            "ERROR" => Ok(Self::Error),
            "CRITICAL" | "FATAL" => Ok(Self::Critical),
            _ => Err(format!("`{text}` is not a level; allowed: DEBUG, INFO, WARNING, ERROR, CRITICAL")),
        }
    }
}

/// The `[keeper]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeeperConfig {
    /// Where the keeper's lock, its ledger and the services' logs are; by default beside the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// How often the runtime says that it lives.
    #[serde(with = "text")]
    pub heartbeat: Duration,
    /// A runtime that is silent for so long is killed and started again.
    #[serde(with = "text")]
    pub silence: Duration,
    /// With no runtime for so long, the keeper itself starts again what ends.
    #[serde(with = "text")]
    pub absence: Duration,
    /// A runtime that keeps dying young is started again after pauses that double up to this.
    #[serde(with = "text")]
    pub backoff_max: Duration,
}

impl Default for KeeperConfig {
    fn default() -> Self {
        // Ten beats may be lost, on a machine that is busy or stopped for a moment, before the runtime is held for dead.
        Self {
            state_dir: None,
            heartbeat: Duration::from_secs(1),
            silence: Duration::from_secs(10),
            absence: Duration::from_secs(10),
            backoff_max: Duration::from_secs(5),
        }
    }
}

/// The `[probe]` section: what `[[service.probe]]` tables say where they say nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeDefaults {
    /// How often to look.
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub period: Option<Duration>,
    /// How long one look may take.
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How long after a start to look first.
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub initial_delay: Option<Duration>,
    /// Failures in a row that make a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
    /// Successes in a row that make a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_threshold: Option<u32>,
}

/// One `[consult.NAME]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsultConfig {
    /// All of them are asked.
    pub detectors: Vec<PluginName>,
    /// Asked in order until one answers.
    pub policies: Vec<PluginName>,
    /// How this profile's users spell an action; as heald does, where nothing is said.
    pub words: BTreeMap<String, String>,
    /// True: `error_rate` is given in percent, not as a ratio.
    pub error_rate_percent: bool,
}

/// One `[[service]]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// What it is called everywhere.
    pub name: ServiceName,
    /// The operator's tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The services it needs.
    #[serde(default)]
    pub depends_on: Vec<ServiceName>,
    /// From a spawn to the first success that is expected.
    #[serde(default = "ten_seconds", with = "text")]
    pub startup: Duration,
    /// How decisions about it are treated, if not as `[healing]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Its detectors, if not those of `[healing]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detectors: Option<Vec<PluginName>>,
    /// Its policies, if not those of `[healing]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<PluginName>>,
    /// The plug-ins whose actions it is offered, if not those of `[healing]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<PluginName>>,
    /// Its circuit breaker, if it says anything other than `[breaker]`; what it leaves out is as there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerConfig>,
    /// How heald runs it, if heald does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessConfig>,
    /// How it is checked.
    #[serde(default)]
    pub probe: Vec<ProbeConfig>,
    /// What is different for this service in the configuration of the plug-in of that name.
    #[serde(default)]
    pub config: BTreeMap<PluginName, Map<String, Value>>,
    /// The operator's own object; plug-ins see it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

impl KeeperConfig {
    /// Where the keeper's state is: as said, else `<database without its ending>.keeper`.
    pub fn state_dir(&self, store: &StoreConfig) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| store.path.with_extension("keeper"))
    }
}

impl Config {
    /// The plug-in of that name.
    pub fn plugin(&self, name: &str) -> Option<&PluginConfig> {
        self.plugin.iter().find(|plugin| plugin.name.as_str() == name)
    }

    /// The detectors of a service.
    pub fn detectors<'a>(&'a self, service: &'a ServiceConfig) -> &'a [PluginName] {
        service.detectors.as_deref().unwrap_or(&self.healing.detectors)
    }

    /// The policies of a service, in order.
    pub fn policies<'a>(&'a self, service: &'a ServiceConfig) -> &'a [PluginName] {
        service.policies.as_deref().unwrap_or(&self.healing.policies)
    }

    /// The plug-ins whose actions a service is offered, beside heald's own.
    pub fn actions<'a>(&'a self, service: &'a ServiceConfig) -> &'a [PluginName] {
        service.actions.as_deref().unwrap_or(&self.healing.actions)
    }

    /// The circuit breaker of a service. Where nothing else is said, a service that heald runs or that others need is looked at again
    /// within some seconds: somebody waits for its recovery.
    pub fn breaker(&self, service: &ServiceConfig) -> BreakerConfig {
        const SOON: Duration = Duration::from_secs(4);
        let own = service.breaker.as_ref().unwrap_or(&self.breaker).clone();
        let needed = self.service.iter().any(|other| other.depends_on.contains(&service.name));
        if service.process.is_some() || needed { own.or_longest(SOON) } else { own }
    }

    /// How decisions about a service are treated.
    pub fn mode(&self, service: &ServiceConfig) -> Mode {
        service.mode.unwrap_or(self.healing.mode)
    }

    /// The plug-in's configuration as it is for one service.
    pub fn plugin_for(&self, plugin: &PluginConfig, service: &ServiceConfig) -> Map<String, Value> {
        service
            .config
            .get(&plugin.name)
            .map_or_else(|| plugin.config.clone(), |overrides| heald_host::merged(&plugin.config, overrides))
    }

    /// The names of plug-ins that something refers to, beside the service they are referred to for.
    pub(crate) fn references(&self) -> BTreeSet<&PluginName> {
        let healing = self.healing.detectors.iter().chain(&self.healing.policies).chain(&self.healing.actions);
        let consult = self.consult.values().flat_map(|profile| profile.detectors.iter().chain(&profile.policies));
        let service = self.service.iter().flat_map(|service| {
            let lists = [&service.detectors, &service.policies, &service.actions].into_iter().flatten().flatten();
            lists.chain(service.config.keys())
        });
        let rivals = self.plugin.iter().filter_map(|plugin| plugin.instead_of.as_ref());
        healing.chain(consult).chain(service).chain(rivals).collect()
    }
}
