//! `heald plugin verify`: whether somebody who is trusted vouches for a file as it is. It needs no network and runs nothing.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use heald_host::{PublicKey, Trust};
use serde_json::json;

use super::inspect::read;
use heald_config as config;
use heald_platform::builtins;

/// `heald plugin verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The plug-in's file
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// A key to trust: ed25519: and 64 digits, or a PEM file; may be given several times. By default the `trusted_keys` of the configuration
    #[arg(long = "key", value_name = "ed25519:...|KEY.pem")]
    pub keys: Vec<String>,
    /// The configuration file; heald.toml if it is there
    #[arg(long, short, value_name = "FILE", conflicts_with = "keys")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Has it verified.
///
/// # Errors
/// When it is not so, or there is nobody to trust.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let judged = judge(args);
    let mut out = io::stdout().lock();
    match judged {
        Err(error) if args.json => {
            let said = json!({ "file": args.file, "verified": false, "why": format!("{error:#}") });
            writeln!(out, "{said:#}")?;
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error),
        Ok(key) => {
            let digest = heald_host::digest(&read(&args.file)?);
            if args.json {
                let said = json!({ "file": args.file, "verified": true, "digest": digest, "key": key });
                writeln!(out, "{said:#}")?;
            } else {
                writeln!(out, "{} is signed by {key}\ndigest  {digest}", args.file.display())?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The trusted key that signed it.
pub(super) fn judge(args: &VerifyArgs) -> anyhow::Result<PublicKey> {
    let keys = match args.keys.as_slice() {
        [] => configured(args)?,
        keys => keys.iter().map(|key| PublicKey::read(key)).collect::<Result<_, _>>()?,
    };
    if keys.is_empty() {
        bail!("no key is trusted; name one with --key, or in `trusted_keys` of [plugins] in the configuration");
    }
    let component = read(&args.file)?;
    let name = || args.file.display().to_string();
    // What is no component at all is not merely unsigned.
    heald_host::inspect(&component).with_context(name)?;
    let signer = heald_host::verify(&component, &Trust { require_signed: true, keys }).with_context(name)?;
    signer.with_context(|| format!("{}: no trusted key signed it", args.file.display()))
}

fn configured(args: &VerifyArgs) -> anyhow::Result<Vec<PublicKey>> {
    let directory = std::env::current_dir().context("there is no working directory")?;
    let real = std::env::vars().collect();
    let loaded = config::load(args.config.as_deref(), &directory, &real, &builtins::names())?;
    Ok(Trust::read(&loaded.config.plugins)?.keys)
}
