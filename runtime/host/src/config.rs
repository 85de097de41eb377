//! The plug-in tables of heald's configuration: `[[plugin]]` and `[plugins]`. They are data; nothing here reads a file.

use std::path::PathBuf;
use std::time::Duration;

use heald_control::PluginMode;
use heald_model::PluginName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::guest::limits::{CallLimits, LONGEST};
use crate::world::endpoint::Endpoint;

/// A plug-in as the operator configures it.
///
/// ```toml
/// [[plugin]]
/// name = "threshold"
/// component = "builtin:detect-threshold"
/// config = { cpu = 90, memory = 90 }
/// grant = { files = ["/var/cache/app"] }
/// limits = { cpu = "5ms", wall = "100ms", memory_mib = 64 }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginConfig {
    /// What it is called in `detectors`, `policies` and everywhere else.
    pub name: PluginName,
    /// `builtin:NAME`, or the path of a component.
    pub component: String,
    /// What the plug-in's `configure` gets.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// What it may reach beyond its argument and the log.
    #[serde(default)]
    pub grant: Grant,
    /// Limits other than those of its role.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// How its answers are used.
    #[serde(default)]
    pub mode: PluginMode,
    /// The plug-in that a shadow is compared with, or that a canary replaces. A plug-in with this field is asked
    /// wherever that one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<PluginName>,
    /// How a canary is judged.
    #[serde(default)]
    pub canary: CanaryConfig,
}

impl PluginConfig {
    /// What is wrong with its trial, judged by this table alone: the path of each field within the table, and why. The
    /// caller has to check that the plug-in of `instead_of` exists.
    pub fn trial_problems(&self) -> Vec<(&'static [&'static str], String)> {
        let mut problems: Vec<(&'static [&'static str], String)> = Vec::new();
        if self.instead_of.as_ref() == Some(&self.name) {
            problems.push((&["instead_of"], "is the plug-in itself; name another".into()));
        }
        if self.instead_of.is_none() && self.mode == PluginMode::Canary {
            let message = "a canary replaces another plug-in; name it with instead_of = \"NAME\"";
            problems.push((&["mode"], message.into()));
        }
        let shares: [(&'static [&'static str], f64); 2] =
            [(&["canary", "share"], self.canary.share), (&["canary", "disagreement"], self.canary.disagreement)];
        let wrong = shares.into_iter().filter(|(_, share)| !(0.0..=1.0).contains(share));
        problems.extend(wrong.map(|(path, share)| (path, format!("is {share}; it is a share from 0 to 1"))));
        problems
    }
}

/// How a canary is judged: `canary = { share = 0.1, faults = 2, disagreement = 0.1, after = 20, promote_after = 500 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CanaryConfig {
    /// The share of the services for which its answers count, 0..1. A hash of their names chooses them, so they are
    /// always the same.
    pub share: f64,
    /// The number of faults that are tolerated; one more takes the canary back.
    pub faults: u64,
    /// The share of compared answers that may differ, 0..1, once `after` were compared.
    pub disagreement: f64,
    /// The number of answers that are compared before the disagreement counts.
    pub after: u64,
    /// The number of compared answers after which it is promoted, if no budget is exceeded; 0: only an operator
    /// promotes it.
    pub promote_after: u64,
}

impl Default for CanaryConfig {
    fn default() -> Self {
        Self { share: 0.1, faults: 2, disagreement: 0.1, after: 20, promote_after: 0 }
    }
}

/// The `[plugins]` table: what holds for all plug-ins.
///
/// ```toml
/// [plugins]
/// folder = "/etc/heald/plugins.d"
/// require_signed = true
/// trusted_keys = ["ed25519:3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// A folder that is watched: a file put there is loaded, and unloaded when it is taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Where compiled plug-ins are kept, for their owner alone. If left out: beside the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// Only files that a trusted key signed are loaded. Built-in plug-ins are part of heald and need no signature.
    pub require_signed: bool,
    /// Ed25519 public keys: `ed25519:` and 64 hexadecimal digits, or the path of a PEM file.
    pub trusted_keys: Vec<String>,
}

