//! The action `clear-cache`: empties a granted directory.
//!
//! The operator grants a directory of the service as `/cache`; this deletes everything in it, or in one sub-directory
//! (parameter `path`), and keeps the directory itself. A symbolic link is deleted as what it is and never followed, so
//! nothing outside is touched even if the host's sandbox were not there; and it is.
//!
//! It does not ask whether the cache is worth keeping, and nothing can bring it back: there is no undo. Deleting twice
//! deletes once, so an attempt that was interrupted may simply be made again.
#![deny(unsafe_code)]

mod sweep;

use std::path::{Component, Path, PathBuf};

use heald_plugin::{Action, ActionInfo, Error, Plan, Problem, Receipt, Task, log};
use serde::Deserialize;

pub use sweep::{Amount, Sweep, count, empty};

const ACTION: &str = "clear-cache";

/// See the crate.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClearCache {
    /// Where the granted directory is, as the plug-in sees it.
    pub directory: PathBuf,
}

impl Default for ClearCache {
    fn default() -> Self {
        Self { directory: "/cache".into() }
    }
}

/// What may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Parameters {
    /// Only this directory within the granted one.
    path: Option<String>,
}

impl Action for ClearCache {
    type Config = Self;

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        let climbs = config.directory.components().any(|part| part == Component::ParentDir);
        if climbs || !config.directory.is_absolute() {
            return Err(vec![Problem::at("/directory", "must be an absolute path without `..`")]);
        }
        Ok(config)
    }

    fn offers(&self) -> Vec<ActionInfo> {
        let summary = format!("deletes everything in {}", self.directory.display());
        vec![ActionInfo::new(ACTION, summary).parameters(include_str!("../parameters.schema.json"))]
    }

    fn check(&self, task: &Task) -> Result<Plan, Error> {
        let directory = self.target(task)?;
        let Sweep { done, failed, .. } = count(&directory)?;
        let plan = Plan::new(format!("would delete {done} in {}", directory.display()));
        Ok(plan.with("files", done.files as f64).with("bytes", done.bytes as f64).with("unreadable", failed as f64))
    }

    fn perform(&self, task: &Task) -> Result<Receipt, Error> {
        let directory = self.target(task)?;
        let Sweep { done, failed, trouble } = empty(&directory)?;
        if let Some(trouble) = trouble {
            log::warn!(facts: { failed = failed as f64 }; "some of {} stays: {trouble}", directory.display());
            if done == Amount::default() {
                return Err(trouble.into());
            }
        }
        let changed = done != Amount::default();
        let receipt = Receipt::new(format!("deleted {done} in {}", directory.display()), changed);
        Ok(receipt.with("files", done.files as f64).with("bytes", done.bytes as f64).with("failed", failed as f64))
    }
}

impl ClearCache {
    /// The directory that is meant, which is there and is no link.
    fn target(&self, task: &Task) -> Result<PathBuf, Error> {
        if task.action != ACTION {
            return Err(Error::Unsupported(format!("{} is not what this plug-in does", task.action)));
        }
        let parameters: Parameters =
            serde_json::from_str(&task.parameters).map_err(|error| Error::BadInput(format!("parameters: {error}")))?;
        let mut directory = self.directory.clone();
        must_be_directory(&directory)?;
        for part in Path::new(parameters.path.as_deref().unwrap_or_default()).components() {
            let Component::Normal(name) = part else {
                return Err(Error::BadInput("`path` must be relative, without `.` and `..`".to_owned()));
            };
            directory.push(name);
            must_be_directory(&directory)?;
        }
        Ok(directory)
    }
}

fn must_be_directory(path: &Path) -> Result<(), Error> {
    let metadata = std::fs::symlink_metadata(path).map_err(|error| sweep::refusal(path, &error))?;
    if metadata.is_dir() {
        Ok(())
    } else if metadata.is_symlink() {
        Err(Error::Denied(format!("{} is a symbolic link", path.display())))
    } else {
        Err(Error::BadInput(format!("{} is no directory", path.display())))
    }
}

heald_plugin::action!(
    ClearCache,
    config: include_str!("../config.schema.json"),
    capabilities: &["log", "wasi:filesystem"],
    memory_mib: 32,
);
