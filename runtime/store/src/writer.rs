//! The journal's writer: one thread that owns the only connection that writes.
//!
//! It drains its queue into one transaction, so that a burst costs one commit, and answers each commit after that
//! transaction. When the database cannot be written, it keeps every entry in memory and tries again. This includes the
//! entries of a commit that was answered with an error, because the engine has applied them already. It never blocks a
//! caller, and it never loses an entry without reporting it.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use heald_engine::ports::Durability;
use heald_model::JournalError;
use heald_model::{Entry, Moment, Record, Row};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::broadcast;

use crate::checkpoint::LogSize;
use crate::error::{is_damage, unavailable};
use crate::health::{Degraded, ReplayCounters, WriterHealth};
use crate::jobs::{MaintenanceJob, Packed, Reply, WriterJob};
use crate::lock::Lock;
use crate::project::{self, Draft, Projection};
use crate::read::{self, Readers};
use crate::retention::{self, Cutoffs, Trimmed};
use crate::row::{self, NodeIdentity, StampedEntry};

/// How many entries go into one transaction. With more, the first commit in it would wait too long for the last.
const BATCH: usize = 1024;
/// How many entries go into one transaction at the most, when many wait: a commit is not split, and the log grows by some
/// MiB at a time.
const LARGEST_BATCH: usize = 2 * BATCH;
/// How many bytes for replay go into one transaction, unless a single item has more.
const PACKED_BYTES: usize = 4 << 20;
/// How many entries are kept while the database cannot be written: some minutes of a bad day, about 20 MB.
const BACKLOG: usize = 20_000;
/// The first and the longest wait between retries. The first is short (somebody's `sqlite3` prompt), the longest suits a
/// full disk.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How many rows are written between two checkpoints, so that the log stays at a few MB; and how many are enough for one
/// when the queue runs empty.
const CHECKPOINT: (usize, usize) = (2_000, 200);
/// How many bytes of a blob weigh as much as one row.
const ROW: usize = 512;

/// How long entries that nobody waits for may wait for more. From the first row about an end of a process to the commit of its
/// restart's intent heald takes less.
const LINGER: Duration = Duration::from_millis(2);

/// The entries of one transaction, and the commits that wait for it.
#[derive(Debug, Default)]
struct Batch {
    entries: Vec<StampedEntry>,
    waiting: Vec<Reply<()>>,
    full: bool,
}

/// A retention that is under way.
#[derive(Debug)]
struct TrimProgress {
    cutoffs: Cutoffs,
    so_far: Trimmed,
    done: Option<Reply<Trimmed>>,
}

/// The state of the writer's thread.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    pub(crate) connection: Connection,
    pub(crate) lock: Lock,
    pub(crate) identity: NodeIdentity,
    pub(crate) projection: Projection,
    /// The sequence number of the newest row.
    pub(crate) seq: u64,
    pub(crate) jobs: Receiver<WriterJob>,
    pub(crate) rows: broadcast::Sender<Arc<Row>>,
    pub(crate) health: Arc<WriterHealth>,
    pub(crate) counters: Arc<ReplayCounters>,
    pub(crate) maintenance: Sender<MaintenanceJob>,
    pub(crate) log: LogSize,
    pub(crate) readers: Arc<Readers>,
    pub(crate) state: WriterState,
}

/// The part of the state that begins empty.
#[derive(Debug, Default)]
pub(crate) struct WriterState {
    backlog: VecDeque<StampedEntry>,
    lost: u64,
    trim: Option<TrimProgress>,
    /// When the database could last not be written, how long to wait until the next try, and why.
    refused: Option<(Instant, Duration, String)>,
    /// Why the database is damaged. Nothing is written until the next opening sets the file aside.
    damage: Option<String>,
    since_checkpoint: usize,
    closing: bool,
}

impl JournalWriter {
    /// Reads what the writer keeps in memory. Projections that another version made are made again.
    pub(crate) fn load_state(&mut self) -> rusqlite::Result<()> {
        self.seq = read::newest(&self.connection)?;
        if project::version(&self.connection)? == project::VERSION {
            match Projection::load(&self.connection) {
                Ok(projection) => {
                    self.projection = projection;
                    return Ok(());
                }
                Err(rusqlite::Error::FromSqlConversionFailure(_, _, error)) => {
                    tracing::warn!(%error, "the projections cannot be read");
                }
                Err(error) => return Err(error),
            }
        }
        tracing::info!("rebuilding the projections from the journal");
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let projection = project::rebuild(&tx)?;
        tx.commit()?;
        self.projection = projection;
        Ok(())
    }

