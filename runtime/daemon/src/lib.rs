//! heald, the healing runtime: wiring, signals, the demo and the command line.
//!
//! `heald-engine` judges, and adapters touch the world. This crate plugs them together ([`assemble`]) and lists the commands ([`cli`]); the
//! binary `heald` and the end-to-end tests start it.
#![deny(unsafe_code)]

pub mod assemble;
pub mod cli;
pub mod clock;
pub mod config_command;
pub mod control;
pub mod decide;
pub mod demo;
pub mod desired_states;
pub mod logging;
pub mod narrate;
mod plugin_check;
pub mod run;
pub mod safe_mode;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, PluginCommand};
use crate::run::RunMode;

/// Reads the command line, carries out its command, and returns the exit code.
pub fn main() -> ExitCode {
    match act(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            heald_config::complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(&args, args.config.as_deref(), RunMode::default()),
        Command::Demo(args) => demo::demo(args),
        Command::DemoService(raw) => {
            let words = std::iter::once("heald demo-service".into()).chain(raw.args);
            let args = demo::service::DemoServiceArgs::parse_from(words);
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(demo::service::serve(args))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::CompilePlugin(args) => {
            heald_host::compile_file(&args.input, &args.output)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Decide(args) => decide::decide(args),
        Command::Config(command) => config_command::command(command),
        Command::Plugin(PluginCommand::Author(command)) => heald_author::plugin::command(command),
        Command::Plugin(PluginCommand::Client(command)) => {
            heald_cli::run_plugin(&command, &config_command::addresses())
        }
        Command::Explain(args) => Ok(heald_author::replay::explain(&args)),
        Command::Replay(args) => Ok(heald_author::replay::replay(&args)),
        Command::Client(command) => heald_cli::run(&command, &config_command::addresses()),
    }
}
