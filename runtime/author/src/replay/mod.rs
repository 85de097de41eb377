//! `heald explain` and `heald replay`: they repeat the calls of plug-ins that the journal has recorded.
//!
//! Both read the database, also while a heald runs, and talk to no heald. The answers have no effect. A plug-in's calls to the host are
//! answered from the record, and reach nothing outside.
//!
//! | file | |
//! |---|---|
//! | `recorded_plugins` | the plug-ins that were called, with the configuration they had |
//! | `explain` | repeats the decisions of one incident |
//! | `verify` | repeats every recorded call with the plug-in that answered it |
//! | `comparison` | asks another plug-in what the record says, and compares |

mod comparison;
mod explain;
mod recorded_plugins;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use heald_model::{Moment, PluginName, ServiceName};
use heald_store::Archive;
use jiff::Timestamp;

use heald_config::{self as config, Config};
use heald_platform::builtins;

/// The exit code when a repeated call gave another answer.
const DIFFERS: u8 = 1;
/// The exit code when the calls could not be repeated.
const TROUBLE: u8 = 2;

/// `heald explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The incident; the beginning of its id is enough
    #[arg(value_name = "INCIDENT")]
    pub incident: String,
    /// The configuration file; heald.toml if it is there
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON, with every input and output whole
    #[arg(long)]
    pub json: bool,
}

/// `heald replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Ask this component what the plug-in NAME was asked; by default each plug-in is asked again itself
    #[arg(long, value_name = "NAME=FILE.wasm")]
    pub plugin: Option<Candidate>,
    /// Repeat only calls since then: 24h means 24 hours ago; or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,
    /// Repeat only calls about this service
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// The configuration file; heald.toml if it is there
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Its configuration as a JSON object, instead of the recorded one
    #[arg(long, value_name = "JSON", requires = "plugin")]
    pub settings: Option<String>,
    /// Show at most this many differences; all are counted
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit_differences: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A component that is asked instead of a plug-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name of the plug-in.
    pub name: PluginName,
    /// Its file, or `builtin:NAME`.
    pub component: String,
}

impl FromStr for Candidate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, component)) if !name.is_empty() && !component.is_empty() => {
                Ok(Self { name: name.into(), component: component.to_owned() })
            }
            _ => Err("write the plug-in's name and a file, such as rules=target/new-rules.wasm".into()),
        }
    }
}

/// The beginning of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// This long before now.
    Ago(std::time::Duration),
    /// At this time.
    At(Moment),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(stamp) = text.parse::<Timestamp>() {
            return Ok(Self::At(Moment::from_nanos(u64::try_from(stamp.as_nanosecond()).unwrap_or_default())));
        }
        heald_model::time::text::parse(text).map(Self::Ago).map_err(|_| {
            format!("`{text}` is not a time; write how long ago, such as 24h or 7d, or 2026-01-31T12:00:00Z")
        })
    }
}

impl Since {
    fn moment(self, now: Moment) -> Moment {
        match self {
            Self::Ago(ago) => now - ago,
            Self::At(at) => at,
        }
    }
}

/// The part of the record that is replayed.
struct Span {
    since: Moment,
    service: Option<ServiceName>,
}

/// Carries out `heald explain`.
pub fn explain(args: &ExplainArgs) -> ExitCode {
    finish(begin(args.config.as_deref()).and_then(|(config, archive, runtime)| {
        let mut plugins = recorded_plugins::RecordedPlugins::new(&config)?;
        runtime.block_on(Box::pin(explain::explain(args, &archive, &mut plugins)))
    }))
}

/// Carries out `heald replay`.
pub fn replay(args: &ReplayArgs) -> ExitCode {
    finish(begin(args.config.as_deref()).and_then(|(config, archive, runtime)| {
        let now = Moment::EPOCH + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let span = Span {
            since: args.since.map_or(Moment::EPOCH, |since| since.moment(now)),
            service: args.service.as_deref().map(ServiceName::from),
        };
        let mut plugins = recorded_plugins::RecordedPlugins::new(&config)?;
        match &args.plugin {
            None => runtime.block_on(Box::pin(verify::verify(args, &span, &archive, &mut plugins))),
            Some(candidate) => {
                let candidate = comparison::CandidateComparison::new(args, candidate, &config, &archive, &plugins)?;
                runtime.block_on(Box::pin(candidate.run(args, &span)))
            }
        }
    }))
}

fn begin(file: Option<&Path>) -> anyhow::Result<(Config, Archive, tokio::runtime::Runtime)> {
    let directory = std::env::current_dir().context("there is no working directory")?;
    let real = std::env::vars().collect();
    let config = config::load(file, &directory, &real, &builtins::names())?.config;
    let path = &config.store.path;
    if !path.exists() {
        bail!(
            "there is no journal at {}: store.path of the configuration names it; has heald run with this one?",
            path.display()
        );
    }
    let archive = Archive::open(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok((config, archive, runtime))
}

/// The exit code of a command; an error is printed, and has a code of its own, because 1 means that something differs.
fn finish(ended: anyhow::Result<u8>) -> ExitCode {
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            config::complain(error.as_ref());
            ExitCode::from(TROUBLE)
        }
    }
}

/// A time for a person, UTC.
fn stamp(at: Moment) -> String {
    let stamp = Timestamp::from_nanosecond(i128::from(at.nanos())).unwrap_or(Timestamp::MAX);
    stamp.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// The beginning of a digest.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// A JSON object of the command line or of the record.
fn object(what: &str, text: &str) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let value: serde_json::Value = serde_json::from_str(text).with_context(|| format!("{what}: {text}"))?;
    match value {
        serde_json::Value::Object(object) => Ok(object),
        other => Err(anyhow!("{what} must be a JSON object such as {{\"limit\": 3}}, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_ago_or_a_stamp() {
        let now = Moment::from_millis(1_790_000_000_000);
        let at = |text: &str| text.parse::<Since>().map(|since| since.moment(now));
        assert_eq!(at("1h"), Ok(Moment::from_millis(1_790_000_000_000 - 3_600_000)));
        assert_eq!(at("2026-09-21T14:13:20Z"), Ok(now));
        assert!(at("yesterday").unwrap_err().contains("24h"));
    }

    #[test]
    fn a_candidate_is_a_name_and_a_file() {
        let candidate = "rules=a=b.wasm".parse::<Candidate>().unwrap();
        assert_eq!((candidate.name.as_str(), candidate.component.as_str()), ("rules", "a=b.wasm"));
        for wrong in ["rules", "=x.wasm", "rules=", ""] {
            assert!(wrong.parse::<Candidate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_object_is_an_object() {
        assert!(object("--settings", "{\"a\": 1}").is_ok());
        assert!(format!("{:#}", object("--settings", "[1]").unwrap_err()).contains("--settings must be a JSON object"));
        assert!(object("--settings", "{a}").is_err());
    }
}
