//! The writer: one thread that owns the only connection that writes.
//!
//! It drains its queue into one transaction, so that a burst costs one commit, and answers each commit after that
//! transaction. When the database refuses, every entry stays in memory and is tried again, those of a commit that was
//! answered with an error too: the engine has taken them in, and the journal must not tell another story. It never
//! blocks whoever hands over, and never loses an entry without saying so.

use std::collections::VecDeque;
use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use heald_engine::ports::{Durability, JournalError};
use heald_model::{Entry, Moment, Record, Row};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{broadcast, oneshot};

use crate::error::{is_damage, unavailable};
use crate::lock::Lock;
use crate::maintenance::Chore;
use crate::project::{self, Draft, Projection};
use crate::replay_writer::{Packed, Tally};
use crate::retention::{self, Cutoffs, Trimmed};
use crate::row::{self, Origin, Stamped};

/// Entries in one transaction. More would make the first commit in it wait for the last.
const BATCH: usize = 1024;
/// Entries kept while the database refuses: some minutes of a bad day, about 20 MB.
const BACKLOG: usize = 20_000;
/// The first retry comes soon (somebody's `sqlite3` prompt), later ones seldom (a full disk).
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Rows between two checkpoints: the log stays at a few MB.
const CHECKPOINT: usize = 2_000;
/// The bytes of a blob that weigh as much as a row there.
const ROW: usize = 512;

/// What the writer is asked.
#[derive(Debug)]
pub(crate) enum Job {
    Write(Vec<Stamped>),
    Commit {
        entries: Vec<Stamped>,
        durability: Durability,
        done: Done<()>,
    },
    Rebuild(Done<()>),
    /// What the archivist packed.
    Shelve(Vec<Packed>),
    Trim {
        cutoffs: Cutoffs,
        done: Option<Done<Trimmed>>,
    },
    /// The janitor's look at all pages found damage.
    Suspect(String),
    Close,
}

type Done<T> = oneshot::Sender<Result<T, JournalError>>;

/// What the database refuses to take now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// Its word.
    pub why: String,
    /// Entries kept in memory, to be written when it takes them again.
    pub kept: usize,
    /// Entries that did not fit there.
    pub lost: u64,
}

/// What others may see of the writer.
#[derive(Debug, Default)]
pub(crate) struct Plight(Mutex<Option<Degraded>>);

impl Plight {
    pub(crate) fn get(&self) -> Option<Degraded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, plight: Option<Degraded>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = plight;
    }
}

/// Entries on their way into one transaction, and who waits for it.
#[derive(Debug, Default)]
struct Batch {
    entries: Vec<Stamped>,
    waiting: Vec<Done<()>>,
    full: bool,
}

/// Retention under way.
#[derive(Debug)]
struct Trim {
    cutoffs: Cutoffs,
    so_far: Trimmed,
    done: Option<Done<Trimmed>>,
}

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) lock: Lock,
    pub(crate) origin: Origin,
    pub(crate) projection: Projection,
    /// The newest row.
    pub(crate) seq: u64,
    pub(crate) jobs: Receiver<Job>,
    pub(crate) rows: broadcast::Sender<Arc<Row>>,
    pub(crate) plight: Arc<Plight>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) chores: Sender<Chore>,
    pub(crate) state: State,
}

/// What comes and goes.
#[derive(Debug, Default)]
pub(crate) struct State {
    backlog: VecDeque<Stamped>,
    lost: u64,
    trim: Option<Trim>,
    /// When the database refused last, and how long until it is tried again.
    refused: Option<(Instant, Duration, String)>,
    /// Damage was found: an end to writing until the next opening sets the file aside.
    damage: Option<String>,
    since_checkpoint: usize,
    closing: bool,
}

impl Writer {
    /// Works until it is told to close or nobody is left to tell it anything.
    pub(crate) fn run(mut self) {
        while !self.state.closing {
            let jobs = self.gather();
            let mut batch = Batch::default();
            for job in jobs {
                match job {
                    Job::Write(entries) => batch.entries.extend(entries),
                    Job::Commit { entries, durability, done } => {
                        batch.entries.extend(entries);
                        batch.full |= durability == Durability::Machine;
                        batch.waiting.push(done);
                    }
                    other => {
                        self.write(mem::take(&mut batch));
                        self.see_to(other);
                    }
                }
            }
            self.write(batch);
        }
        self.end();
    }

