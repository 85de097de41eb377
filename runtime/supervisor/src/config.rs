//! The `[service.process]` section: how heald runs the processes of a service. It is plain data with its meaning, and
//! starts nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use heald_keeper::protocol::{End, Fallback, FallbackRestart, StopSettings};
use heald_model::time::text;
use serde::{Deserialize, Serialize};

use crate::account::account;

/// The most replicas; more on one machine is a typing error.
const MAX_REPLICAS: u32 = 1000;

/// The first pause before the keeper restarts a process in the absence of a runtime, like the first back-off of the
/// healing loop.
const FALLBACK_PAUSE: Duration = Duration::from_millis(100);

/// The names of signals.
const SIGNALS: [(&str, i32); 12] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("WINCH", 28),
    ("ABRT", 6),
];

/// How heald runs a service's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessConfig {
    /// Program and arguments. No shell is involved; a program without a slash is looked up in `PATH`.
    pub command: Vec<String>,
    /// Working directory; heald's own if absent. A program given as a relative path is relative to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// Environment variables. Nothing of heald's own environment is passed on; `PATH` has the usual directories, and
    /// `HEALD_SERVICE` and `HEALD_REPLICA` identify the process.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// A file of `NAME=value` lines, read at every start. `env` overrides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_file: Option<PathBuf>,
    /// User to run as, by name or number; heald has to be root for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How many replicas run.
    #[serde(default = "one")]
    pub replicas: u32,
    /// When an ended process runs again. By default `always`, and `on-failure` for a one-shot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartMode>,
    /// Exit codes other than 0 that are no failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success_exit_codes: Vec<i32>,
    /// The process is meant to end. Services that depend on it wait for its success.
    #[serde(default)]
    pub oneshot: bool,
    /// The stop signal.
    #[serde(default = "term")]
    pub stop_signal: String,
    /// How long the process has to stop before its process group is killed.
    #[serde(default = "ten_seconds", with = "text")]
    pub stop_grace: Duration,
    /// How long the process may take from its start to its first success.
    #[serde(default = "ten_seconds", with = "text")]
    pub startup: Duration,
    /// Where its output goes.
    #[serde(default)]
    pub log: ProcessLogConfig,
}

/// When an ended process runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartMode {
    /// After every end.
    Always,
    /// After a signal, or an exit code that is no success.
    OnFailure,
    /// Never.
    Never,
}

/// The log of a process: standard output and standard error, in the order written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessLogConfig {
    /// The file of the first replica; by default `SERVICE.log` in heald's log directory. Other replicas have their
    /// number before the extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The size from which a new file is begun.
    #[serde(with = "size")]
    pub max_size: u64,
    /// How many full files are kept.
    pub keep: u32,
}

impl Default for ProcessLogConfig {
    fn default() -> Self {
        // 60 MiB a service: days of an ordinary log, and the disk does not fill.
        Self { path: None, max_size: 10 << 20, keep: 5 }
    }
}

/// A setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The command is empty.
    #[error("command is empty; write a list such as [\"./web\", \"--port\", \"9000\"]")]
    NoCommand,
    /// The system cannot pass this as an argument or a variable.
    #[error("{0} holds a NUL byte or a name with `=`")]
    Unrepresentable(&'static str),
    /// The signal is unknown.
    #[error("stop_signal `{0}` is none of HUP, INT, QUIT, ABRT, KILL, USR1, USR2, TERM, WINCH")]
    Signal(String),
    /// There are too many replicas.
    #[error("replicas is {0}; at most {MAX_REPLICAS} are allowed")]
    Replicas(u32),
    /// The user does not exist.
    #[error("user `{0}` is not in /etc/passwd")]
    User(String),
    /// The log size is 0.
    #[error("log.max_size is 0")]
    LogSize,
}

