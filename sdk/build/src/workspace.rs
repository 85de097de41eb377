//! Cargo, run over a workspace of guests from within another cargo or from a program.
//!
//! The inner cargo must not inherit what the outer one was told: its flags, wrappers, profile and target directory belong to
//! the host's build. The job server it does inherit, so that the two together do not overload the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;

use crate::Error;

/// Detectors and policies: no import but the contract's own, so that they can do nothing else is plain from the file.
const PURE: &str = "wasm32-unknown-unknown";

/// Settings of the outer build that would change the guests, or build them over and over.
const OUTER: [&str; 6] =
    ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC"];
const OUTER_PREFIXES: [&str; 3] = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_"];

/// A cargo workspace whose members are guests.
///
/// Every package with a `cdylib` is one. It is built for `wasm32-unknown-unknown` unless its manifest says otherwise:
/// `[package.metadata.heald] target = "wasm32-wasip2"`.
#[derive(Debug, Clone)]
pub struct Workspace {
    directory: PathBuf,
    target_dir: Option<PathBuf>,
    packages: Vec<String>,
    may_write_lock_file: bool,
}

/// A guest that was built.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The package's name.
    pub package: String,
    /// What it was built for.
    pub target: String,
    /// The file: a core module, or a component where the target makes such. [`component`](crate::component) takes both.
    pub wasm: PathBuf,
    /// Every file that went into it; a build script prints them as `rerun-if-changed`.
    pub inputs: Vec<PathBuf>,
}

impl Guest {
    /// The finished component.
    pub fn component(&self) -> Result<Vec<u8>, Error> {
        let wasm = std::fs::read(&self.wasm).map_err(|source| Error::Read { path: self.wasm.clone(), source })?;
        crate::component(&wasm)
    }
}

impl Workspace {
    /// The workspace whose `Cargo.toml` is in this directory.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), target_dir: None, packages: Vec::new(), may_write_lock_file: false }
    }

    /// Where cargo shall build. In a build script: beside `OUT_DIR`'s many siblings, not within one of them, or else every
    /// kind of outer build (check, clippy, test) would build all guests anew.
    #[must_use]
    pub fn target_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.target_dir = Some(directory.into());
        self
    }

    /// Only this package; may be said several times.
    #[must_use]
    pub fn package(mut self, name: impl Into<String>) -> Self {
        self.packages.push(name.into());
        self
    }

    /// Where there is no lock file yet, or the manifest asks for more, cargo writes it: for an author's own project.
    #[must_use]
    pub fn write_lock_file(mut self) -> Self {
        self.may_write_lock_file = true;
        self
    }

    /// Builds the guests, optimised and exactly as the lock file says, sorted by name.
    pub fn build(&self) -> Result<Vec<Guest>, Error> {
        let mut by_target = BTreeMap::<String, Vec<Package>>::new();
        for package in self.guests()? {
            by_target.entry(package.target()).or_default().push(package);
        }
        let mut built = Vec::new();
        for (target, packages) in by_target {
            built.extend(self.build_for(&target, packages)?);
        }
        built.sort_by(|one, other| one.package.cmp(&other.package));
        Ok(built)
    }

    fn guests(&self) -> Result<Vec<Package>, Error> {
        let output = self.cargo(["metadata", "--no-deps", "--format-version", "1"])?;
        let metadata: CargoMetadata = serde_json::from_slice(&output.stdout).map_err(Error::Answer)?;
        let wanted = |package: &Package| {
            package.targets.iter().any(Target::is_guest)
                && (self.packages.is_empty() || self.packages.contains(&package.name))
        };
        Ok(metadata.packages.into_iter().filter(wanted).collect())
    }

    fn build_for(&self, target: &str, packages: Vec<Package>) -> Result<Vec<Guest>, Error> {
        let mut words = vec!["build", "--release", "--lib", "--message-format", "json-render-diagnostics", "--target"];
        words.push(target);
        for package in &packages {
            words.extend(["--package", &package.name]);
        }
        let output = self.cargo(words).map_err(|error| match error {
            Error::Build { output, .. } if output.contains("target may not be installed") => {
                Error::Target { target: target.to_owned() }
            }
            other => other,
        })?;
        let artifacts = artifacts(&output.stdout)?;
        let guest = |package: Package| {
            let wasm = artifacts.get(&package.id).ok_or_else(|| Error::NoArtifact { package: package.name.clone() })?;
            let mut inputs = self.manifests(&package);
            inputs.extend(dependencies(&wasm.with_extension("d"))?);
            let inputs = inputs.into_iter().collect();
            Ok(Guest { package: package.name, target: target.to_owned(), wasm: wasm.clone(), inputs })
        };
        packages.into_iter().map(guest).collect()
    }

    fn manifests(&self, package: &Package) -> BTreeSet<PathBuf> {
        let own = ["Cargo.toml", "Cargo.lock"].map(|name| self.directory.join(name));
        own.into_iter().chain([package.manifest_path.clone()]).filter(|path| path.exists()).collect()
    }

    fn cargo<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<Output, Error> {
        // Within a build script this is the cargo that runs it; elsewhere the one on the PATH.
        let program = PathBuf::from(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let mut command = Command::new(&program);
        command.current_dir(&self.directory).args(words);
        if !self.may_write_lock_file {
            command.arg("--locked");
        }
        for (name, _) in std::env::vars_os() {
            if belongs_to_outer_build(&name) {
                command.env_remove(name);
            }
        }
        if let Some(target_dir) = &self.target_dir {
            command.env("CARGO_TARGET_DIR", target_dir);
        }
        let output = command.output().map_err(|source| Error::Cargo { program, source })?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Build { workspace: self.directory.clone(), output: said })
    }
}