    /// The next jobs, in order. Waits for the first, unless there is something to do meanwhile.
    fn gather(&mut self) -> Vec<Job> {
        let first = if self.state.trim.is_some() {
            match self.jobs.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Empty) => {
                    self.trim();
                    None
                }
                Err(TryRecvError::Disconnected) => Some(Job::Close),
            }
        } else if let Some(wait) = self.until_retry() {
            match self.jobs.recv_timeout(wait) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Job::Close),
            }
        } else {
            Some(self.jobs.recv().unwrap_or(Job::Close))
        };
        let Some(first) = first else { return Vec::new() };
        let mut size = weight(&first);
        let mut jobs = vec![first];
        while size < BATCH {
            let Ok(job) = self.jobs.try_recv() else { break };
            size += weight(&job);
            jobs.push(job);
        }
        jobs
    }

    fn until_retry(&self) -> Option<Duration> {
        let (at, wait, _) = self.state.refused.as_ref()?;
        Some(wait.saturating_sub(at.elapsed()))
    }

    fn see_to(&mut self, job: Job) {
        match job {
            Job::Rebuild(done) => {
                let rebuilt = self.rebuild();
                let _ = done.send(rebuilt);
            }
            Job::Trim { cutoffs, done } => {
                if let Some(before) = self.state.trim.take() {
                    before.finish();
                }
                self.state.trim = Some(Trim { cutoffs, so_far: Trimmed::default(), done });
            }
            Job::Shelve(packed) => self.shelve(&packed),
            Job::Suspect(why) => self.damaged(why),
            Job::Close => self.state.closing = true,
            Job::Write(_) | Job::Commit { .. } => {}
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
        // While it refuses, it is not asked again at every word. Who waits is told at once.
        let resting = self.until_retry().filter(|wait| !wait.is_zero()).and(self.state.refused.clone());
        if let Some((_, _, why)) = resting {
            self.keep(entries);
            self.tell(&why);
            return fail(waiting, &JournalError::Unavailable(why));
        }
        let backlog = mem::take(&mut self.state.backlog);
        let kept = backlog.len();
        let all: Vec<Stamped> = backlog.into_iter().chain(entries).collect();
        match self.transact(&all, full) {
            Ok(rows) => {
                for done in waiting {
                    let _ = done.send(Ok(()));
                }
                self.after(rows);
                if self.state.refused.take().is_some() {
                    self.recovered(kept);
                }
            }
            Err(error) => {
                self.keep(all);
                if is_damage(&error) {
                    self.damaged(error.to_string());
                } else {
                    self.refused(&error.to_string());
                }
                fail(waiting, &unavailable(&error));
            }
        }
    }

    /// One transaction: the rows and all that follows from them.
    fn transact(&mut self, entries: &[Stamped], full: bool) -> rusqlite::Result<Vec<Row>> {
        if let Some(why) = &self.state.damage {
            let damage = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(rusqlite::Error::SqliteFailure(damage, Some(why.clone())));
        }
        if full {
            self.connection.pragma_update(None, "synchronous", "full")?;
        }
        let written = self.transact_as_set(entries, full);
        if full {
            self.connection.pragma_update(None, "synchronous", "normal")?;
        }
        written
    }

    fn transact_as_set(&mut self, entries: &[Stamped], full: bool) -> rusqlite::Result<Vec<Row>> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let places = (self.seq + 1)..;
        let rows: Vec<Row> = places.zip(entries).map(|(seq, entry)| entry.row(seq, &self.origin)).collect();
        let mut draft = Draft::new(&tx, &self.projection);
        for row in &rows {
            row::insert(&tx, row)?;
            draft.absorb(row)?;
        }
        let changes = draft.finish()?;
        if full && rows.is_empty() {
            // Syncing happens only with something to write, and what was written before must be synced too.
            tx.execute("UPDATE meta SET value = value", [])?;
        }
        tx.commit()?;
        self.projection.adopt(changes);
        self.seq += rows.len() as u64;
        Ok(rows)
    }

    fn after(&mut self, rows: Vec<Row>) {
        let count = rows.len();
        for row in rows {
            // Nobody listening is no fault.
            let _ = self.rows.send(Arc::new(row));
        }
        self.advance(count);
    }

    /// So many rows more are in the log.
    fn advance(&mut self, rows: usize) {
        self.state.since_checkpoint += rows;
        if self.state.since_checkpoint >= CHECKPOINT {
            self.state.since_checkpoint = 0;
            let _ = self.chores.send(Chore::Checkpoint);
        }
    }

    fn keep(&mut self, entries: Vec<Stamped>) {
        for entry in entries {
            if self.state.backlog.len() < BACKLOG {
                self.state.backlog.push_back(entry);
            } else {
                self.state.lost += 1;
            }
        }
    }

    fn refused(&mut self, why: &str) {
        let wait = match &self.state.refused {
            Some((_, wait, _)) => (*wait * 2).min(RETRY.1),
            None => {
                tracing::error!(why, "the journal cannot be written; entries are kept in memory");
                RETRY.0
            }
        };
        self.state.refused = Some((Instant::now(), wait, why.to_owned()));
        self.tell(why);
    }

    fn damaged(&mut self, why: String) {
        tracing::error!(why, "the journal is damaged; it will be set aside when heald next starts");
        self.lock.mark(true);
        self.refused(&why);
        self.state.damage = Some(why);
    }

    fn tell(&self, why: &str) {
        let (kept, lost) = (self.state.backlog.len(), self.state.lost);
        self.plight.set(Some(Degraded { why: why.to_owned(), kept, lost }));
    }

    fn recovered(&mut self, kept: usize) {
        let lost = mem::take(&mut self.state.lost);
        tracing::warn!(kept, lost, "the journal can be written again");
        self.plight.set(None);
        if lost > 0 {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let text = format!("{lost} entries were lost while the journal could not be written");
            let entry = Entry::of_heald(Moment::EPOCH + now, Record::Note { text });
            self.write(Batch { entries: Stamped::all(vec![entry]), ..Batch::default() });
        }
    }

    /// Writes what is kept for replay. What is refused is lost: no entry waits behind it.
    fn shelve(&mut self, packed: &[Packed]) {
        self.tally.waiting.fetch_sub(packed.len(), std::sync::atomic::Ordering::Relaxed);
        if let Some((_, _, why)) = &self.state.refused {
            return self.tally.lose(packed.len(), why);
        }
        let written = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            packed.iter().try_for_each(|packed| packed.insert(&tx))?;
            tx.commit()
        });
        match written {
            Ok(()) => {
                let bytes: usize = packed.iter().map(Packed::len).sum();
                self.advance(packed.len() + bytes / ROW);
            }
            Err(error) => {
                self.tally.lose(packed.len(), &error.to_string());
                if is_damage(&error) {
                    self.damaged(error.to_string());
                }
            }
        }
    }

    fn rebuild(&mut self) -> Result<(), JournalError> {
        let rebuilt = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            let projection = project::rebuild(&tx)?;
            tx.commit().map(|()| projection)
        });
        self.projection = rebuilt.map_err(|error| unavailable(&error))?;
        Ok(())
    }

    /// One portion of retention.
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
        // Leaves one file behind; a failure only means that the log is read again at the next opening.
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::debug!(%error, "the log is left for the next opening");
        }
    }
}

impl Trim {
    fn finish(self) {
        if self.so_far != Trimmed::default() {
            let Trimmed { rows, incidents, attempts, calls, chunks } = self.so_far;
            tracing::info!(rows, incidents, attempts, calls, chunks, "what is old was deleted from the journal");
        }
        if let Some(done) = self.done {
            let _ = done.send(Ok(self.so_far));
        }
    }
}

fn weight(job: &Job) -> usize {
    match job {
        Job::Write(entries) | Job::Commit { entries, .. } => entries.len().max(1),
        Job::Shelve(packed) => packed.len() * 8,
        _ => 1,
    }
}

fn fail(waiting: Vec<Done<()>>, error: &JournalError) {
    for done in waiting {
        let _ = done.send(Err(error.clone()));
    }
}
