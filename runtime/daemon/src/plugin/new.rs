//! `heald plugin new`: writes a project from the templates in the binary. It needs no network, and overwrites nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

/// `heald plugin new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// What it shall be called, such as queue-length
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What it shall be: a detector turns samples into findings, a policy decides about an incident, an action does something
    #[arg(long, value_enum)]
    pub role: RoleWord,
    /// What it shall be written in
    #[arg(long, value_enum, default_value = "rust")]
    pub lang: Lang,
    /// Where to; a new directory of its name, here, unless said
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// What a plug-in is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleWord {
    /// Turns samples into findings
    Detector,
    /// Decides what to do about an incident
    Policy,
    /// Does something
    Action,
}

/// What a plug-in is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// Rust: 60 KB, a call takes microseconds
    Rust,
    /// JavaScript: 12 MB, a call takes a millisecond
    Js,
    /// Python: 18 MB, a call takes a fraction of a millisecond
    Python,
    /// C: 20 KB, a call takes microseconds
    C,
}

/// Writes the project.
///
/// # Errors
/// When the name is no name, when the directory is taken, or when it cannot be written.
pub fn new(args: &NewArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("there is no template for {} yet", args.name)
}
