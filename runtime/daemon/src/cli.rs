//! The command line: what can be said to `heald`. It reads words and does nothing.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config_command::ConfigCommand;
use crate::plugin::PluginCommand;
use crate::replay::{ExplainArgs, ReplayArgs};

/// A WebAssembly-extensible healing runtime: it watches services, finds what is wrong, decides, acts under a guard, and
/// proves by fresh checks that it helped.
#[derive(Debug, Parser)]
#[command(name = "heald", version, max_term_width = 120)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start heald: watch, heal, serve the API
    #[command(visible_alias = "serve")]
    Run(RunArgs),
    /// Start heald with a handful of processes that fail in turn, and show how each is healed
    Demo(RunArgs),
    /// Is heald well, and are its services?
    Status(ClientArgs),
    /// List the services
    Services(ClientArgs),
    /// List the incidents, newest first
    Incidents(IncidentsArgs),
    /// Tell an incident's story: finding, decision, permit, intent, receipt, proof, outcome
    Why(WhyArgs),
    /// Show what happens
    Events(EventsArgs),
    /// Check the health of all services now
    Trigger(TriggerArgs),
    /// Keep hands off a service: it is watched and not touched
    Pause(ServiceArgs),
    /// Take a service up again, or with --all all healing
    Resume(ResumeArgs),
    /// Forget a service's back-off, start limit, cooldowns and exhausted attempts
    Reset(ServiceArgs),
    /// Start a service, and keep it running from now on
    Start(ServiceArgs),
    /// Stop a service, and keep it stopped from now on
    Stop(ServiceArgs),
    /// Restart a service
    Restart(ServiceArgs),
    /// Allow the next disruptive action on a service whose mode is `approve`
    Approve(ServiceArgs),
    /// Stop all healing at once; `heald resume --all` ends it
    Halt(ClientArgs),
    /// What would be decided about these metrics? Needs no running heald
    Decide(DecideArgs),
    /// Have an action done, under the guard
    Act(ActArgs),
    /// Make an incident's decisions again from the journal; says whether each gives the same answer. Needs no running heald
    Explain(ExplainArgs),
    /// Ask plug-ins again what they were asked, or ask another; says where the answers differ. Needs no running heald
    Replay(ReplayArgs),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write, build and look at plug-ins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// A service of the demo.
    #[command(hide = true)]
    DemoService(RawArgs),
    /// Compiles a plug-in to machine code, for the heald that started it.
    #[command(hide = true)]
    CompilePlugin(CompilePluginArgs),
}

/// `heald compile-plugin`.
#[derive(Debug, Args)]
pub struct CompilePluginArgs {
    /// The component
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Where the machine code goes; must not be there
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
}

/// `heald run`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// The configuration file; heald.toml if it is there
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen here instead of where the configuration says; may be given several times
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["host", "port"])]
    pub listen: Vec<String>,
    /// Listen at this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Listen at this port
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// How the log is written; `auto` is for people on a terminal and JSON lines elsewhere
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere
    #[default]
    Auto,
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