/// What a plug-in may reach beyond the log. It may reach only what stands here.
///
/// ```toml
/// grant = { kv = true, process = true, http = ["hooks.example.com"], files = ["/var/cache/app"] }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Hosts that it may send requests to, over wasi:http. An empty list grants the interface with no host behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Vec<Endpoint>>,
    /// The small memory that all its services share: at most 1 024 keys, 64 KiB for one and 4 MiB for all. It lies in
    /// heald's own memory. It survives reloads of the plug-in, and ends with heald.
    #[serde(default)]
    pub kv: bool,
    /// Looking at the processes of the service a call is about.
    #[serde(default)]
    pub process: bool,
    /// Touching them, within `perform` and `undo`.
    #[serde(default)]
    pub process_control: bool,
    /// Directories. An empty list grants the interface `wasi:filesystem` with nothing in it: guests built for WASI import it
    /// whether they use files or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<Directory>>,
    /// The real time; otherwise WASI's clocks stand still at the `now` of the call.
    #[serde(default)]
    pub clock: bool,
    /// Real randomness; otherwise WASI's is derived from the `seed` of the call.
    #[serde(default)]
    pub random: bool,
}

/// A granted directory, and all beneath it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "DirectoryForm")]
pub struct Directory {
    /// Where it is.
    pub host: PathBuf,
    /// Where the plug-in finds it.
    pub guest: String,
    /// Whether the plug-in may change it.
    pub write: bool,
}

