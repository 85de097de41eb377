//! Journal rows to and from their columns. It converts their form and interprets nothing.

use std::time::Duration;

use heald_model::journal::SCHEMA;
use heald_model::{Entry, IncidentId, IntentId, Moment, Record, Row, ServiceName};
use rusqlite::{Connection, Error, params};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

/// Who writes the journal. Every row carries this beside its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node's name.
    pub node: String,
    /// The lease of the node; 0 for a node that works alone.
    pub epoch: u64,
    /// The tenant.
    pub tenant: String,
    /// The boot of the machine.
    pub boot: Uuid,
}

impl NodeIdentity {
    /// The identity of a node that works alone, on this boot of this machine.
    pub fn alone(node: impl Into<String>) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let boot = boot.ok().and_then(|text| Uuid::parse_str(text.trim()).ok()).unwrap_or_default();
        Self { node: node.into(), epoch: 0, tenant: "default".into(), boot }
    }
}

/// An entry, and when it was handed over.
#[derive(Clone, Debug)]
pub(crate) struct StampedEntry {
    pub(crate) entry: Entry,
    pub(crate) mono: u64,
}

impl StampedEntry {
    pub(crate) fn all(entries: Vec<Entry>) -> Vec<Self> {
        let mono = monotonic();
        entries.into_iter().map(|entry| Self { entry, mono }).collect()
    }

    /// The row with this sequence number.
    pub(crate) fn row(&self, seq: u64, identity: &NodeIdentity) -> Row {
        Row {
            seq,
            node: identity.node.clone(),
            epoch: identity.epoch,
            tenant: identity.tenant.clone(),
            schema: SCHEMA,
            mono: self.mono,
            boot: identity.boot,
            entry: self.entry.clone(),
        }
    }
}

fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = Duration::from_secs(now.tv_sec.try_into().unwrap_or_default());
    heald_model::time::nanos(seconds + Duration::from_nanos(now.tv_nsec.try_into().unwrap_or_default()))
}

/// A moment as SQLite's integer. Moments beyond the year 2262 become the largest integer.
pub(crate) fn wall(moment: Moment) -> i64 {
    i64::try_from(moment.nanos()).unwrap_or(i64::MAX)
}

/// The moment of an integer.
pub(crate) fn moment(wall: i64) -> Moment {
    Moment::from_nanos(wall.try_into().unwrap_or_default())
}

/// A number that never comes near SQLite's limit, such as a count or a sequence number.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The attempt that a record belongs to.
pub(crate) fn attempt_of(record: &Record) -> Option<IntentId> {
    match record {
        Record::Intended { intent } => Some(intent.id),
        Record::Performed { intent, .. }
        | Record::Proved { intent, .. }
        | Record::Undone { intent, .. }
        | Record::Settled { intent, .. }
        | Record::Relapsed { intent, .. } => Some(*intent),
        _ => None,
    }
}

/// Plain data as JSON. It cannot fail for the model's types; if it ever does, it is an error and not a panic.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}

/// Plain data from a JSON column.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

/// Appends a row.
pub(crate) fn insert(connection: &Connection, row: &Row) -> rusqlite::Result<()> {
    let entry = &row.entry;
    connection
        .prepare_cached(
            "INSERT INTO journal (seq, wall, mono, boot, node, epoch, tenant, schema, service, incident, attempt, kind, record)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            integer(row.seq),
            wall(entry.at),
            integer(row.mono),
            row.boot.as_bytes(),
            row.node,
            integer(row.epoch),
            row.tenant,
            row.schema,
            entry.service.as_ref().map(ServiceName::as_str),
            entry.incident.as_ref().map(|id| id.0.as_bytes()),
            attempt_of(&entry.record).as_ref().map(|id| id.0.as_bytes()),
            entry.record.kind(),
            json(&entry.record)?,
        ])?;
    Ok(())
}

/// The columns that [`read`] needs, in its order.
pub(crate) const COLUMNS: &str = "seq, wall, mono, boot, node, epoch, tenant, schema, service, incident, record";

/// Reads a row. A record that cannot be understood becomes a note, so that it does not hide the rows behind it.
pub(crate) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let seq = row.get(0)?;
    let text: String = row.get(10)?;
    let record = serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::error!(seq, %error, "a journal row cannot be understood");
        Record::Note { text: format!("row {seq} of the journal cannot be understood: {error}") }
    });
    Ok(Row {
        seq,
        node: row.get(4)?,
        epoch: row.get(5)?,
        tenant: row.get(6)?,
        schema: row.get(7)?,
        mono: row.get(2)?,
        boot: Uuid::from_bytes(row.get(3)?),
        entry: Entry {
            at: moment(row.get(1)?),
            service: row.get::<_, Option<String>>(8)?.map(ServiceName::from),
            incident: row.get::<_, Option<[u8; 16]>>(9)?.map(|bytes| IncidentId(Uuid::from_bytes(bytes))),
            record,
        },
    })
}
