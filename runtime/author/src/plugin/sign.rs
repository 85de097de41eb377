//! `heald plugin sign`: vouches for a file, with a key that never leaves its own.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use heald_host::SecretKey;

use super::inspect::read;

/// `heald plugin sign`.
#[derive(Clone, Debug, Args)]
pub struct SignArgs {
    /// The plug-in's file
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// The secret key: a PKCS#8 PEM file of Ed25519, as `openssl genpkey -algorithm ed25519` writes it
    #[arg(long, value_name = "KEY.pem")]
    pub key: PathBuf,
    /// Make that key first, in a file that only you can read
    #[arg(long)]
    pub new_key: bool,
    /// Write the signed plug-in here instead of in its place
    #[arg(long, short, value_name = "FILE.wasm")]
    pub output: Option<PathBuf>,
}

/// Has it signed. A signature by the same key is replaced, those of others stay.
///
/// # Errors
/// When the file is no component, or the key cannot be read or made.
pub fn sign(args: &SignArgs) -> anyhow::Result<ExitCode> {
    let (digest, key) = signed(args)?;
    let mut out = io::stdout().lock();
    let to = args.output.as_ref().unwrap_or(&args.file).display();
    writeln!(out, "{to} is signed\ndigest  {digest}\nkey     {key}")?;
    if args.new_key {
        writeln!(out, "\nWhoever loads it needs this in the configuration:\n\n[plugins]\ntrusted_keys = [\"{key}\"]")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Digest and public key.
fn signed(args: &SignArgs) -> anyhow::Result<(String, String)> {
    let component = read(&args.file)?;
    // Before a key is made for nothing.
    let seen = heald_host::inspect(&component).with_context(|| args.file.display().to_string())?;
    if let Some(broken) = seen.signatures.iter().find(|signature| !signature.valid) {
        let by = broken.key.map(|key| format!(" by {key}")).unwrap_or_default();
        let why = broken.problem.as_deref().unwrap_or_default();
        bail!("{} has a signature{by} that is not valid: {why}; it is not signed over that", args.file.display());
    }
    let key = if args.new_key {
        let key = SecretKey::generate()?;
        key.write(&args.key)?;
        key
    } else {
        SecretKey::read(&args.key).with_context(|| match args.key.exists() {
            true => "the key cannot be used",
            false => "there is no such key; --new-key makes one",
        })?
    };
    let signed = heald_host::sign(&component, &key)?;
    replace(args.output.as_ref().unwrap_or(&args.file), &signed)?;
    Ok((seen.digest, key.public().to_string()))
}

/// Puts a file in place whole or not at all: a heald may be watching it.
fn replace(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let beside = file.with_extension(format!("signing-{}", std::process::id()));
    let placed = fs::write(&beside, bytes)
        .and_then(|()| match fs::metadata(file) {
            Ok(known) => fs::set_permissions(&beside, known.permissions()),
            Err(_) => Ok(()),
        })
        .and_then(|()| fs::rename(&beside, file));
    if placed.is_err() {
        let _ = fs::remove_file(&beside);
    }
    placed.with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use heald_host::PublicKey;

    use super::*;
    use crate::plugin::verify::{VerifyArgs, judge};

    struct Desk(tempfile::TempDir);

    impl Desk {
        fn new() -> Self {
            let desk = Self(tempfile::tempdir().unwrap());
            let builtin = heald_builtin::all().iter().find(|builtin| builtin.name == "decide-rules").unwrap();
            fs::write(desk.file(), builtin.component).unwrap();
            desk
        }

        fn file(&self) -> PathBuf {
            self.0.path().join("rules.wasm")
        }

        fn sign(&self, key: &str, new_key: bool) -> anyhow::Result<String> {
            let key = self.0.path().join(key);
            let args = SignArgs { file: self.file(), key, new_key, output: None };
            signed(&args).map(|(_, key)| key)
        }

        fn verify(&self, keys: &[&str]) -> Result<PublicKey, String> {
            let args = VerifyArgs {
                file: self.file(),
                keys: keys.iter().map(|key| (*key).to_owned()).collect(),
                config: None,
                json: false,
            };
            judge(&args).map_err(|error| format!("{error:#}"))
        }
    }

    #[test]
    fn what_was_signed_is_verified_and_nothing_else_is() {
        let desk = Desk::new();
        let unsigned = fs::read(desk.file()).unwrap();
        let key = desk.sign("mine.pem", true).unwrap();
        let mode = fs::metadata(desk.0.path().join("mine.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(desk.verify(&[&key]).unwrap().to_string(), key);
        let signed = fs::read(desk.file()).unwrap();
        assert_eq!(heald_host::digest(&signed), heald_host::digest(&unsigned), "signing is no change");

        // Somebody else's key.
        let other = SecretKey::generate().unwrap().public().to_string();
        let stranger = desk.verify(&[&other]).unwrap_err();
        assert!(stranger.contains(&key) && stranger.contains("none of the"), "{stranger}");

        // One bit, anywhere in what was signed.
        let mut flipped = signed.clone();
        flipped[unsigned.len() / 2] ^= 1;
        fs::write(desk.file(), &flipped).unwrap();
        let changed = desk.verify(&[&key]).unwrap_err();
        assert!(changed.contains("changed or damaged"), "{changed}");
        assert!(desk.sign("mine.pem", false).unwrap_err().to_string().contains("not signed over"));

        // The signature taken off.
        fs::write(desk.file(), &unsigned).unwrap();
        assert!(desk.verify(&[&key]).unwrap_err().contains("not signed"));
    }

    #[test]
    fn two_can_vouch_and_a_key_is_never_overwritten() {
        let desk = Desk::new();
        let first = desk.sign("a.pem", true).unwrap();
        let second = desk.sign("b.pem", true).unwrap();
        assert_eq!(desk.verify(&[&first]).unwrap().to_string(), first);
        assert_eq!(desk.verify(&[&second]).unwrap().to_string(), second);
        let size = fs::metadata(desk.file()).unwrap().len();
        assert_eq!(desk.sign("a.pem", false).unwrap(), first);
        assert_eq!(fs::metadata(desk.file()).unwrap().len(), size, "in place of the earlier one");
        assert!(desk.sign("a.pem", true).unwrap_err().to_string().contains("never overwritten"));
        let none = format!("{:#}", desk.sign("c.pem", false).unwrap_err());
        assert!(none.contains("--new-key makes one"), "{none}");
    }

    #[test]
    fn what_is_no_component_gets_no_key() {
        let desk = Desk::new();
        fs::write(desk.file(), "hello").unwrap();
        assert!(desk.sign("k.pem", true).is_err());
        assert!(!desk.0.path().join("k.pem").exists());
    }
}