/// Where a directory that is granted by its path alone appears.
const GUEST_PATH: &str = "/cache";

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a directory is granted as \"/path\" (to read and write, seen as /cache) or as { host = \"/path\", guest = \"/name\", write = true }"
)]
enum DirectoryForm {
    Path(PathBuf),
    Whole(DirectoryTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectoryTable {
    host: PathBuf,
    #[serde(default = "guest_path")]
    guest: String,
    #[serde(default)]
    write: bool,
}

fn guest_path() -> String {
    GUEST_PATH.to_owned()
}

impl From<DirectoryForm> for Directory {
    fn from(form: DirectoryForm) -> Self {
        match form {
            DirectoryForm::Path(host) => Self { host, guest: guest_path(), write: true },
            DirectoryForm::Whole(table) => Self { host: table.host, guest: table.guest, write: table.write },
        }
    }
}

/// Limits of one call. A field that is left out has the value of the role, or the value that the plug-in suggests if
/// that is less. A detector has 5 ms of processor time, a policy 20 ms, an action 2 s. Each has twenty times as much
/// wall time (an action: 30 s), and 64 MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Processor time; at most a day.
    #[serde(default, with = "heald_model::time::text::optional", skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Duration>,
    /// Time as a whole; at most a day.
    #[serde(default, with = "heald_model::time::text::optional", skip_serializing_if = "Option::is_none")]
    pub wall: Option<Duration>,
    /// Memory, in MiB; at most 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
}

impl LimitsConfig {
    /// These limits, completed by those of the role.
    pub(crate) fn over(&self, role: CallLimits) -> CallLimits {
        let cpu = self.cpu.unwrap_or(role.cpu).min(LONGEST);
        // The wall limit grows with the processor limit, so that an operator need not raise both.
        let grown = role.wall.mul_f64(cpu.as_secs_f64() / role.cpu.as_secs_f64().max(f64::MIN_POSITIVE));
        let wall = self.wall.unwrap_or_else(|| role.wall.max(grown));
        let memory = self.memory_mib.and_then(|mib| usize::try_from(mib).ok()).map(|mib| mib.saturating_mul(1 << 20));
        CallLimits { cpu, wall, memory: memory.unwrap_or(role.memory) }.bounded()
    }
}

/// A service's overrides merged into a plug-in's configuration, as RFC 7396 says: an object merges, null removes, anything
/// else replaces.
pub fn merged(config: &Map<String, Value>, overrides: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = config.clone();
    for (key, value) in overrides {
        match (merged.get_mut(key), value) {
            (_, Value::Null) => {
                merged.remove(key);
            }
            (Some(Value::Object(old)), Value::Object(new)) => *old = self::merged(old, new),
            // A null within a new object has nothing to remove.
            (_, Value::Object(new)) => {
                merged.insert(key.clone(), Value::Object(self::merged(&Map::new(), new)));
            }
            (_, value) => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<PluginConfig, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_needs_a_name_and_a_component() {
        let config = read(json!({"name": "t", "component": "builtin:detect-threshold"})).unwrap();
        assert_eq!(config.grant, Grant::default());
        assert_eq!(config.limits.over(CallLimits::DETECTOR), CallLimits::DETECTOR);
        assert!(read(json!({"name": "t"})).unwrap_err().contains("component"));
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        assert!(read(json!({"name": "t", "component": "x", "confg": {}})).unwrap_err().contains("confg"));
        assert!(read(json!({"name": "t", "component": "x", "grant": {"file": []}})).unwrap_err().contains("file"));
        assert!(read(json!({"name": "t", "component": "x", "limits": {"cpus": "5ms"}})).unwrap_err().contains("cpus"));
    }

    #[test]
    fn directories_are_granted_short_or_long() {
        let files = json!(["/var/cache/app", {"host": "/srv", "guest": "/srv"}]);
        let config = read(json!({"name": "t", "component": "x", "grant": {"files": files}})).unwrap();
        assert_eq!(
            config.grant.files.unwrap(),
            [
                Directory { host: "/var/cache/app".into(), guest: "/cache".into(), write: true },
                Directory { host: "/srv".into(), guest: "/srv".into(), write: false },
            ]
        );
        let wrong = read(json!({"name": "t", "component": "x", "grant": {"files": [{"hots": "/srv"}]}}));
        assert!(wrong.unwrap_err().contains("guest = "));
    }

    #[test]
    fn limits_go_over_those_of_the_role() {
        let limits = |value| serde_json::from_value::<LimitsConfig>(value).unwrap().over(CallLimits::DETECTOR);
        assert_eq!(limits(json!({"cpu": "7ms"})).cpu, Duration::from_millis(7));
        assert_eq!(limits(json!({"cpu": "1s"})).wall, Duration::from_secs(20));
        assert_eq!(limits(json!({"cpu": "1ms"})).wall, CallLimits::DETECTOR.wall);
        assert_eq!(
            limits(json!({"cpu": 1e10, "wall": 1e10})),
            CallLimits { cpu: LONGEST, wall: LONGEST, ..CallLimits::DETECTOR }
        );
        assert_eq!(limits(json!({"cpu": 1e10})).wall, LONGEST, "it grows with the other, up to there");
        assert_eq!(limits(json!({"memory_mib": 1})).memory, 1 << 20);
        assert_eq!(limits(json!({"memory_mib": 100_000})).memory, 256 << 20, "bounded by the pool");
    }

    #[test]
    fn a_plugin_can_suggest_less_but_not_more() {
        let suggest = |cpu_ms, memory_mib| CallLimits::DETECTOR.tightened(crate::Suggested { cpu_ms, memory_mib });
        assert_eq!(suggest(0, 0), CallLimits::DETECTOR);
        assert_eq!(
            suggest(1, 16),
            CallLimits { cpu: Duration::from_millis(1), memory: 16 << 20, ..CallLimits::DETECTOR }
        );
        assert_eq!(suggest(1_000, 1_000), CallLimits::DETECTOR);
    }

    #[test]
    fn overrides_merge_as_rfc_7396_says() {
        let object = |value: Value| value.as_object().cloned().unwrap();
        let base = object(json!({"cpu": 90, "rules": {"a": 1, "b": 2}, "list": [1, 2]}));
        let over = object(json!({"cpu": 80, "rules": {"a": null, "c": 3}, "list": [3], "new": {"x": null, "y": 1}}));
        let expected = object(json!({"cpu": 80, "rules": {"b": 2, "c": 3}, "list": [3], "new": {"y": 1}}));
        assert_eq!(merged(&base, &over), expected);
    }
}
