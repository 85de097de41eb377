//! `heald plugin ...`: what authors and operators do with a plug-in's file. One file here for each command.
//!
//! Nothing here talks to a running heald.

pub mod build;
pub mod new;

use std::process::ExitCode;

use clap::Subcommand;

/// `heald plugin`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Write a new plug-in's project, ready to be built
    New(new::NewArgs),
    /// Build a plug-in's project into one file, and check that heald takes it
    Build(build::BuildArgs),
}

/// Does it.
///
/// # Errors
/// What the command says when it cannot.
pub fn command(command: PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::New(args) => new::new(&args),
        PluginCommand::Build(args) => build::build(&args),
    }
}
