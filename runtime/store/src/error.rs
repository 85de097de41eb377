//! What can keep the store from opening.

use std::io;
use std::path::PathBuf;

use heald_engine::ports::JournalError;

/// Why the store could not be opened. A damaged database is not among these: it is set aside and told in
/// [`Opened::notes`](crate::Opened::notes).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another heald uses it.
    #[error("{} is in use by another heald{}", .path.display(), .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The database.
        path: PathBuf,
        /// The process that holds it, if it left its number.
        pid: Option<u32>,
    },
    /// It was written by a newer heald.
    #[error("{} has schema {found}, this heald knows up to {known}: run the newer heald, or name another store path", .path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// An older heald wrote it, and nothing but reading was asked for.
    #[error("{} has schema {found}, this heald reads schema {known}: let this heald run on it once", .path.display())]
    Older {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The one that is read here.
        known: i64,
    },
    /// It is a database, but somebody else's.
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
        /// Its word.
        #[source]
        source: io::Error,
    },
    /// The database refused.
    #[error("cannot use the database {}", .path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Its word.
        #[source]
        source: rusqlite::Error,
    },
}

/// What SQLite said, as the engine is told.
pub(crate) fn unavailable(error: &rusqlite::Error) -> JournalError {
    JournalError::Unavailable(error.to_string())
}

/// True if SQLite's word means that the file itself is damaged. An I/O error, a full disk or a lock is not that.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase))
}
