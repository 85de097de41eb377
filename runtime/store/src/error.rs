//! The errors of opening the store.

use std::io;
use std::path::PathBuf;

use heald_model::JournalError;

/// Why the store could not be opened. Damage is no error: a damaged database is set aside and reported in
/// [`Opened::notes`](crate::Opened::notes).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another heald uses the database.
    #[error("{} is in use by another heald{}", .path.display(), .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The database.
        path: PathBuf,
        /// The process that holds it, if it is known.
        pid: Option<u32>,
    },
    /// A newer heald wrote the database.
    #[error("{} has schema {found}, this heald knows up to {known}: run the newer heald, or name another store path", .path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// The schema of the database.
        found: i64,
        /// The newest schema that this heald knows.
        known: i64,
    },
    /// An older heald wrote the database, and it was opened only to be read.
    #[error("{} has schema {found}, this heald reads schema {known}: let this heald run on it once", .path.display())]
    Older {
        /// The database.
        path: PathBuf,
        /// The schema of the database.
        found: i64,
        /// The schema that this heald reads.
        known: i64,
    },
    /// The database belongs to another program.
    #[error("{} is not a heald database (application id {found:#010x})", .path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
        /// The application id in its header.
        found: i32,
    },
    /// The file system refused.
    #[error("cannot use {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot use the database {}", .path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// The error.
        #[source]
        source: rusqlite::Error,
    },
}

/// Whether an error means that somebody else uses the database at the moment.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
}

/// An error of SQLite as the engine receives it.
pub(crate) fn unavailable(error: &rusqlite::Error) -> JournalError {
    JournalError::Unavailable(error.to_string())
}

/// Whether an error means that the file itself is damaged. An I/O error, a full disk or a lock does not.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase))
}
