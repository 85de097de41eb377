//! Reading: a few read-only connections, each used by one blocking task at a time.
//!
//! Readers never make the writer wait, and the writer never makes them wait. They write nothing. A reader keeps the log
//! from being emptied, so a read that takes too long is cut.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use heald_control::{IncidentQuery, Page};
use heald_engine::learn::Catalog;
use heald_model::JournalError;
use heald_model::{Attempt, Entry, Event, Incident, IncidentId, Moment, ServiceName};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, InterruptHandle, OptionalExtension, params, params_from_iter};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::error::unavailable;
use crate::row::{self, from_json, moment, wall};
use crate::schema;

/// How many reads run at the same time. More would only share the same disk and the same two cores.
const READERS: usize = 4;

/// How many of its newest attempts an incident in a list carries. A single incident carries all of them.
const LISTED_ATTEMPTS: u32 = 20;

/// How long a read may take. Whoever asks for more than can be read in this time asks for too much.
pub(crate) const LONGEST_READ: Duration = Duration::from_secs(5);

/// How often a read that is to end is interrupted: SQLite forgets an interruption that falls between two statements.
const INTERRUPTION: Duration = Duration::from_millis(20);

/// The read-only connections.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turn: Semaphore,
    running: Mutex<Running>,
}

/// The reads under way, by a number of their own.
#[derive(Default)]
struct Running {
    next: u64,
    reads: BTreeMap<u64, (Instant, InterruptHandle)>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.reads.keys()).finish()
    }
}

/// Takes a read off the list when it ends, however it ends.
struct Listed<'a>(&'a Readers, u64);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.running().reads.remove(&self.1);
    }
}

impl Readers {
    pub(crate) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, idle: Mutex::default(), turn: Semaphore::new(READERS), running: Mutex::default() })
    }

    /// Runs `f` on a connection in one transaction, so that everything it reads is of the same instant. It is cut when it
    /// takes too long.
    pub(crate) async fn read<T, F>(self: &Arc<Self>, f: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let turn = self.turn.acquire().await.map_err(|_| JournalError::Closed)?;
        let readers = Arc::clone(self);
        let number = {
            let mut running = self.running();
            running.next += 1;
            running.next
        };
        let mut reading = tokio::task::spawn_blocking(move || readers.run(Some(number), f));
        let mut patience = LONGEST_READ;
        let read = loop {
            match tokio::time::timeout(patience, &mut reading).await {
                Ok(read) => break read,
                Err(_) => {
                    if let Some((_, read)) = self.running().reads.get(&number) {
                        read.interrupt();
                    }
                    patience = INTERRUPTION;
                }
            }
        };
        drop(turn);
        answer(read)
    }

    /// The same for what heald must know when it starts, however long it takes: nothing cuts it.
    pub(crate) async fn read_at_start<T, F>(self: &Arc<Self>, f: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let turn = self.turn.acquire().await.map_err(|_| JournalError::Closed)?;
        let readers = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || readers.run(None, f)).await;
        drop(turn);
        answer(read)
    }

    fn run<T>(&self, number: Option<u64>, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => schema::reader(&self.path)?,
        };
        let listed = number.map(|number| {
            self.running().reads.insert(number, (Instant::now(), connection.get_interrupt_handle()));
            Listed(self, number)
        });
        let tx = connection.transaction()?;
        let value = f(&tx)?;
        tx.finish()?;
        drop(listed);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(value)
    }

    /// Interrupts the reads that have taken longer than this.
    pub(crate) fn cut(&self, longer_than: Duration) {
        for (since, read) in self.running().reads.values() {
            if since.elapsed() >= longer_than {
                read.interrupt();
            }
        }
    }

    /// Closes the idle connections.
    pub(crate) fn close(&self) {
        self.turn.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer<T>(read: Result<rusqlite::Result<T>, tokio::task::JoinError>) -> Result<T, JournalError> {
    let read = read.map_err(|error| JournalError::Unavailable(error.to_string()))?;
    read.map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => JournalError::Unavailable(
            "the read was ended because it took too long and kept the journal's log from being shortened; ask for less"
                .into(),
        ),
        _ => unavailable(&error),
    })
}

/// A page of incidents without their timelines, the most recently updated first.
pub(crate) fn incidents(connection: &Connection, query: &IncidentQuery) -> rusqlite::Result<Page<Incident>> {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    if let Some(service) = &query.service {
        conditions.push("service = ?");
        values.push(Value::from(service.as_str().to_owned()));
    }
    if let Some(stage) = query.stage {
        conditions.push("stage = ?");
        values.push(Value::from(stage.as_str().to_owned()));
    }
    if query.open {
        conditions.push("stage <> 'resolved'");
    }
    let filter = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let total = connection
        .prepare_cached(&format!("SELECT count(*) FROM incidents {filter}"))?
        .query_row(params_from_iter(&values), |row| row.get(0))?;
    values.extend([Value::from(query.limit), Value::from(query.offset)]);
    let sql = format!("SELECT body FROM incidents {filter} ORDER BY updated DESC, id DESC LIMIT ? OFFSET ?");
    let mut items: Vec<Incident> = bodies(connection, &sql, params_from_iter(&values))?;
    for incident in &mut items {
        incident.attempts = attempts_of(connection, incident.id, LISTED_ATTEMPTS)?;
    }
    Ok(Page { items, total })
}

