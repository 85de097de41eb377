//! Keeps the write-ahead log small, so that the disk has a bound that holds under load.
//!
//! SQLite appends to the log until a checkpoint has moved all of it and no reader uses it. Under load a checkpoint in the
//! background never moves all of it, because the writer appends meanwhile. So the writer asks for one in the background
//! early (by rows, by size, and when its queue runs empty), and from [`TRUNCATE`] on it makes one itself between two
//! transactions, when nothing can be appended. A reader of heald that is in the way is cut. A reader of another process
//! cannot be cut: entries are written all the same, and data for replay are dropped until the log is short again.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::is_busy;
use crate::read::{LONGEST_READ, Readers};
use crate::schema::BUSY;

/// So many bytes of growth are a reason for a checkpoint in the background.
const BACKGROUND: u64 = 4 << 20;
/// From this size on the writer makes the checkpoint itself.
const TRUNCATE: u64 = 32 << 20;
/// From this size on nothing is appended before the log was truncated, or for [`PATIENCE`]. A transaction takes up to
/// 8 MiB or so, so the file stays below 64 MB.
const FULL: u64 = 44 << 20;
/// So many bytes are appended, or so much time goes by, between two attempts to truncate the log. A log that was read to
/// its end begins anew within its file, which then does not grow.
const STEP: (u64, Duration) = (1 << 20, Duration::from_secs(1));
/// How long one attempt waits for readers, and for a checkpoint in the background.
const ATTEMPT: Duration = Duration::from_millis(50);
/// How long the writer waits for a full log. Only another process can take longer.
const PATIENCE: Duration = LONGEST_READ;

/// The write-ahead log as the writer sees it.
#[derive(Debug, Default)]
pub(crate) struct LogSize {
    path: PathBuf,
    /// The size at which the next checkpoint in the background is due.
    background: u64,
    /// The size at which the next attempt to truncate the log is due.
    truncate: u64,
    /// When an attempt last failed.
    failed: Option<Instant>,
    /// Somebody outside heald keeps the log from being truncated.
    stuck: bool,
}

impl LogSize {
    /// The log of this connection's database.
    pub(crate) fn of(connection: &Connection) -> Self {
        // SQLite resolves links, so its own path is the one that counts.
        let path = format!("{}-wal", connection.path().unwrap_or_default()).into();
        Self { path, background: BACKGROUND, truncate: TRUNCATE, failed: None, stuck: false }
    }

    fn bytes(&self) -> u64 {
        // Without a log there is nothing to bound.
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// True while only entries are written.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Truncates a log that has grown. Returns true if a checkpoint in the background is due. The connection has no open
    /// transaction.
    pub(crate) fn bound(&mut self, connection: &Connection, readers: &Readers) -> bool {
        let size = self.bytes();
        let again = self.failed.is_some_and(|failed| failed.elapsed() >= STEP.1);
        if size >= self.truncate || (size >= TRUNCATE && again) {
            self.shorten(size, connection, readers);
        }
        if size < self.background {
            return false;
        }
        self.background = size + BACKGROUND;
        true
    }

    fn shorten(&mut self, size: u64, connection: &Connection, readers: &Readers) {
        let full = size >= FULL && !self.stuck;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if truncate(connection) {
                if std::mem::take(&mut self.stuck) {
                    tracing::warn!("the journal's log could be shortened again");
                }
                (self.background, self.truncate, self.failed) = (BACKGROUND, TRUNCATE, None);
                return;
            }
            readers.cut(if full { Duration::ZERO } else { LONGEST_READ });
            if !full || Instant::now() >= deadline {
                break;
            }
        }
        (self.truncate, self.failed) = (size + STEP.0, Some(Instant::now()));
        if full {
            self.stuck = true;
            tracing::error!(
                log = %self.path.display(),
                "another process reads the journal and keeps its log from being shortened; until it ends, calls and looks are not kept for replay"
            );
        }
    }
}

