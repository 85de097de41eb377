//! The `[store]` section of the configuration. It opens nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The shortest retention. After a restart the guard needs the journal of this long.
const LEAST_RETENTION: Duration = Duration::from_hours(24);

/// Where the journal is, and how long its data is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The database file. `<path>-wal`, `<path>-shm` and `<path>.lock` are beside it.
    pub path: PathBuf,
    /// The file of the desired states; by default `<path>` with the extension `desired.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<PathBuf>,
    /// Journal rows older than this are deleted, except those of incidents that are still open.
    #[serde(with = "heald_model::time::text")]
    pub retention: Duration,
    /// How long whole calls of plug-ins are kept, for explaining and replaying; "0s" keeps none.
    #[serde(with = "heald_model::time::text")]
    pub calls: Duration,
    /// How long the tape (everything that detectors were given) is kept, for replaying; "0s" keeps none.
    #[serde(with = "heald_model::time::text")]
    pub tape: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            path: "heald.db".into(),
            desired: None,
            retention: Duration::from_hours(30 * 24),
            calls: Duration::from_hours(30 * 24),
            tape: Duration::from_hours(7 * 24),
        }
    }
}

impl StoreConfig {
    /// The defaults for a database at this path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// The file of the desired states.
    pub fn desired_path(&self) -> PathBuf {
        self.desired.clone().unwrap_or_else(|| self.path.with_extension("desired.json"))
    }

    /// Every setting that cannot work, each as one sentence that names the field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.path == Path::new("") {
            problems.push("store.path is empty; name a file such as \"heald.db\"".into());
        }
        if self.retention < LEAST_RETENTION {
            problems.push("store.retention is less than 24h; after a restart the guard needs the last 24h".into());
        }
        if self.desired_path() == self.path {
            problems.push("store.desired and store.path name the same file".into());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_desired_states_are_beside_the_database() {
        assert_eq!(
            StoreConfig::at("/var/lib/heald/heald.db").desired_path(),
            Path::new("/var/lib/heald/heald.desired.json")
        );
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert_eq!(StoreConfig::default().problems(), Vec::<String>::new());
        let wrong = StoreConfig {
            path: "".into(),
            desired: Some("".into()),
            retention: Duration::from_secs(60),
            ..StoreConfig::default()
        };
        assert_eq!(wrong.problems().len(), 3);
    }

    #[test]
    fn unknown_fields_are_errors() {
        assert!(serde_json::from_str::<StoreConfig>(r#"{"path":"x.db","retention":"7d"}"#).is_ok());
        assert!(serde_json::from_str::<StoreConfig>(r#"{"file":"x.db"}"#).is_err());
    }
}