    /// Works until it is told to close or every sender is dropped.
    pub(crate) fn run(mut self) {
        // What the life before left may be long.
        self.bound_log();
        while !self.state.closing {
            let jobs = self.gather();
            let mut batch = Batch::default();
            for job in jobs {
                match job {
                    WriterJob::Write(entries) => batch.entries.extend(entries),
                    WriterJob::Commit { entries, durability, done } => {
                        batch.entries.extend(entries);
                        batch.full |= durability == Durability::Machine;
                        batch.waiting.push(done);
                    }
                    other => {
                        self.write(mem::take(&mut batch));
                        self.handle(other);
                    }
                }
            }
            self.write(batch);
        }
        self.end();
    }

    /// The next jobs, in order. It waits for the first job, unless retention or a retry is due.
    fn gather(&mut self) -> Vec<WriterJob> {
        let first = if self.state.trim.is_some() {
            match self.jobs.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Empty) => {
                    self.trim();
                    None
                }
                Err(TryRecvError::Disconnected) => Some(WriterJob::Close),
            }
        } else if let Some(wait) = self.until_retry() {
            match self.jobs.recv_timeout(wait) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(WriterJob::Close),
            }
        } else {
            match self.jobs.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Disconnected) => Some(WriterJob::Close),
                Err(TryRecvError::Empty) => {
                    self.checkpoint_after(CHECKPOINT.1);
                    Some(self.jobs.recv().unwrap_or(WriterJob::Close))
                }
            }
        };
        let Some(first) = first else { return Vec::new() };
        let mut size = weight(&first);
        let mut jobs = vec![first];
        // Entries that nobody waits for are written together with those that somebody is about to wait for: a commit that comes a
        // moment later does not wait for the transaction before it.
        let until = Instant::now() + LINGER;
        let mut hurry = !matches!(jobs.first(), Some(WriterJob::Write(_)));
        while size < BATCH {
            let wait = if hurry { Duration::ZERO } else { until.saturating_duration_since(Instant::now()) };
            let Ok(job) = self.jobs.recv_timeout(wait) else { break };
            size += weight(&job);
            hurry |= !matches!(job, WriterJob::Write(_));
            jobs.push(job);
        }
        jobs
    }

    fn until_retry(&self) -> Option<Duration> {
        let (at, wait, _) = self.state.refused.as_ref()?;
        Some(wait.saturating_sub(at.elapsed()))
    }

    fn handle(&mut self, job: WriterJob) {
        match job {
            WriterJob::Trim { cutoffs, done } => {
                if let Some(before) = self.state.trim.take() {
                    before.finish();
                }
                self.state.trim = Some(TrimProgress { cutoffs, so_far: Trimmed::default(), done });
            }
            WriterJob::WritePacked(packed) => self.write_packed(&packed),
            WriterJob::Suspect(why) => self.mark_damaged(why),
            WriterJob::Close => self.state.closing = true,
            WriterJob::Write(_) | WriterJob::Commit { .. } => {}
        }
    }

    fn write(&mut self, batch: Batch) {
        let Batch { entries, waiting, full } = batch;
        if entries.is_empty()
            && waiting.is_empty()
            && (self.state.backlog.is_empty() || self.until_retry() > Some(Duration::ZERO))
        {
            return;
        }
        // Between retries the database is not asked, and waiting commits are answered at once.
        let resting = self.until_retry().filter(|wait| !wait.is_zero()).and(self.state.refused.clone());
        if let Some((_, _, why)) = resting {
            self.keep_in_memory(entries);
            self.publish_health(&why);
            return fail(waiting, &JournalError::Unavailable(why));
        }
        let backlog = mem::take(&mut self.state.backlog);
        let kept = backlog.len();
        let all: Vec<StampedEntry> = backlog.into_iter().chain(entries).collect();
        match self.transact_in_portions(&all, full) {
            (rows, None) => {
                for done in waiting {
                    let _ = done.send(Ok(()));
                }
                self.publish(rows);
                if self.state.refused.take().is_some() {
                    self.mark_recovered(kept);
                }
            }
            (rows, Some(error)) => {
                self.keep_in_memory(all.into_iter().skip(rows.len()).collect());
                self.publish(rows);
                if is_damage(&error) {
                    self.mark_damaged(error.to_string());
                } else {
                    self.mark_refused(&error.to_string());
                }
                fail(waiting, &unavailable(&error));
            }
        }
    }

    /// Writes rows and their projections. Returns what was written, and why the rest was not.
    fn transact_in_portions(&mut self, all: &[StampedEntry], full: bool) -> (Vec<Row>, Option<rusqlite::Error>) {
        // An empty commit is a transaction too: it syncs.
        let portions = all.chunks(LARGEST_BATCH).chain(all.is_empty().then_some(all));
        let mut rows = Vec::new();
        for portion in portions {
            match self.transact(portion, full) {
                Ok(written) => rows.extend(written),
                Err(error) => return (rows, Some(error)),
            }
            self.bound_log();
        }
        (rows, None)
    }

    /// Writes rows and their projections in one transaction.
    fn transact(&mut self, entries: &[StampedEntry], full: bool) -> rusqlite::Result<Vec<Row>> {
        if let Some(why) = &self.state.damage {
            let damage = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(rusqlite::Error::SqliteFailure(damage, Some(why.clone())));
        }
        if full {
            self.connection.pragma_update(None, "synchronous", "full")?;
        }
        let written = self.transact_in_mode(entries, full);
        if full {
            self.connection.pragma_update(None, "synchronous", "normal")?;
        }
        written
    }

    fn transact_in_mode(&mut self, entries: &[StampedEntry], full: bool) -> rusqlite::Result<Vec<Row>> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let places = (self.seq + 1)..;
        let rows: Vec<Row> = places.zip(entries).map(|(seq, entry)| entry.row(seq, &self.identity)).collect();
        let mut draft = Draft::new(&tx, &self.projection);
        for row in &rows {
            row::insert(&tx, row)?;
            draft.absorb(row)?;
        }
        let changes = draft.finish()?;
        if full && rows.is_empty() {
            // SQLite syncs only if something is written, and earlier entries must be synced too.
            tx.execute("UPDATE meta SET value = value", [])?;
        }
        tx.commit()?;
        self.projection.adopt(changes);
        self.seq += rows.len() as u64;
        Ok(rows)
    }

    fn publish(&mut self, rows: Vec<Row>) {
        let count = rows.len();
        for row in rows {
            // It is no error if nobody subscribes.
            let _ = self.rows.send(Arc::new(row));
        }
        self.advance(count);
    }

    /// Counts rows in the log, and requests a checkpoint when there are enough.
    fn advance(&mut self, rows: usize) {
        self.state.since_checkpoint += rows;
        self.checkpoint_after(CHECKPOINT.0);
    }

    /// Requests a checkpoint if so many rows were written since the last one.
    fn checkpoint_after(&mut self, rows: usize) {
        if self.state.since_checkpoint >= rows {
            self.state.since_checkpoint = 0;
            let _ = self.maintenance.send(MaintenanceJob::Checkpoint);
        }
    }

    /// Keeps the log within its bound. It is called after every transaction.
    fn bound_log(&mut self) {
        if self.log.bound(&self.connection, &self.readers) {
            self.checkpoint_after(0);
        }
    }

    fn keep_in_memory(&mut self, entries: Vec<StampedEntry>) {
        for entry in entries {
            if self.state.backlog.len() < BACKLOG {
                self.state.backlog.push_back(entry);
            } else {
                self.state.lost += 1;
            }
        }
    }

    fn mark_refused(&mut self, why: &str) {
        let wait = match &self.state.refused {
            Some((_, wait, _)) => (*wait * 2).min(RETRY.1),
            None => {
                tracing::error!(why, "the journal cannot be written; entries are kept in memory");
                RETRY.0
            }
        };
        self.state.refused = Some((Instant::now(), wait, why.to_owned()));
        self.publish_health(why);
    }

    fn mark_damaged(&mut self, why: String) {
        tracing::error!(why, "the journal is damaged; it will be set aside when heald next starts");
        self.lock.mark(true);
        self.mark_refused(&why);
        self.state.damage = Some(why);
    }

    fn publish_health(&self, why: &str) {
        let (kept, lost) = (self.state.backlog.len(), self.state.lost);
        self.health.set(Some(Degraded { why: why.to_owned(), kept, lost }));
    }

    fn mark_recovered(&mut self, kept: usize) {
        let lost = mem::take(&mut self.state.lost);
        tracing::warn!(kept, lost, "the journal can be written again");
        self.health.set(None);
        if lost > 0 {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let text = format!("{lost} entries were lost while the journal could not be written");
            let entry = Entry::of_heald(Moment::EPOCH + now, Record::Note { text });
            self.write(Batch { entries: StampedEntry::all(vec![entry]), ..Batch::default() });
        }
    }

    /// Writes packed replay data. If that fails the data is dropped, because no entry may wait for it.
    fn write_packed(&mut self, packed: &[Packed]) {
        self.counters.waiting.fetch_sub(packed.len(), std::sync::atomic::Ordering::Relaxed);
        let mut rest = packed;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |item: &&Packed| {
                bytes += item.len();
                bytes <= PACKED_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (portion, after) = rest.split_at(count);
            self.write_packed_portion(portion);
            rest = after;
        }
    }

    fn write_packed_portion(&mut self, packed: &[Packed]) {
        if let Some((_, _, why)) = &self.state.refused {
            return self.counters.count_dropped(packed.len(), why);
        }
        if self.log.is_stuck() {
            return self
                .counters
                .count_dropped(packed.len(), "another process keeps the journal's log from being shortened");
        }
        let written = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            packed.iter().try_for_each(|packed| packed.insert(&tx))?;
            tx.commit()
        });
        match written {
            Ok(()) => {
                let bytes: usize = packed.iter().map(Packed::len).sum();
                self.advance(packed.len() + bytes / ROW);
                self.bound_log();
            }
            Err(error) => {
                self.counters.count_dropped(packed.len(), &error.to_string());
                if is_damage(&error) {
                    self.mark_damaged(error.to_string());
                }
            }
        }
    }

    /// Runs one portion of retention.
    fn trim(&mut self) {
        let Some(mut trim) = self.state.trim.take() else { return };
        let step = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            let trimmed = retention::step(&tx, trim.cutoffs)?;
            tx.commit().map(|()| trimmed)
        });
        match step {
            Ok(trimmed) if trimmed == Trimmed::default() => trim.finish(),
            Ok(trimmed) => {
                self.state.since_checkpoint += trimmed.rows + trimmed.calls + trimmed.chunks;
                trim.so_far.add(trimmed);
                self.state.trim = Some(trim);
                self.bound_log();
            }
            Err(error) => {
                tracing::warn!(%error, "old journal rows cannot be deleted now");
                if let Some(done) = trim.done {
                    let _ = done.send(Err(unavailable(&error)));
                }
            }
        }
    }

    fn end(mut self) {
        self.state.refused = None;
        self.write(Batch { full: true, ..Batch::default() });
        let left = self.state.backlog.len();
        if left > 0 {
            tracing::error!(left, "the journal could not be written before the end; these entries are lost");
        }
        // This leaves a single file. If it fails, the log is read again at the next opening.
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::debug!(%error, "the log is left for the next opening");
        }
    }
}

impl TrimProgress {
    fn finish(self) {
        if self.so_far != Trimmed::default() {
            let Trimmed { rows, incidents, attempts, calls, chunks } = self.so_far;
            tracing::info!(rows, incidents, attempts, calls, chunks, "old data was deleted from the journal");
        }
        if let Some(done) = self.done {
            let _ = done.send(Ok(self.so_far));
        }
    }
}

fn weight(job: &WriterJob) -> usize {
    match job {
        WriterJob::Write(entries) | WriterJob::Commit { entries, .. } => entries.len().max(1),
        WriterJob::WritePacked(packed) => packed.len() * 8,
        _ => 1,
    }
}

fn fail(waiting: Vec<Reply<()>>, error: &JournalError) {
    for done in waiting {
        let _ = done.send(Err(error.clone()));
    }
}
