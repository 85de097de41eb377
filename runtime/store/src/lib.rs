//! heald's memory: the journal, what is derived from it, and what the operator wants.
//!
//! [`Store`] implements the engine's ports [`Journal`] and [`History`] on SQLite. One thread writes (writer.rs): it
//! drains its queue into one transaction of rows and projections and answers commits after it. Reads have connections
//! of their own (read.rs). What is kept for replay, calls of plug-ins and the tape of what detectors were shown, is packed
//! on another thread (replay_writer.rs) and dropped rather than let an entry wait. [`Archive`] reads a database from outside, beside a
//! running heald or a copy. [`WishFile`] implements [`Wishes`](heald_engine::ports::Wishes) on a file beside the
//! database.
//!
//! What it refuses: to open a database that another heald uses, that a newer heald wrote, or that is not heald's; to
//! delete a damaged one; to lose an entry without saying so.
#![forbid(unsafe_code)]

mod archive;
mod blob;
mod calls;
mod chunk;
mod columns;
mod config;
mod desired_state;
mod error;
mod lock;
mod maintenance;
mod project;
mod read;
mod replay_writer;
mod retention;
mod row;
mod schema;
mod tape;
mod writer;

use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use heald_engine::calls::{CallQuery, Kept};
use heald_engine::learn::Catalog;
use heald_engine::ports::{Durability, History, IncidentQuery, Journal, JournalError, Page};
use heald_model::{Attempt, Entry, Experience, Incident, IncidentId, Moment, Row, ServiceName};
use rusqlite::TransactionBehavior;
use tokio::sync::{broadcast, oneshot};

pub use crate::archive::{Archive, Looks};
pub use crate::calls::{Calls, UnreadableCall};
pub use crate::config::StoreConfig;
pub use crate::desired_state::{OpenedWishes, WishFile, replace_file};
pub use crate::error::StoreError;
pub use crate::read::ServiceRecord;
pub use crate::retention::Trimmed;
pub use crate::row::Origin;
pub use crate::tape::{Place, Strip};
pub use crate::writer::Degraded;

use crate::lock::Lock;
use crate::maintenance::Chore;
use crate::project::Projection;
use crate::read::Readers;
use crate::replay_writer::{Archivist, Tally};
use crate::retention::Cutoffs;
use crate::row::Stamped;
use crate::schema::Database;
use crate::writer::{Job, Plight, State, Writer};

/// Rows kept for a subscriber that is slow to read; beyond them it learns that it lags and reads [`History::rows`].
const SUBSCRIPTION: usize = 4096;

/// The open store.
#[derive(Debug)]
pub struct Store {
    jobs: Sender<Job>,
    chores: Sender<Chore>,
    rows: broadcast::Sender<Arc<Row>>,
    readers: Arc<Readers>,
    plight: Arc<Plight>,
    tally: Arc<Tally>,
    archivist: Archivist,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The store, and what was found when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// What an operator should know, such as a damaged database that was set aside.
    pub notes: Vec<String>,
}