/// Moves the log into the database and empties its file; false if somebody is in the way.
fn truncate(connection: &Connection) -> bool {
    let _ = connection.busy_timeout(ATTEMPT);
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    let _ = connection.busy_timeout(BUSY);
    match busy {
        Ok(busy) => busy == 0,
        Err(error) => {
            if !is_busy(&error) {
                tracing::warn!(%error, "the journal's log cannot be shortened; the next transaction tries again");
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread::JoinHandle;

    use heald_engine::ports::{Durability, Journal as _};
    use heald_model::{Entry, Moment, Record};

    use super::{Duration, Instant, TRUNCATE};
    use crate::{NodeIdentity, Store, StoreConfig};

    /// No moment may see a larger log.
    const BOUND: u64 = 64_000_000;

    /// Looks at the size of a file for as long as it lives.
    struct Watch {
        most: Arc<AtomicU64>,
        over: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    }

    impl Watch {
        fn log_of(database: &Path) -> Self {
            let log = crate::files::beside(database, "-wal");
            let (most, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            let (largest, ended) = (Arc::clone(&most), Arc::clone(&over));
            let thread = std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    largest.fetch_max(std::fs::metadata(&log).map_or(0, |log| log.len()), Ordering::Relaxed);
                    std::thread::yield_now();
                }
            });
            Self { most, over, thread: Some(thread) }
        }

        fn largest(mut self) -> u64 {
            self.over.store(true, Ordering::Relaxed);
            self.thread.take().unwrap().join().unwrap();
            self.most.load(Ordering::Relaxed)
        }
    }

    fn open(path: &Path) -> Store {
        Store::open(&StoreConfig::at(path), NodeIdentity::alone("test")).unwrap().store
    }

    fn long_notes(count: usize) -> Vec<Entry> {
        let note = Entry::of_heald(Moment::from_millis(1), Record::Note { text: "x".repeat(16 << 10) });
        vec![note; count]
    }

    /// Writes so many MiB, with some portions in flight so that the writer's queue never runs empty.
    async fn write(store: &Store, mebibytes: usize) {
        for _ in 0..mebibytes / 4 {
            (0..3).for_each(|_| store.write(long_notes(64)));
            store.commit(long_notes(64), Durability::Process).await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_stays_below_64_mb_under_load() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heald.db");
        let store = Arc::new(open(&path));
        let watch = Watch::log_of(&path);
        // Eight writers: the queue is never empty, as with a hundred services that crash.
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { write(&store, 16).await })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let largest = watch.largest();
        assert!(largest < BOUND, "the log had {largest} bytes");
        assert_eq!(store.newest_seq().await, 8 * 16 * 64);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_that_never_ends_is_cut_and_the_log_stays_below_64_mb() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heald.db");
        let store = open(&path);
        write(&store, 4).await;
        let (begun, begins) = tokio::sync::oneshot::channel();
        let readers = Arc::clone(&store.readers);
        let reader = tokio::spawn(async move {
            let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
            let read = readers.read(move |connection| {
                let rows: i64 = connection.query_row("SELECT count(*) FROM journal", [], |row| row.get(0))?;
                let _ = begun.send(rows);
                connection.query_row(endless, [], |row| row.get::<_, i64>(0))
            });
            read.await
        });
        assert_eq!(begins.await.unwrap(), 256);
        let watch = Watch::log_of(&path);
        write(&store, 96).await;
        let refused = reader.await.unwrap().unwrap_err().to_string();
        assert!(refused.contains("was ended"), "{refused}");
        let largest = watch.largest();
        assert!(largest < BOUND, "the log had {largest} bytes");
        assert_eq!(store.newest_seq().await, 100 * 64);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_of_another_process_costs_data_for_replay_and_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heald.db");
        let store = open(&path);
        write(&store, 4).await;
        let outside = rusqlite::Connection::open(&path).unwrap();
        outside.execute_batch("BEGIN; SELECT count(*) FROM journal").unwrap();
        write(&store, 60).await;
        assert!(store.degraded().is_none());
        assert_eq!(store.newest_seq().await, 64 * 64);
        outside.execute_batch("COMMIT").unwrap();
        let log = crate::files::beside(&path, "-wal");
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::fs::metadata(&log).unwrap().len() > TRUNCATE {
            assert!(Instant::now() < deadline, "the log stays long");
            write(&store, 4).await;
        }
    }

    impl Store {
        async fn newest_seq(&self) -> u64 {
            heald_control::History::newest(self).await.unwrap()
        }
    }
}