/// One incident with all its attempts and its timeline.
pub(crate) fn incident(connection: &Connection, id: IncidentId) -> rusqlite::Result<Option<Incident>> {
    let body = connection
        .prepare_cached("SELECT body FROM incidents WHERE id = ?")?
        .query_row([id.0.as_bytes()], |row| row.get::<_, String>(0))
        .optional()?;
    body.map(|body| whole(connection, from_json(&body)?)).transpose()
}

/// The ids that begin with these hexadecimal digits, newest first.
pub(crate) fn ids(connection: &Connection, beginning: &str, limit: u32) -> rusqlite::Result<Vec<IncidentId>> {
    let digits: String = beginning.chars().filter(|c| *c != '-').collect::<String>().to_lowercase();
    connection
        .prepare_cached(
            "SELECT id FROM incidents WHERE substr(lower(hex(id)), 1, length(?1)) = ?1 ORDER BY id DESC LIMIT ?2",
        )?
        .query_map(params![digits, limit], |row| Ok(IncidentId(Uuid::from_bytes(row.get(0)?))))?
        .collect()
}

/// Every incident that is not resolved, with attempts and timeline, oldest first.
pub(crate) fn open_incidents(connection: &Connection) -> rusqlite::Result<Vec<Incident>> {
    let sql = "SELECT body FROM incidents WHERE stage <> 'resolved' ORDER BY opened, id";
    let open: Vec<Incident> = bodies(connection, sql, [])?;
    open.into_iter().map(|incident| whole(connection, incident)).collect()
}

/// Every incident resolved at or after `since`, with attempts and timeline, oldest first.
pub(crate) fn resolved_since(connection: &Connection, since: Moment) -> rusqlite::Result<Vec<Incident>> {
    let sql = "SELECT body FROM incidents INDEXED BY incidents_over WHERE stage = 'resolved' AND updated >= ?
               ORDER BY opened, id";
    let over: Vec<Incident> = bodies(connection, sql, [wall(since)])?;
    let lately = over.into_iter().filter(|incident| incident.resolved >= Some(since));
    lately.map(|incident| whole(connection, incident)).collect()
}

fn whole(connection: &Connection, mut incident: Incident) -> rusqlite::Result<Incident> {
    incident.attempts = attempts_of(connection, incident.id, u32::MAX)?;
    incident.timeline = connection
        .prepare_cached("SELECT at, kind, source, text FROM timeline WHERE incident = ? ORDER BY line")?
        .query_map([incident.id.0.as_bytes()], |row| {
            Ok(Event { at: moment(row.get(0)?), kind: row.get(1)?, source: row.get(2)?, text: row.get(3)? })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(incident)
}

/// The newest attempts of an incident, oldest first.
fn attempts_of(connection: &Connection, id: IncidentId, limit: u32) -> rusqlite::Result<Vec<Attempt>> {
    let sql = "SELECT body FROM attempts WHERE incident = ? ORDER BY place DESC LIMIT ?";
    let mut attempts = bodies(connection, sql, params![id.0.as_bytes(), limit])?;
    attempts.reverse();
    Ok(attempts)
}

/// Attempts, newest first.
pub(crate) fn attempts(
    connection: &Connection,
    service: Option<&ServiceName>,
    limit: u32,
    offset: u32,
) -> rusqlite::Result<Page<Attempt>> {
    let filter = if service.is_some() { "WHERE service = ?" } else { "" };
    let mut values: Vec<Value> = service.iter().map(|service| Value::from(service.as_str().to_owned())).collect();
    let total = connection
        .prepare_cached(&format!("SELECT count(*) FROM attempts {filter}"))?
        .query_row(params_from_iter(&values), |row| row.get(0))?;
    values.extend([Value::from(limit), Value::from(offset)]);
    let sql = format!("SELECT body FROM attempts {filter} ORDER BY at DESC, place DESC LIMIT ? OFFSET ?");
    Ok(Page { items: bodies(connection, &sql, params_from_iter(&values))?, total })
}

/// The entries since `since` that the guard's ledger is made of, oldest first.
pub(crate) fn entries_since(connection: &Connection, since: Moment) -> rusqlite::Result<Vec<Entry>> {
    // The condition on `kind` is the one of the index journal_ledger, word for word; otherwise SQLite would not use it.
    let sql = format!(
        "SELECT {} FROM journal WHERE kind IN ('intended', 'settled', 'relapsed', 'opened', 'staged', 'dependency-returned', 'process-started', 'process-exited', 'reset')
         AND wall >= ? ORDER BY seq",
        row::COLUMNS
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([wall(since)], row::read)?;
    rows.map(|row| row.map(|row| row.entry)).collect()
}

/// The moves of plug-ins that are in the journal, oldest first. This reads every row.
pub(crate) fn plugin_moves(connection: &Connection) -> rusqlite::Result<Vec<Entry>> {
    let sql = format!("SELECT {} FROM journal WHERE kind = 'plugin-moved' ORDER BY seq", row::COLUMNS);
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], row::read)?;
    rows.map(|row| row.map(|row| row.entry)).collect()
}

/// The whole catalog.
pub(crate) fn catalog(connection: &Connection) -> rusqlite::Result<Catalog> {
    crate::project::read_catalog(connection, false)
}

/// The sequence number of the newest row; 0 if there is none.
pub(crate) fn newest(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT coalesce(max(seq), 0) FROM journal", [], |row| row.get(0))
}

/// Reads plain data from the first column of each row. A body that cannot be read is left out and logged.
fn bodies<T: DeserializeOwned>(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        match serde_json::from_str(row.get_ref(0)?.as_str()?) {
            Ok(item) => items.push(item),
            Err(error) => tracing::error!(%error, "a projection cannot be read"),
        }
    }
    Ok(items)
}
