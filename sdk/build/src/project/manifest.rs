//! `heald-plugin.toml`: what a plug-in that is not written in Rust says of itself, and what it is built as.
//!
//! ```toml
//! lang = "js"
//! role = "detector"
//! name = "queue"
//! version = "0.1.0"
//! summary = "finds queues that are too long"
//! config = "config.schema.json"
//! capabilities = ["log"]
//! [limits]
//! cpu_ms = 5
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Error, Limits, Metadata};

/// Its name.
pub(crate) const FILE: &str = "heald-plugin.toml";

/// The file's contents.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What it is written in.
    pub lang: Language,
    /// What it is.
    pub role: RoleName,
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One line on what it does.
    pub summary: String,
    /// The file with the JSON Schema of its configuration; none: anything goes.
    pub config: Option<PathBuf>,
    /// What it asks to be granted.
    #[serde(default = "log")]
    pub capabilities: Vec<String>,
    /// The limits it suggests.
    #[serde(default)]
    pub limits: SuggestedLimits,
}

/// The table `[limits]`; 0 suggests nothing.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuggestedLimits {
    /// Guest time for one call, in milliseconds.
    pub cpu_ms: u64,
    /// Memory, in MiB.
    pub memory_mib: u64,
}

fn log() -> Vec<String> {
    vec!["log".to_owned()]
}

/// A language that there are templates for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Language {
    /// Rust.
    #[serde(rename = "rust")]
    Rust,
    /// JavaScript.
    #[serde(rename = "js")]
    JavaScript,
    /// Python.
    #[serde(rename = "python")]
    Python,
    /// C.
    #[serde(rename = "c")]
    C,
}

impl Language {
    /// The word for it, on the command line and in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::JavaScript => "js",
            Self::Python => "python",
            Self::C => "c",
        }
    }
}

/// What a plug-in is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// From samples to findings.
    Detector,
    /// From an incident to a decision.
    Policy,
    /// From a permit to a deed.
    Action,
}

impl RoleName {
    /// The word for it, which is also the name of its world.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Policy => "policy",
            Self::Action => "action",
        }
    }
}

impl Manifest {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| Error::Manifest { path: path.to_owned(), source: Box::new(source) })
    }

    /// What goes into the component.
    pub(super) fn metadata(&self, directory: &Path) -> Result<Metadata, Error> {
        let config = match &self.config {
            None => serde_json::Value::Object(serde_json::Map::new()),
            Some(file) => {
                let path = directory.join(file);
                let text = super::read(&path)?;
                serde_json::from_slice(&text).map_err(|source| Error::Schema { path, source })?
            }
        };
        Ok(Metadata {
            name: self.name.clone(),
            version: self.version.clone(),
            summary: self.summary.clone(),
            roles: vec![self.role.word().to_owned()],
            config,
            capabilities: self.capabilities.clone(),
            limits: Limits { cpu_ms: self.limits.cpu_ms, memory_mib: self.limits.memory_mib },
        })
    }
}
