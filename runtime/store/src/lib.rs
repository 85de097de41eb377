//! The journal, what is derived from it, and the desired state of the services.
//!
//! [`Store`] implements the engine's ports [`Journal`] and [`History`] on SQLite. One thread writes (writer.rs): it
//! drains its queue into one transaction of rows and projections, and answers commits after it. Readers have connections
//! of their own (read.rs). Data for replay (calls of plug-ins, and the tape of everything that detectors were given) is
//! packed on another thread (replay_writer.rs) and dropped rather than let an entry wait. [`Archive`] reads a database
//! from outside, beside a running heald or a copy. [`DesiredStateFile`] implements
//! [`DesiredStates`](heald_engine::ports::DesiredStates) on a file beside the database.
//!
//! It refuses to open a database that another heald uses, that a newer heald wrote, or that is not heald's. It refuses
//! to delete a damaged one, and to lose an entry without reporting it.
#![forbid(unsafe_code)]

mod archive;
mod blob;
mod calls;
mod checkpoint;
mod chunk;
mod columns;
mod config;
mod desired_state;
mod error;
mod files;
mod health;
mod jobs;
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
use heald_control::{History, IncidentQuery, Page};
use heald_engine::learn::Catalog;
use heald_engine::ports::{Durability, Journal};
use heald_model::JournalError;
use heald_model::{Attempt, Entry, Experience, Incident, IncidentId, Moment, Row, ServiceName};
use heald_model::{CallQuery, Recording};
use tokio::sync::{broadcast, oneshot};

pub use crate::archive::{Archive, TapeReader};
pub use crate::calls::{CallPage, UnreadableCall};
pub use crate::config::StoreConfig;
pub use crate::desired_state::{DesiredStateFile, OpenedDesiredState};
pub use crate::error::StoreError;
pub use crate::files::{read_file, read_text, replace_file, set_aside};
pub use crate::health::Degraded;
pub use crate::retention::Trimmed;
pub use crate::row::NodeIdentity;
pub use crate::tape::{TapeChunk, TapePosition};

use crate::checkpoint::LogSize;
use crate::health::{ReplayCounters, WriterHealth};
use crate::jobs::{MaintenanceJob, WriterJob};
use crate::lock::Lock;
use crate::project::Projection;
use crate::read::Readers;
use crate::replay_writer::ReplayWriter;
use crate::retention::Cutoffs;
use crate::row::StampedEntry;
use crate::schema::Database;
use crate::writer::{JournalWriter, WriterState};

/// How many rows a slow subscriber may lag behind. Beyond that it is told so and reads [`History::rows`].
const SUBSCRIPTION: usize = 4096;

/// The open store.
#[derive(Debug)]
pub struct Store {
    jobs: Sender<WriterJob>,
    maintenance: Sender<MaintenanceJob>,
    rows: broadcast::Sender<Arc<Row>>,
    readers: Arc<Readers>,
    health: Arc<WriterHealth>,
    counters: Arc<ReplayCounters>,
    replay_writer: ReplayWriter,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The opened store, and what was found while opening it.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Notes for the operator, such as a damaged database that was set aside.
    pub notes: Vec<String>,
}

impl Store {
    /// Opens the store or creates it. This blocks for a few milliseconds. A damaged database is set aside and reported
    /// in the notes.
    ///
    /// # Errors
    /// When the database is in use, newer than this heald, not heald's, or the file system or SQLite refuses.
    pub fn open(config: &StoreConfig, identity: NodeIdentity) -> Result<Opened, StoreError> {
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
        let (maintenance, list) = mpsc::channel();
        let (rows, _) = broadcast::channel(SUBSCRIPTION);
        let health = Arc::new(WriterHealth::default());
        let counters = Arc::new(ReplayCounters::default());
        let readers = Readers::new(config.path.clone());
        let mut writer = JournalWriter {
            seq: 0,
            log: LogSize::of(&connection),
            readers: Arc::clone(&readers),
            projection: Projection::default(),
            connection,
            lock,
            identity,
            jobs: queue,
            rows: rows.clone(),
            health: Arc::clone(&health),
            counters: Arc::clone(&counters),
            maintenance: maintenance.clone(),
            state: WriterState::default(),
        };
        writer.load_state().map_err(|source| StoreError::Database { path: path.into(), source })?;
        if !examined {
            let _ = maintenance.send(MaintenanceJob::Examine);
        }
        let failed = |source| StoreError::Io { path: path.into(), source };
        let (its_config, its_jobs) = (config.clone(), jobs.clone());
        let threads = vec![
            std::thread::Builder::new().name("journal".into()).spawn(move || writer.run()).map_err(failed)?,
            std::thread::Builder::new()
                .name("journal-maint".into())
                .spawn(move || maintenance::run(&its_config, &list, &its_jobs))
                .map_err(failed)?,
        ];
        let wanted = (!config.tape.is_zero(), !config.calls.is_zero());
        let replay_writer =
            ReplayWriter::start(jobs.clone(), Arc::clone(&health), Arc::clone(&counters), wanted).map_err(failed)?;
        let threads = Mutex::new(threads);
        Ok(Opened { store: Self { jobs, maintenance, rows, readers, health, counters, replay_writer, threads }, notes })
    }