impl Store {
    /// Opens the store, or makes it. Blocks for a few milliseconds; a damaged database is set aside and told in the
    /// notes.
    ///
    /// # Errors
    /// When the database is in use, newer than this heald, not heald's, or the file system or SQLite refuses.
    pub fn open(config: &StoreConfig, origin: Origin) -> Result<Opened, StoreError> {
        let path = config.path.as_path();
        if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
            fs::create_dir_all(folder).map_err(|source| StoreError::Io { path: folder.into(), source })?;
        }
        let mut lock = Lock::take(path)?;
        let Database { connection, notes, examined } = schema::open(path, lock.suspect)?;
        if lock.suspect {
            lock.mark(false);
        }
        let (jobs, queue) = mpsc::channel();
        let (chores, list) = mpsc::channel();
        let (rows, _) = broadcast::channel(SUBSCRIPTION);
        let plight = Arc::new(Plight::default());
        let tally = Arc::new(Tally::default());
        let mut writer = Writer {
            seq: 0,
            projection: Projection::default(),
            connection,
            lock,
            origin,
            jobs: queue,
            rows: rows.clone(),
            plight: Arc::clone(&plight),
            tally: Arc::clone(&tally),
            chores: chores.clone(),
            state: State::default(),
        };
        writer.recall().map_err(|source| StoreError::Database { path: path.into(), source })?;
        if !examined {
            let _ = chores.send(Chore::Examine);
        }
        let failed = |source| StoreError::Io { path: path.into(), source };
        let (its_config, its_jobs) = (config.clone(), jobs.clone());
        let threads = vec![
            std::thread::Builder::new().name("journal".into()).spawn(move || writer.run()).map_err(failed)?,
            std::thread::Builder::new()
                .name("journal-janitor".into())
                .spawn(move || maintenance::run(&its_config, &list, &its_jobs))
                .map_err(failed)?,
        ];
        let wanted = (!config.tape.is_zero(), !config.calls.is_zero());
        let archivist =
            Archivist::start(jobs.clone(), Arc::clone(&plight), Arc::clone(&tally), wanted).map_err(failed)?;
        let readers = Readers::new(config.path.clone());
        let threads = Mutex::new(threads);
        Ok(Opened { store: Self { jobs, chores, rows, readers, plight, tally, archivist, threads }, notes })
    }

    /// What the database refuses to take now; None: all is well.
    pub fn degraded(&self) -> Option<Degraded> {
        self.plight.get()
    }

    /// How many kept calls and looks were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.tally.dropped()
    }

    /// Puts all that was handed over to be kept where it can be read, unfinished chunks of the tape too.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn flush(&self) -> Result<(), JournalError> {
        self.archivist.flush().await;
        self.commit(Vec::new(), Durability::Process).await
    }

    /// One page of kept calls.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn calls(&self, query: CallQuery) -> Result<Calls, JournalError> {
        self.readers.read(move |connection| calls::read(connection, &query)).await
    }

    /// The services that are on tape.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn taped(&self) -> Result<Vec<ServiceName>, JournalError> {
        self.readers.read(tape::services).await
    }

    /// Where to begin reading a service's tape, so that all looks since then can be understood: some of them are from before.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn tape(&self, service: ServiceName, since: Moment) -> Result<Place, JournalError> {
        self.readers.read(move |connection| tape::begin(connection, &service, since)).await
    }

    /// The next piece of a service's tape, and where to go on; None: it ends here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn looks(&self, service: ServiceName, mut from: Place) -> Result<Option<(Strip, Place)>, JournalError> {
        let read = move |connection: &rusqlite::Connection| {
            let strip = tape::next(connection, &service, &mut from)?;
            Ok(strip.map(|strip| (strip, from)))
        };
        self.readers.read(read).await
    }

    /// Every incident that is not resolved, whole, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open_incidents(&self) -> Result<Vec<Incident>, JournalError> {
        self.readers.read(read::open_incidents).await
    }

    /// Incidents resolved at or after `since`, whole, oldest first: those that could come back.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn resolved_since(&self, since: Moment) -> Result<Vec<Incident>, JournalError> {
        self.readers.read(move |connection| read::resolved_since(connection, since)).await
    }

    /// Attempts begun at or after `since`, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn attempts_since(&self, since: Moment) -> Result<Vec<Attempt>, JournalError> {
        self.readers.read(move |connection| read::attempts_since(connection, since)).await
    }

    /// Since then and oldest first, what the guard's ledger is made of: intended, settled, process-started,
    /// process-exited, reset, desired-changed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn entries_since(&self, since: Moment) -> Result<Vec<Entry>, JournalError> {
        self.readers.read(move |connection| read::entries_since(connection, since)).await
    }

    /// The services as the journal last heard of them.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn services(&self) -> Result<Vec<ServiceRecord>, JournalError> {
        self.readers.read(read::services).await
    }

    /// The fix catalog with all it needs to learn on.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn learned(&self) -> Result<Catalog, JournalError> {
        self.readers.read(read::catalog).await
    }

    /// Makes all projections again from the journal.
    ///
    /// # Errors
    /// When the database refuses; the projections are then as they were.
    pub async fn rebuild(&self) -> Result<(), JournalError> {
        self.ask(Job::Rebuild).await
    }

    /// Deletes what is over and older than `cutoff`, a portion at a time between other work, and returns when all is
    /// done. The store does so by itself every hour, by its configured retention.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn trim(&self, cutoff: Moment) -> Result<Trimmed, JournalError> {
        self.ask(|done| Job::Trim { cutoffs: Cutoffs::all(cutoff), done: Some(done) }).await
    }

    /// Writes what was handed over and closes the files. Nothing is taken afterwards. Blocks until it is done; dropping
    /// the store does the same.
    pub fn close(&self) {
        let _ = self.chores.send(Chore::Close);
        // It has the last of the tape to hand over.
        self.archivist.close();
        let _ = self.jobs.send(Job::Close);
        // The last connection to close is the writer's, which then leaves one file without a log.
        self.readers.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the journal has panicked");
            }
        }
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, JournalError>>) -> Job,
    ) -> Result<T, JournalError> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(job(done)).map_err(|_| JournalError::Closed)?;
        answer.await.map_err(|_| JournalError::Closed)?
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl Writer {
    /// Reads what the writer must remember, making the projections anew if another fold made them.
    fn recall(&mut self) -> rusqlite::Result<()> {
        self.seq = read::newest(&self.connection)?;
        if project::version(&self.connection)? == project::VERSION {
            match Projection::load(&self.connection) {
                Ok(projection) => {
                    self.projection = projection;
                    return Ok(());
                }
                Err(rusqlite::Error::FromSqlConversionFailure(_, _, error)) => {
                    tracing::warn!(%error, "the projections cannot be understood");
                }
                Err(error) => return Err(error),
            }
        }
        tracing::info!("making the projections again from the journal");
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let projection = project::rebuild(&tx)?;
        tx.commit()?;
        self.projection = projection;
        Ok(())
    }
}

