//! Opening the database file: pragmas, migrations, and telling damage from other errors.
//!
//! It refuses to touch a database of another program or of a newer heald: that is an error, and the file stays as it is.
//! Only a file that SQLite itself calls damaged is moved. Nothing is deleted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::{StoreError, is_damage};
use crate::files::beside;

/// The migrations. Each brings the schema from its index to index + 1, once and in one transaction. A released migration
/// is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_journal.sql"),
    include_str!("migrations/0002_calls.sql"),
    include_str!("migrations/0003_ledger.sql"),
];

/// `heal` in ASCII, the application id in the header of the file.
const APPLICATION_ID: i32 = 0x6865_616c;

/// A database up to this size is examined as a whole at every opening (about 20 ms). A larger one is examined in the
/// background, because healing must not wait for it.
const QUICKLY_CHECKED: u64 = 16 << 20;

/// How long an intent waits for the write lock, which only somebody at a `sqlite3` prompt can hold.
pub(crate) const BUSY: Duration = Duration::from_millis(250);

/// An open database that can be written.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) connection: Connection,
    /// Notes for the operator about what was done while opening.
    pub(crate) notes: Vec<String>,
    /// The whole database was examined.
    pub(crate) examined: bool,
}

/// Opens the database or creates it, and brings its schema up to date. A damaged database is first set aside.
pub(crate) fn open(path: &Path, suspect: bool) -> Result<Database, StoreError> {
    match attempt(path, suspect) {
        Err(StoreError::Database { source, .. }) if is_damage(&source) => {
            let aside = set_aside(path)?;
            let note = format!(
                "the database {} is damaged ({source}); it was set aside as {} and a new one was created",
                path.display(),
                aside.display()
            );
            tracing::error!("{note}");
            attempt(path, false).map(|mut database| {
                database.notes.push(note);
                database
            })
        }
        other => other,
    }
}

fn attempt(path: &Path, suspect: bool) -> Result<Database, StoreError> {
    let failed = |source| StoreError::Database { path: path.into(), source };
    let size = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
            // SQLite would open a FIFO or a device. It says what is wrong with a folder.
            return Err(StoreError::Io {
                path: path.into(),
                source: std::io::Error::other("it is not a regular file"),
            });
        }
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(source) => return Err(StoreError::Io { path: path.into(), source }),
    };
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    identify(&connection, path)?;
    let examined = suspect || size <= QUICKLY_CHECKED;
    if size > 0 && examined {
        check(&connection).map_err(failed)?;
    }
    prepare(&connection).map_err(failed)?;
    migrate(&mut connection).map_err(failed)?;
    Ok(Database { connection, notes: Vec::new(), examined })
}

/// Checks the application id and returns the schema version, before anything is written.
fn identify(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let failed = |source| StoreError::Database { path: path.into(), source };
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let id = i32::try_from(number("application_id")?).unwrap_or_default();
    if tables > 0 && id != APPLICATION_ID {
        return Err(StoreError::Foreign { path: path.into(), found: id });
    }
    let (found, known) = (number("user_version")?, MIGRATIONS.len() as i64);
    if found > known {
        return Err(StoreError::Newer { path: path.into(), found, known });
    }
    Ok(found)
}

/// Opens a database to read in it, beside a running heald or a copy. It must be heald's and of the current schema.
pub(crate) fn visit(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Database { path: path.into(), source };
    fs::metadata(path).map_err(|source| StoreError::Io { path: path.into(), source })?;
    let connection = reader(path).map_err(failed)?;
    let (connection, found) = match identify(&connection, path) {
        // SQLite wants to put its index beside the file; where it may not, and no heald writes, the file alone will do.
        Err(StoreError::Database { .. }) if !beside(path, "-wal").exists() => {
            let connection = alone(path).map_err(failed)?;
            let found = identify(&connection, path)?;
            (connection, found)
        }
        other => (connection, other?),
    };
    let known = MIGRATIONS.len() as i64;
    if found < known {
        return Err(StoreError::Older { path: path.into(), found, known });
    }
    Ok(connection)
}

/// A connection to a file that nobody writes. SQLite puts no file beside it.
fn alone(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags)
}

/// Fails with `DatabaseCorrupt` if an examination of every page finds damage.
pub(crate) fn check(connection: &Connection) -> rusqlite::Result<()> {
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if said == "ok" {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(said)))
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A commit survives the death of heald, not that of the machine; Durability::Machine switches to FULL for its
    // transaction.
    connection.pragma_update(None, "synchronous", "normal")?;
    // Checkpoints sync, which takes milliseconds on a busy disk: no commit makes one. checkpoint.rs says who does.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or_default();
    for (index, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", index as i64 + 1)?;
        tx.commit()?;
    }
    Ok(())
}

/// A read-only connection. The database must exist.
pub(crate) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Moves the database and its log to a free name, and returns the new path of the database.
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let free =
        (0..).map(|n: u32| if n == 0 { format!(".corrupt-{seconds}") } else { format!(".corrupt-{seconds}-{n}") });
    let ending = free.into_iter().find(|ending| !beside(path, ending).exists()).unwrap_or_default();
    for part in ["-wal", "-shm", ""] {
        let from = beside(path, part);
        // `heald.db.corrupt-1795341600-wal`: SQLite finds the log of the moved file under its usual name.
        let to = beside(&beside(path, &ending), part);
        match fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::Io { path: from, source }),
        }
    }
    Ok(beside(path, &ending))
}
