//! The plug-ins of a running heald as people and programs see them, and what may be done with them. The REST API and the command
//! line are two views of [`Plugins`]; the daemon implements it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use heald_model::{Agreement, Difference, Fault, JournalError, Moment, PluginName, PluginRef, Quarantine, ServiceName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a plug-in's answers are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginMode {
    /// They count.
    #[default]
    Active,
    /// It sees everything; its answers are recorded and compared, never carried out.
    Shadow,
    /// They count for a share of the services, compared with those of the plug-in it is to replace; heald takes it back by
    /// itself when it fails or disagrees too often, and promotes it when it agrees for long enough.
    Canary,
}

/// Where it is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginState {
    /// In use.
    Running,
    /// Being verified, compiled and tried; what ran before still runs.
    Loading,
    /// It could not be loaded, and there is nothing before it to go on with.
    Failed,
    /// Taken out by an operator.
    Disabled,
    /// A canary that heald took back.
    RolledBack,
}

/// What it cost so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginCounters {
    /// Calls of evaluate, decide, check, perform and undo.
    pub calls: u64,
    /// Those that ended in a fault, by its cause.
    pub faults: BTreeMap<String, u64>,
    /// Seconds on a thread.
    pub guest_seconds: f64,
    /// Seconds from beginning to end of the calls.
    pub wall_seconds: f64,
    /// Instances made.
    pub instances: u64,
    /// The most linear memory that one instance had.
    pub peak_memory_bytes: u64,
    /// Bytes that answers and host calls carried out of the guest.
    pub bytes_out: u64,
    /// Calls it made of the host.
    pub host_calls: u64,
    /// Log lines dropped for being too many.
    pub dropped_log_lines: u64,
}

/// `GET /api/plugins/{name}/divergence`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// Which plug-in.
    pub plugin: PluginRef,
    /// Its mode.
    pub mode: PluginMode,
    /// The plug-in it is compared with; None: whatever was decided.
    pub instead_of: Option<PluginName>,
    /// Since when it is compared.
    pub since: Moment,
    /// The counts.
    pub agreement: Agreement,
    /// The newest differences, newest first.
    pub differences: Vec<Difference>,
    /// By service.
    pub services: BTreeMap<ServiceName, Agreement>,
}

/// One plug-in in full: `GET /api/plugins/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// The configured name.
    pub name: PluginName,
    /// Where it is in its life.
    pub state: PluginState,
    /// Why, where that needs saying: what went wrong in loading, who disabled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How its answers are used.
    pub mode: PluginMode,
    /// `builtin:NAME` or the path of its file.
    pub component: String,
    /// `configuration` or `folder`.
    pub origin: String,
    /// Its own name, version and digest; absent if it never was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<PluginRef>,
    /// When that was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// What it says of itself in a line.
    pub summary: String,
    /// `detector`, `policy`, `action`.
    pub roles: Vec<String>,
    /// The actions it offers.
    pub actions: Vec<String>,
    /// The key that signed it, if one did and is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// What it asks for.
    pub requested: Vec<String>,
    /// What it is granted of that; no secrets.
    pub granted: Vec<String>,
    /// What was granted and taken back.
    pub revoked: Vec<String>,
    /// The plug-in it shadows or is to replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<PluginName>,
    /// The services it is asked about.
    pub services: Vec<ServiceName>,
    /// What it cost so far, since this digest was loaded.
    pub counters: PluginCounters,
    /// Where it is rested, or close to it.
    pub quarantine: Vec<Quarantine>,
    /// Its newest fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fault: Option<Fault>,
    /// For a shadow or a canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// The JSON Schema of its configuration.
    pub schema: Value,
}

/// Why an order about a plug-in was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// There is none of that name.
    #[error("no plug-in is named `{name}`; there are {}", .known.join(", "))]
    NoPlugin {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It cannot be loaded; what ran before still runs.
    #[error("{0}")]
    Refused(String),
    /// The order makes no sense for it as it stands.
    #[error("{0}")]
    NothingToDo(String),
    /// It could not be put on record.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The plug-ins of a running heald.
#[async_trait]
pub trait Plugins: Send + Sync {
    /// All of them, by name.
    fn list(&self) -> Vec<PluginStatus>;
    /// One.
    fn status(&self, name: &str) -> Result<PluginStatus, PluginError>;
    /// How a shadow or a canary compares with what was done.
    fn divergence(&self, name: &str) -> Result<Divergence, PluginError>;
    /// Reads its file again and puts it in place of what runs, if all goes well; nothing changes otherwise.
    async fn reload(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError>;
    /// Takes it into use as it is configured, whatever was decided about it or revoked from it.
    async fn enable(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError>;
    /// Takes it out of use, durably; the next in its place, in the end the native rules, answers.
    async fn disable(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError>;
    /// Makes a shadow or a canary active, durably; what it was compared with is retired.
    async fn promote(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError>;
    /// Takes back what it was granted (`http`, `files`, `kv`, `process`, `process-control`, `clock`, `random`), durably and from
    /// calls under way.
    async fn revoke(&self, name: &str, capability: &str, by: &str) -> Result<PluginStatus, PluginError>;
}