/// How to reach a running heald.
#[derive(Clone, Debug, Default, Args)]
pub struct ClientArgs {
    /// Where heald listens, such as http://127.0.0.1:8003; else where the configuration says
    #[arg(long, value_name = "URL", env = "HEALD_URL", conflicts_with_all = ["host", "port"])]
    pub url: Option<String>,
    /// heald's host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// heald's port
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The key to show
    #[arg(long, value_name = "KEY", env = "HEALD_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `heald incidents`.
#[derive(Debug, Args)]
pub struct IncidentsArgs {
    /// Only those of this service
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// Only those that are not resolved
    #[arg(long)]
    pub open: bool,
    /// How many
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    pub limit: u32,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// An incident (the beginning of its id is enough), or a service for its newest
    #[arg(value_name = "INCIDENT|SERVICE")]
    pub subject: String,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on as they come, until interrupted
    #[arg(long, short)]
    pub follow: bool,
    /// Begin behind this sequence number
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald trigger`.
#[derive(Debug, Args)]
pub struct TriggerArgs {
    /// Say how this one is; all are checked
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// A command about one service.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// Which
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Which
    #[arg(value_name = "SERVICE", required_unless_present = "all", conflicts_with = "all")]
    pub service: Option<String>,
    /// End a halt of all healing
    #[arg(long)]
    pub all: bool,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald decide`.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The metrics as a JSON object, such as {"status": "UP", "cpu": 90, "memory": 40}
    #[arg(long, value_name = "JSON")]
    pub metrics: String,
    /// Which profile of [consult] answers
    #[arg(long, value_name = "NAME", default_value = "orchestrate")]
    pub policy: String,
    /// The configuration file; heald.toml if it is there
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Say what was seen, what was found, which rules held and which won
    #[arg(long)]
    pub explain: bool,
}

/// `heald act`.
#[derive(Debug, Args)]
pub struct ActArgs {
    /// The action, such as restart or clear-cache
    #[arg(value_name = "ACTION")]
    pub action: String,
    /// On which service
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// Its parameters as a JSON object
    #[arg(long, value_name = "JSON")]
    pub parameters: Option<String>,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Words for a hidden command to read itself.
#[derive(Debug, Args)]
pub struct RawArgs {
    /// The words
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub args: Vec<OsString>,
}

impl RunArgs {
    /// Puts `--listen`, `--host` and `--port` over what the configuration says: a host keeps the configured port, a port the
    /// configured host.
    pub fn listen_over(&self, configured: &[String]) -> Vec<String> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        if self.host.is_none() && self.port.is_none() {
            return configured.to_vec();
        }
        let first = configured.first().and_then(|address| address.rsplit_once(':'));
        let (host, port) = first.unwrap_or(("127.0.0.1", "8003"));
        let host = match self.host.as_deref() {
            // An IPv6 address needs brackets beside a port.
            Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
            Some(host) => host.to_owned(),
            None => host.to_owned(),
        };
        vec![format!("{host}:{}", self.port.map_or_else(|| port.to_owned(), |port| port.to_string()))]
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn words_are_understood() {
        for line in [
            "heald run",
            "heald serve --config x.toml --listen 127.0.0.1:1 --listen [::1]:2 --log-format json",
            "heald run --host 0.0.0.0 --port 8003",
            "heald demo --port 8000",
            "heald status --port 1 --json",
            "heald incidents --open --service web -n 5",
            "heald why 0198 --url http://h:1 --api-key k",
            "heald events --follow --after 7",
            "heald trigger web",
            "heald trigger",
            "heald resume --all",
            "heald resume web",
            "heald decide --metrics {} --policy llm-style --json --explain",
            "heald act FROBNICATE",
            "heald explain 0198 --config x.toml --json",
            "heald replay",
            "heald replay --plugin rules=new.wasm --since 24h --service web --settings {} --limit-differences 5 --json",
            "heald replay --since 2026-01-31T12:00:00Z",
            "heald act restart --service web --parameters {}",
            "heald config check x.toml",
            "heald config print --default",
            "heald config get log_level",
            "heald demo-service web --leak 5",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
        for line in [
            "heald",
            "heald resume",
            "heald resume web --all",
            "heald run --listen a:1 --port 2",
            "heald status --url http://h --port 1",
            "heald run --port 70000",
            "heald explain",
            "heald replay --plugin new.wasm",
            "heald replay --settings {}",
            "heald replay --since yesterday",
            "heald run --log-format xml",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn hidden_commands_take_any_words() {
        let Command::DemoService(raw) = parse("heald demo-service web --leak 5 -x").unwrap() else { panic!() };
        assert_eq!(raw.args, ["web", "--leak", "5", "-x"]);
    }

    #[test]
    fn options_go_over_the_configured_addresses() {
        let configured = ["127.0.0.1:8003".to_owned(), "127.0.0.1:8000".to_owned()];
        let over = |line: &str| match parse(line) {
            Ok(Command::Run(args)) => args.listen_over(&configured),
            _ => panic!("{line}"),
        };
        assert_eq!(over("heald run"), configured);
        assert_eq!(over("heald run --port 5"), ["127.0.0.1:5"]);
        assert_eq!(over("heald run --host localhost"), ["localhost:8003"]);
        assert_eq!(over("heald run --host ::1 --port 5"), ["[::1]:5"]);
        assert_eq!(over("heald run --listen a:1 --listen b:2"), ["a:1", "b:2"]);
    }
}
