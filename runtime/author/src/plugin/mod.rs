//! The commands of `heald plugin` that are about a plug-in's file. One file here for each of them.

pub mod bench;
pub mod build;
mod cache;
pub mod inspect;
pub mod new;
pub mod scenario;
pub mod sign;
pub mod subject;
pub mod test;
pub mod verify;

use std::process::ExitCode;

use clap::Subcommand;

/// The commands of `heald plugin` that are about a plug-in's file.
#[derive(Debug, Subcommand)]
pub enum AuthorCommand {
    /// Write a new plug-in's project, ready to be built
    New(new::NewArgs),
    /// Build a plug-in's project into one file, and check that heald accepts it
    Build(build::BuildArgs),
    /// Run scenarios against a plug-in and compare its answers with what they expect
    Test(test::TestArgs),
    /// Measure what a plug-in costs, and compare it with a budget
    Bench(bench::BenchArgs),
    /// Show what a file is, what it asks for and who signed it, without running it
    Inspect(inspect::InspectArgs),
    /// Sign a plug-in's file with a key
    Sign(sign::SignArgs),
    /// Check that a trusted key signed a plug-in's file
    Verify(verify::VerifyArgs),
}

/// Carries a command out.
///
/// # Errors
/// What the command says when it cannot.
pub fn command(command: AuthorCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuthorCommand::New(args) => new::new(&args),
        AuthorCommand::Build(args) => build::build(&args),
        AuthorCommand::Test(args) => test::test(&args),
        AuthorCommand::Bench(args) => bench::bench(&args),
        AuthorCommand::Inspect(args) => inspect::inspect(&args),
        AuthorCommand::Sign(args) => sign::sign(&args),
        AuthorCommand::Verify(args) => verify::verify(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct AuthorLine {
        #[command(subcommand)]
        _command: AuthorCommand,
    }

    #[test]
    fn words_are_understood() {
        let parse = |line: &str| AuthorLine::try_parse_from(line.split_whitespace());
        for line in [
            "plugin test p.wasm",
            "plugin test p.wasm a.toml b.toml --scenario flap --scenario crash-loop --config {} --json",
            "plugin test builtin:decide-rules --scenario flap --grant {} --limits l.toml -v",
            "plugin bench p.wasm --calls 5 --scenario flap --budget p99=50us,memory=8MiB",
            "plugin inspect p.wasm --json",
            "plugin sign p.wasm --key k.pem --new-key -o q.wasm",
            "plugin verify p.wasm --key k.pem --key ed25519:00",
            "plugin verify p.wasm --config heald.toml",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
        for line in [
            "plugin",
            "plugin test",
            "plugin bench p.wasm --calls 0",
            "plugin bench p.wasm --budget p98=1ms",
            "plugin sign p.wasm",
            "plugin verify p.wasm --key k.pem --config heald.toml",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
