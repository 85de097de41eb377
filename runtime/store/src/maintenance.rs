//! The janitor: checkpoints, the examination of a large database, and the hourly call for retention.
//!
//! It works on a thread and a connection of its own, because all of this waits for the disk and no intent should.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heald_model::Moment;
use rusqlite::{Connection, OpenFlags};

use crate::config::StoreConfig;
use crate::error::is_damage;
use crate::retention::Cutoffs;
use crate::schema;
use crate::writer::Job;

/// Retention is asked for so often; the first time a while after the start, when there is more to do than that.
const TRIM: (Duration, Duration) = (Duration::from_secs(60), Duration::from_hours(1));

/// What the janitor is asked.
#[derive(Debug)]
pub(crate) enum Chore {
    Checkpoint,
    Examine,
    Close,
}

/// Works until it is told to close.
pub(crate) fn run(config: &StoreConfig, chores: &Receiver<Chore>, jobs: &Sender<Job>) {
    let path = config.path.as_path();
    let mut trim_at = Instant::now() + TRIM.0;
    loop {
        match chores.recv_timeout(trim_at.saturating_duration_since(Instant::now())) {
            Ok(Chore::Checkpoint) => checkpoint(path),
            Ok(Chore::Examine) => examine(path, jobs),
            Ok(Chore::Close) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                trim_at = Instant::now() + TRIM.1;
                let now = Moment::EPOCH + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let kept = |age: Duration| now - age.min(config.retention);
                let cutoffs =
                    Cutoffs { rows: kept(config.retention), calls: kept(config.calls), tape: kept(config.tape) };
                let _ = jobs.send(Job::Trim { cutoffs, done: None });
            }
        }
    }
}

/// Moves the log into the database. PASSIVE: it does what it can without making the writer or a reader wait.
fn checkpoint(path: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let moved = Connection::open_with_flags(path, flags)
        .and_then(|connection| connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())));
    if let Err(error) = moved {
        tracing::warn!(%error, "the journal's log cannot be moved into the database now");
    }
}

fn examine(path: &Path, jobs: &Sender<Job>) {
    match schema::reader(path).and_then(|connection| schema::check(&connection)) {
        Err(error) if is_damage(&error) => {
            let _ = jobs.send(Job::Suspect(error.to_string()));
        }
        Err(error) => tracing::warn!(%error, "the journal cannot be examined now"),
        Ok(()) => tracing::debug!("the journal was examined and is whole"),
    }
}
