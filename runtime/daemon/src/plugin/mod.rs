//! `heald plugin ...`: what authors and operators do with plug-ins. One file here for each command about a plug-in's file.
//!
//! What is asked of a running heald, the client asks; nothing here talks to one.

pub mod bench;
pub mod build;
pub mod inspect;
pub mod new;
pub mod scenario;
pub mod sign;
pub mod subject;
pub mod test;
pub mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::{ClientArgs, Command};
use crate::client;

/// `heald plugin`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Write a new plug-in's project, ready to be built
    New(new::NewArgs),
    /// Build a plug-in's project into one file, and check that heald takes it
    Build(build::BuildArgs),
    /// Have a plug-in play scenarios, and hold what it says against what they expect
    Test(test::TestArgs),
    /// Measure what a plug-in costs, and hold it against a budget
    Bench(bench::BenchArgs),
    /// Say what a file is, what it asks for and who signed it, without running any of it
    Inspect(inspect::InspectArgs),
    /// Vouch for a file with a key
    Sign(sign::SignArgs),
    /// Does somebody who is trusted vouch for this file?
    Verify(verify::VerifyArgs),
    /// List the plug-ins of a running heald
    List(ClientArgs),
    /// All about one of them: what it is, what it may, what it cost, how it failed
    Show(NamedArgs),
    /// Read its file again and put it in place of what runs; nothing changes if that cannot be used
    Reload(NamedArgs),
    /// Take it into use again
    Enable(NamedArgs),
    /// Take it out of use; the next in its place, in the end the native rules, answers
    Disable(NamedArgs),
    /// Make a shadow or a canary active
    Promote(NamedArgs),
    /// Take back what it was granted, also from calls under way
    Revoke(RevokeArgs),
    /// How a shadow or a canary compares with what was done
    Divergence(NamedArgs),
}

/// A command about one plug-in of a running heald.
#[derive(Debug, Args)]
pub struct NamedArgs {
    /// Its name in the configuration
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald plugin revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Its name in the configuration
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What to take back: http, files, kv, process, process-control, clock or random
    #[arg(value_name = "CAPABILITY")]
    pub capability: String,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Does it.
///
/// # Errors
/// What the command says when it cannot.
pub fn command(command: PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::New(args) => new::new(&args),
        PluginCommand::Build(args) => build::build(&args),
        PluginCommand::Test(args) => test::test(&args),
        PluginCommand::Bench(args) => bench::bench(&args),
        PluginCommand::Inspect(args) => inspect::inspect(&args),
        PluginCommand::Sign(args) => sign::sign(&args),
        PluginCommand::Verify(args) => verify::verify(&args),
        asks => client::run(Command::Plugin(asks)),
    }
}

/// Where these commands keep what they compiled, so that what was just built is tested at once: for this user alone, and apart
/// from what a running heald keeps. None: there is no home, and so no cache.
fn cache() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(caches.join("heald/compiled"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn words_are_understood() {
        let parse = |line: &str| Cli::try_parse_from(line.split_whitespace());
        for line in [
            "heald plugin test p.wasm",
            "heald plugin test p.wasm a.toml b.toml --scenario flap --scenario crash-loop --config {} --json",
            "heald plugin test builtin:decide-rules --scenario flap --grant {} --limits l.toml -v",
            "heald plugin bench p.wasm --calls 5 --scenario flap --budget p99=50us,memory=8MiB",
            "heald plugin inspect p.wasm --json",
            "heald plugin sign p.wasm --key k.pem --new-key -o q.wasm",
            "heald plugin verify p.wasm --key k.pem --key ed25519:00",
            "heald plugin verify p.wasm --config heald.toml",
            "heald plugin list --port 1 --json",
            "heald plugin show queue",
            "heald plugin reload queue --url http://h:1 --api-key k",
            "heald plugin revoke queue kv",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
        for line in [
            "heald plugin",
            "heald plugin test",
            "heald plugin bench p.wasm --calls 0",
            "heald plugin bench p.wasm --budget p98=1ms",
            "heald plugin sign p.wasm",
            "heald plugin verify p.wasm --key k.pem --config heald.toml",
            "heald plugin revoke queue",
            "heald plugin promote",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
