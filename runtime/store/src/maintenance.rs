//! Maintenance: checkpoints, the examination of a large database, and the hourly request for retention.
//!
//! It works on a thread and a connection of its own, because all of this waits for the disk and no intent may. It
//! deletes nothing itself: retention runs in the writer.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heald_model::Moment;
use rusqlite::{Connection, OpenFlags};

use crate::config::StoreConfig;
use crate::error::is_damage;
use crate::jobs::{MaintenanceJob, WriterJob};
use crate::retention::Cutoffs;
use crate::schema;

/// When retention is first requested after the start, and how often afterwards.
const TRIM: (Duration, Duration) = (Duration::from_secs(60), Duration::from_hours(1));

/// Works until it is told to close.
pub(crate) fn run(config: &StoreConfig, maintenance: &Receiver<MaintenanceJob>, jobs: &Sender<WriterJob>) {
    let path = config.path.as_path();
    let mut trim_at = Instant::now() + TRIM.0;
    loop {
        match maintenance.recv_timeout(trim_at.saturating_duration_since(Instant::now())) {
            Ok(MaintenanceJob::Checkpoint) => checkpoint(path),
            Ok(MaintenanceJob::Examine) => examine(path, jobs),
            Ok(MaintenanceJob::Close) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                trim_at = Instant::now() + TRIM.1;
                let now = Moment::EPOCH + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let kept = |age: Duration| now - age.min(config.retention);
                let cutoffs =
                    Cutoffs { rows: kept(config.retention), calls: kept(config.calls), tape: kept(config.tape) };
                let _ = jobs.send(WriterJob::Trim { cutoffs, done: None });
            }
        }
    }
}

/// Moves the log into the database. PASSIVE does what it can without making the writer or a reader wait.
fn checkpoint(path: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let moved = Connection::open_with_flags(path, flags)
        .and_then(|connection| connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())));
    if let Err(error) = moved {
        tracing::warn!(%error, "the journal's log cannot be moved into the database; the next checkpoint tries again");
    }
}

fn examine(path: &Path, jobs: &Sender<WriterJob>) {
    match schema::reader(path).and_then(|connection| schema::check(&connection)) {
        Err(error) if is_damage(&error) => {
            let _ = jobs.send(WriterJob::Suspect(error.to_string()));
        }
        Err(error) => tracing::warn!(%error, "the journal cannot be examined now"),
        Ok(()) => tracing::debug!("the journal was examined and is whole"),
    }
}