fn belongs_to_outer_build(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    OUTER.contains(&&*name) || OUTER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Package id to `.wasm` file, from cargo's messages.
fn artifacts(messages: &[u8]) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut found = BTreeMap::new();
    for message in serde_json::Deserializer::from_slice(messages).into_iter::<Message>() {
        let Message { package_id, target, filenames } = message.map_err(Error::Answer)?;
        if !target.is_some_and(|target| target.is_guest()) {
            continue;
        }
        let wasm = filenames.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "wasm"));
        if let (Some(package), Some(wasm)) = (package_id, wasm) {
            found.insert(package, wasm);
        }
    }
    Ok(found)
}

/// The files named in a `.d` file, which is a Makefile rule: `target: one two\ three`.
fn dependencies(rule: &Path) -> Result<Vec<PathBuf>, Error> {
    let text = std::fs::read_to_string(rule).map_err(|source| Error::Read { path: rule.to_owned(), source })?;
    Ok(parse_rule(&text))
}

fn parse_rule(text: &str) -> Vec<PathBuf> {
    // The rule's target may hold a colon (C:\...); only the one before a blank ends it.
    let Some((_, files)) = text.split_once(": ") else { return Vec::new() };
    let mut paths = Vec::new();
    let mut path = String::new();
    let mut letters = files.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.peek() == Some(&' ') => path.extend(letters.next()),
            blank if blank.is_whitespace() => {
                if !path.is_empty() {
                    paths.push(PathBuf::from(std::mem::take(&mut path)));
                }
            }
            other => path.push(other),
        }
    }
    if !path.is_empty() {
        paths.push(PathBuf::from(path));
    }
    paths
}

#[derive(Deserialize)]
struct CargoMetadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    id: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    #[serde(default)]
    metadata: Option<PackageMetadata>,
}

impl Package {
    fn target(&self) -> String {
        let said = self.metadata.as_ref().and_then(|metadata| metadata.heald.as_ref());
        said.map_or_else(|| PURE.to_owned(), |heald| heald.target.clone())
    }
}

#[derive(Deserialize)]
struct PackageMetadata {
    heald: Option<HealdMetadata>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HealdMetadata {
    target: String,
}

#[derive(Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

impl Target {
    fn is_guest(&self) -> bool {
        self.crate_types.iter().any(|kind| kind == "cdylib")
    }
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    package_id: Option<String>,
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_may_name_files_with_blanks() {
        let named = parse_rule("/out/a.wasm: /src/lib.rs /my\\ code/x.rs\n");
        assert_eq!(named, [PathBuf::from("/src/lib.rs"), PathBuf::from("/my code/x.rs")]);
        assert!(parse_rule("/out/a.wasm:").is_empty());
    }

    #[test]
    fn the_outer_builds_settings_are_dropped_and_the_job_server_kept() {
        for name in ["RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_PROFILE_DEV_DEBUG", "CARGO_TARGET_DIR"] {
            assert!(belongs_to_outer_build(OsStr::new(name)), "{name}");
        }
        for name in ["CARGO_MAKEFLAGS", "CARGO_HOME", "PATH", "RUSTUP_TOOLCHAIN"] {
            assert!(!belongs_to_outer_build(OsStr::new(name)), "{name}");
        }
    }
}
