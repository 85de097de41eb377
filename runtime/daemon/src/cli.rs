//! The command line: what can be said to `heald`. It reads words and does nothing.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use heald_author::plugin::AuthorCommand;
use heald_author::replay::{ExplainArgs, ReplayArgs};
use heald_cli::{ClientCommand, RunningPluginCommand};

use crate::config_command::ConfigCommand;
use crate::decide::DecideArgs;
use crate::run::RunArgs;

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
    /// A question or an order to a running heald.
    #[command(flatten)]
    Client(ClientCommand),
    /// Show what heald would decide about given metrics; needs no running heald
    Decide(DecideArgs),
    /// Repeat an incident's decisions from the journal and say whether each is the same; needs no running heald
    Explain(ExplainArgs),
    /// Repeat the recorded calls of plug-ins, or ask another plug-in, and show where answers differ; needs no running heald
    Replay(ReplayArgs),
    /// Check and print the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write, build, test and manage plug-ins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// A service of the demo.
    #[command(hide = true)]
    DemoService(RawArgs),
    /// Compiles a plug-in to machine code, for the heald that started it.
    #[command(hide = true)]
    CompilePlugin(CompilePluginArgs),
}

/// `heald plugin`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// About a plug-in's file.
    #[command(flatten)]
    Author(AuthorCommand),
    /// About the plug-ins of a running heald.
    #[command(flatten)]
    Client(RunningPluginCommand),
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

/// Words for a hidden command to read itself.
#[derive(Debug, Args)]
pub struct RawArgs {
    /// The words
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub args: Vec<OsString>,
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
}