impl ProcessConfig {
    /// The defaults for a command.
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            cwd: None,
            env: BTreeMap::new(),
            env_file: None,
            user: None,
            replicas: 1,
            restart: None,
            success_exit_codes: Vec::new(),
            oneshot: false,
            stop_signal: term(),
            stop_grace: ten_seconds(),
            startup: ten_seconds(),
            log: ProcessLogConfig::default(),
        }
    }

    /// Every setting that is wrong.
    pub fn check(&self) -> Vec<ConfigError> {
        let mut wrong = Vec::new();
        if self.command.first().is_none_or(String::is_empty) {
            wrong.push(ConfigError::NoCommand);
        }
        if self.command.iter().any(|argument| argument.contains('\0')) {
            wrong.push(ConfigError::Unrepresentable("command"));
        }
        if self.env.iter().any(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')) {
            wrong.push(ConfigError::Unrepresentable("env"));
        }
        if self.stop_signal_number().is_none() {
            wrong.push(ConfigError::Signal(self.stop_signal.clone()));
        }
        if self.replicas > MAX_REPLICAS {
            wrong.push(ConfigError::Replicas(self.replicas));
        }
        if let Some(user) = &self.user
            && account(user).is_none()
        {
            wrong.push(ConfigError::User(user.clone()));
        }
        if self.log.max_size == 0 {
            wrong.push(ConfigError::LogSize);
        }
        wrong
    }

    /// When the process runs again.
    pub fn restart(&self) -> RestartMode {
        self.restart.unwrap_or(if self.oneshot { RestartMode::OnFailure } else { RestartMode::Always })
    }

    /// Whether an end is a failure.
    pub fn is_failure(&self, end: End) -> bool {
        match end {
            End::Code(code) => code != 0 && !self.success_exit_codes.contains(&code),
            End::Signal { .. } | End::Unknown => true,
        }
    }

    /// Whether the configuration lets a process run again after this end. The desired state, the back-off and the start
    /// limit are decided elsewhere.
    pub fn runs_again(&self, end: End) -> bool {
        match self.restart() {
            RestartMode::Always => true,
            RestartMode::OnFailure => self.is_failure(end),
            RestartMode::Never => false,
        }
    }

    /// The number of `stop_signal`, with or without `SIG`.
    fn stop_signal_number(&self) -> Option<i32> {
        signal_number(&self.stop_signal).filter(|number| ![18, 19, 20].contains(number))
    }

    /// How the keeper stops the process.
    pub(crate) fn stop(&self) -> StopSettings {
        let grace_ms = u64::try_from(self.stop_grace.as_millis()).unwrap_or(u64::MAX);
        StopSettings { signal: self.stop_signal_number().unwrap_or(15), grace_ms }
    }

    /// What the keeper does without a runtime.
    pub(crate) fn fallback(&self) -> Fallback {
        Fallback {
            restart: match self.restart() {
                RestartMode::Always => FallbackRestart::Always,
                RestartMode::OnFailure => FallbackRestart::OnFailure,
                RestartMode::Never => FallbackRestart::Never,
            },
            success_codes: self.success_exit_codes.clone(),
            backoff_ms: u64::try_from(FALLBACK_PAUSE.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The number of a signal by its name (`TERM`, `SIGTERM`, in any case) or number.
pub fn signal_number(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = SIGNALS.iter().find(|(known, _)| *known == short).map(|(_, number)| *number);
    named.or_else(|| name.parse().ok().filter(|number| SIGNALS.iter().any(|(_, known)| known == number)))
}

fn one() -> u32 {
    1
}

fn term() -> String {
    "TERM".to_owned()
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

/// Sizes as people write them: `"10MiB"`, `"512KiB"`, `"1GiB"`, or a number of bytes.
mod size {
    use serde::de::{Error, Unexpected};
    use serde::{Deserialize, Deserializer, Serializer};

    const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        match Size::deserialize(deserializer)? {
            Size::Bytes(bytes) => Ok(bytes),
            Size::Text(text) => parse(&text).ok_or_else(|| {
                D::Error::invalid_value(Unexpected::Str(&text), &"a size such as \"10MiB\" or \"512KiB\"")
            }),
        }
    }

    pub(super) fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        let (unit, factor) = UNITS.iter().find(|(_, factor)| bytes.is_multiple_of(*factor)).unwrap_or(&("B", 1));
        serializer.serialize_str(&format!("{}{unit}", bytes / factor))
    }

    pub(super) fn parse(text: &str) -> Option<u64> {
        let text = text.trim();
        let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit)).unwrap_or(&("", 1));
        text.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ProcessConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn a_command_is_enough() {
        let config = read(r#"command = ["./web", "--port", "9000"]"#).unwrap();
        assert_eq!(config, ProcessConfig::new(["./web", "--port", "9000"].map(str::to_owned).to_vec()));
        assert_eq!(config.check(), []);
        assert_eq!(config.restart(), RestartMode::Always);
        assert_eq!(config.stop(), StopSettings { signal: 15, grace_ms: 10_000 });
    }

    #[test]
    fn everything_can_be_said() {
        let config = read(
            r#"
            command = ["job"]
            cwd = "/srv"
            env = { A = "1" }
            env_file = "/etc/job.env"
            user = "root"
            replicas = 3
            success_exit_codes = [3]
            oneshot = true
            stop_signal = "SIGQUIT"
            stop_grace = "500ms"
            startup = "1m"
            log = { path = "/var/log/job.log", max_size = "1MiB", keep = 2 }
            "#,
        )
        .unwrap();
        assert_eq!(config.check(), []);
        assert_eq!(config.restart(), RestartMode::OnFailure);
        assert_eq!(config.stop(), StopSettings { signal: 3, grace_ms: 500 });
        assert_eq!(config.log.max_size, 1 << 20);
        let again = read(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn slips_are_named() {
        assert!(read(r#"command = ["x"]"#).is_ok());
        assert!(read(r#"commend = ["x"]"#).unwrap_err().to_string().contains("unknown field `commend`"));
        assert!(read("command = [\"x\"]\nlog = { max_size = \"big\" }").unwrap_err().to_string().contains("10MiB"));
        let mut config = ProcessConfig::new(vec![]);
        config.stop_signal = "TERMINATE".into();
        config.replicas = 1_000_000;
        config.user = Some("no such user".into());
        config.log.max_size = 0;
        config.env.insert("A=B".into(), String::new());
        let expected = [
            ConfigError::NoCommand,
            ConfigError::Unrepresentable("env"),
            ConfigError::Signal("TERMINATE".into()),
            ConfigError::Replicas(1_000_000),
            ConfigError::User("no such user".into()),
            ConfigError::LogSize,
        ];
        assert_eq!(config.check(), expected);
    }

    #[test]
    fn a_stop_signal_that_stops_nothing_is_refused() {
        for name in ["STOP", "CONT", "19", "0", "999", ""] {
            let config = ProcessConfig { stop_signal: name.into(), ..ProcessConfig::new(vec!["x".into()]) };
            assert_eq!(config.check().len(), 1, "{name}");
        }
        assert_eq!(signal_number("sigterm"), Some(15));
        assert_eq!(signal_number("15"), Some(15));
    }

    #[test]
    fn ends_mean_what_the_configuration_says() {
        let mut config = ProcessConfig::new(vec!["x".into()]);
        config.success_exit_codes = vec![3];
        let killed = End::Signal { signal: 9, core: false };
        for (restart, end, again) in [
            (RestartMode::Always, End::Code(0), true),
            (RestartMode::OnFailure, End::Code(0), false),
            (RestartMode::OnFailure, End::Code(3), false),
            (RestartMode::OnFailure, End::Code(4), true),
            (RestartMode::OnFailure, killed, true),
            (RestartMode::Never, killed, false),
        ] {
            config.restart = Some(restart);
            assert_eq!(config.runs_again(end), again, "{restart:?} {end:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("10MiB", 10 << 20), ("1 KiB", 1024), ("7B", 7), ("7", 7), ("2GiB", 2 << 30)] {
            assert_eq!(size::parse(text), Some(bytes), "{text}");
        }
        for wrong in ["", "MiB", "-1", "1.5MiB", "99999999999GiB"] {
            assert_eq!(size::parse(wrong), None, "{wrong}");
        }
    }
}