    /// Why the database cannot be written now; `None` if all is well.
    pub fn degraded(&self) -> Option<Degraded> {
        self.health.get()
    }

    /// How many calls and looks were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.counters.dropped()
    }

    /// Writes everything that was handed over for replay, unfinished chunks of the tape included.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn flush(&self) -> Result<(), JournalError> {
        self.replay_writer.flush().await;
        self.commit(Vec::new(), Durability::Process).await
    }

    /// One page of kept calls.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn calls(&self, query: CallQuery) -> Result<CallPage, JournalError> {
        self.readers.read(move |connection| calls::read(connection, &query)).await
    }

    /// The services that have a tape.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn taped(&self) -> Result<Vec<ServiceName>, JournalError> {
        self.readers.read(tape::services).await
    }

    /// Where to begin reading the tape of a service, so that all looks since `since` can be understood. The first looks
    /// may be from before.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn tape(&self, service: ServiceName, since: Moment) -> Result<TapePosition, JournalError> {
        self.readers.read(move |connection| tape::begin(connection, &service, since)).await
    }

    /// The next chunk of a service's tape, and where to go on; `None` at its end.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn looks(
        &self,
        service: ServiceName,
        mut from: TapePosition,
    ) -> Result<Option<(TapeChunk, TapePosition)>, JournalError> {
        let read = move |connection: &rusqlite::Connection| {
            let chunk = tape::next(connection, &service, &mut from)?;
            Ok(chunk.map(|chunk| (chunk, from)))
        };
        self.readers.read(read).await
    }

    /// Every incident that is not resolved, with attempts and timeline, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open_incidents(&self) -> Result<Vec<Incident>, JournalError> {
        self.readers.read_at_start(read::open_incidents).await
    }

    /// Incidents resolved at or after `since`, with attempts and timeline, oldest first. They can reopen.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn resolved_since(&self, since: Moment) -> Result<Vec<Incident>, JournalError> {
        self.readers.read_at_start(move |connection| read::resolved_since(connection, since)).await
    }

    /// The entries since `since` that the guard's ledger is made of, oldest first: intended, settled, relapsed, opened,
    /// staged, dependency-returned, process-started, process-exited, reset.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn entries_since(&self, since: Moment) -> Result<Vec<Entry>, JournalError> {
        self.readers.read_at_start(move |connection| read::entries_since(connection, since)).await
    }

    /// Every recorded move of a plug-in, oldest first. It reads the whole journal.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn plugin_moves(&self) -> Result<Vec<Entry>, JournalError> {
        self.readers.read_at_start(read::plugin_moves).await
    }

    /// The fix catalog, with everything it needs to go on learning.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn learned(&self) -> Result<Catalog, JournalError> {
        self.readers.read_at_start(read::catalog).await
    }

    /// Deletes everything that is closed and older than `cutoff`, in portions between other work, and returns when that
    /// is done. The store does the same every hour, by its configured retention.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn trim(&self, cutoff: Moment) -> Result<Trimmed, JournalError> {
        self.ask(|done| WriterJob::Trim { cutoffs: Cutoffs::all(cutoff), done: Some(done) }).await
    }

    /// Writes what was handed over and closes the files. Nothing is accepted afterwards. It blocks until this is done.
    /// Dropping the store does the same.
    pub fn close(&self) {
        let _ = self.maintenance.send(MaintenanceJob::Close);
        // It has the last of the tape to hand over.
        self.replay_writer.close();
        let _ = self.jobs.send(WriterJob::Close);
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
        job: impl FnOnce(oneshot::Sender<Result<T, JournalError>>) -> WriterJob,
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

#[async_trait]
impl Journal for Store {
    fn keep(&self, kept: Recording) {
        self.replay_writer.take(kept);
    }

    fn write(&self, entries: Vec<Entry>) {
        if !entries.is_empty() && self.jobs.send(WriterJob::Write(StampedEntry::all(entries))).is_err() {
            tracing::error!("the journal is closed; entries handed to it are lost");
        }
    }

    /// [`JournalError::Unavailable`] means that the entries are not durable yet. They are kept in memory, in order, and
    /// written as soon as possible. The caller must not hand them over again.
    async fn commit(&self, entries: Vec<Entry>, durability: Durability) -> Result<(), JournalError> {
        let entries = StampedEntry::all(entries);
        self.ask(|done| WriterJob::Commit { entries, durability, done }).await
    }
}

#[async_trait]
impl History for Store {
    /// Listed incidents carry their newest attempts and no timeline; [`History::incident`] gives the whole incident.
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
