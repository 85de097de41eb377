//! `heald plugin build`: from a plug-in's project to one file that heald has loaded once.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// `heald plugin build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The project
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// Builds it.
///
/// # Errors
/// When a tool is missing, when the project does not build, or when heald would not load what came of it.
pub fn build(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("{} cannot be built yet", args.dir.display())
}