#[async_trait]
impl Journal for Store {
    fn keep(&self, kept: Kept) {
        self.archivist.take(kept);
    }

    fn write(&self, entries: Vec<Entry>) {
        if !entries.is_empty() && self.jobs.send(Job::Write(Stamped::all(entries))).is_err() {
            tracing::error!("the journal is closed; entries handed to it are lost");
        }
    }

    /// [`JournalError::Unavailable`] means: not safe yet. The entries are kept in memory, in their order, and written
    /// as soon as the database takes them; they must not be handed over again.
    async fn commit(&self, entries: Vec<Entry>, durability: Durability) -> Result<(), JournalError> {
        let entries = Stamped::all(entries);
        self.ask(|done| Job::Commit { entries, durability, done }).await
    }
}

#[async_trait]
impl History for Store {
    /// Listed incidents carry their newest attempts and no timeline; [`History::incident`] gives all of one.
    async fn incidents(&self, query: IncidentQuery) -> Result<Page<Incident>, JournalError> {
        self.readers.read(move |connection| read::incidents(connection, &query)).await
    }

    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, JournalError> {
        self.readers.read(move |connection| read::incident(connection, id)).await
    }

    async fn attempts(
        &self,
        service: Option<ServiceName>,
        limit: u32,
        offset: u32,
    ) -> Result<Page<Attempt>, JournalError> {
        self.readers.read(move |connection| read::attempts(connection, service.as_ref(), limit, offset)).await
    }

    async fn catalog(&self) -> Result<Vec<Experience>, JournalError> {
        self.readers.read(|connection| Ok(read::catalog(connection)?.all())).await
    }

    async fn rows(&self, after: u64, limit: u32) -> Result<Vec<Row>, JournalError> {
        self.readers.read(move |connection| project::rows(connection, after, limit)).await
    }

    async fn newest(&self) -> Result<u64, JournalError> {
        self.readers.read(read::newest).await
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Row>> {
        self.rows.subscribe()
    }
}
