//! The projections: what the journal means for incidents, attempts, the catalog and the services.
//!
//! They are written in the transaction of their rows, so they never disagree with the journal. They are made by the
//! model's own fold ([`Incident::apply`]), so they never disagree with the engine. A [`Draft`] holds the changes of one
//! transaction; the [`Projection`] adopts them once that is committed. Nothing here decides anything.

use std::collections::HashMap;

use heald_engine::learn::{Catalog, FixKey, FixRecord, lesson};
use heald_model::{Attempt, Ending, Incident, IncidentId, Intent, IntentId, Outcome, Record, Row, ServiceName};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::row::{self, from_json, integer, json, wall};

/// The version of the fold. It is raised when the fold changes, so that the projections are made again at the next
/// opening.
pub(crate) const VERSION: i64 = 2;

/// How many rows a rebuild folds between two writes.
const STRIDE: u32 = 1000;

/// An incident without attempts and timeline, and the number of lines in its timeline. The fold needs no more.
#[derive(Clone, Debug, PartialEq)]
struct IncidentHead {
    incident: Incident,
    lines: u64,
}

/// An attempt, and the sequence number of its intent.
#[derive(Clone, Debug, PartialEq)]
struct PlacedAttempt {
    place: u64,
    attempt: Attempt,
}

/// What the writer keeps in memory between transactions, so that an append reads nothing: the heads of open incidents,
/// attempts under way, and the catalog.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Projection {
    heads: HashMap<IncidentId, IncidentHead>,
    attempts: HashMap<IntentId, PlacedAttempt>,
    catalog: Catalog,
}

impl Projection {
    /// Reads the projection from the database.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut projection = Self { catalog: read_catalog(connection, false)?, ..Self::default() };
        let mut statement = connection.prepare("SELECT body, lines FROM incidents WHERE stage <> 'resolved'")?;
        for head in statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))? {
            let (body, lines) = head?;
            let incident: Incident = from_json(&body)?;
            projection.heads.insert(incident.id, IncidentHead { incident, lines });
        }
        let mut statement = connection.prepare("SELECT body, place FROM attempts WHERE settled = 0")?;
        for placed in statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))? {
            let (body, place) = placed?;
            let attempt: Attempt = from_json(&body)?;
            projection.attempts.insert(attempt.intent.id, PlacedAttempt { place, attempt });
        }
        Ok(projection)
    }

    /// Adopts the changes of a committed transaction.
    pub(crate) fn adopt(&mut self, changes: Changes) {
        for (id, head) in changes.heads {
            match head.incident.is_open() {
                true => self.heads.insert(id, head),
                false => self.heads.remove(&id),
            };
        }
        for (id, placed) in changes.attempts {
            match placed.attempt.ending {
                Ending::Unsettled => self.attempts.insert(id, placed),
                _ => self.attempts.remove(&id),
            };
        }
        self.catalog.extend(changes.catalog);
    }
}

/// The changes of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    heads: HashMap<IncidentId, IncidentHead>,
    attempts: HashMap<IntentId, PlacedAttempt>,
    catalog: Catalog,
}

/// The projections of one transaction under way.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    tx: &'a Transaction<'a>,
    known: &'a Projection,
    changes: Changes,
}

impl<'a> Draft<'a> {
    /// Begins a draft on top of the known projection.
    pub(crate) fn new(tx: &'a Transaction<'a>, known: &'a Projection) -> Self {
        Self { tx, known, changes: Changes::default() }
    }

    /// Applies one row.
    pub(crate) fn absorb(&mut self, row: &Row) -> rusqlite::Result<()> {
        if let Some(id) = row.entry.incident {
            self.incident(id, row)?;
        }
        if let Some(id) = row::attempt_of(&row.entry.record) {
            self.attempt(id, row)?;
        }
        if let Some(service) = &row.entry.service {
            self.service(service, row)?;
        }
        Ok(())
    }

    fn incident(&mut self, id: IncidentId, row: &Row) -> rusqlite::Result<()> {
        let head = match self.changes.heads.remove(&id) {
            Some(head) => Some(head),
            None => match self.known.heads.get(&id) {
                Some(head) => Some(head.clone()),
                // It is over, perhaps reopened by this very row; or new.
                None => read_head(self.tx, id)?,
            },
        };
        let mut head = match head {
            Some(mut head) => {
                head.incident.apply(&row.entry);
                head
            }
            None => match Incident::open(&row.entry) {
                Some(incident) => IncidentHead { incident, lines: 0 },
                // Its beginning is not in this journal (it was damaged and set aside): there is nothing to fold onto.
                None => return Ok(()),
            },
        };
        head.incident.attempts.clear();
        for event in head.incident.timeline.drain(..) {
            self.tx
                .prepare_cached(
                    "INSERT OR REPLACE INTO timeline (incident, line, at, kind, source, text) VALUES (?, ?, ?, ?, ?, ?)",
                )?
                .execute(params![
                    id.0.as_bytes(),
                    integer(head.lines),
                    wall(event.at),
                    event.kind,
                    event.source,
                    event.text
                ])?;
            head.lines += 1;
        }
        self.changes.heads.insert(id, head);
        Ok(())
    }

    fn attempt(&mut self, id: IntentId, row: &Row) -> rusqlite::Result<()> {
        let placed = match self.changes.attempts.remove(&id) {
            Some(placed) => Some(placed),
            None => match self.known.attempts.get(&id) {
                Some(placed) => Some(placed.clone()),
                None => read_attempt(self.tx, id)?,
            },
        };
        let mut placed = match (placed, &row.entry.record) {
            (Some(placed), _) => placed,
            (None, Record::Intended { intent }) => PlacedAttempt { place: row.seq, attempt: begun(intent) },
            // Its intent is not in this journal.
            (None, _) => return Ok(()),
        };
        let attempt = &mut placed.attempt;
        match &row.entry.record {
            Record::Performed { receipt, .. } => attempt.receipt = Some(receipt.clone()),
            Record::Proved { proof, .. } => attempt.proof = Some(proof.clone()),
            Record::Undone { .. } => attempt.undone = true,
            Record::Settled { ending, .. } => {
                let first = attempt.ending == Ending::Unsettled;
                attempt.took = Some(row.entry.at.since(attempt.intent.at));
                attempt.ending = ending.clone();
                if first {
                    learn(&mut self.changes.catalog, attempt, |key| Ok(self.known.catalog.line(key).cloned()))?;
                }
            }
            Record::Relapsed { .. } if !attempt.relapsed => {
                fetch(&mut self.changes.catalog, attempt, |key| Ok(self.known.catalog.line(key).cloned()))?;
                self.changes.catalog.relapse(attempt);
                attempt.relapsed = true;
                attempt.ending = Ending::Verified(Outcome::NotHealed);
            }
            _ => {}
        }
        self.changes.attempts.insert(id, placed);
        Ok(())
    }

    fn service(&mut self, service: &ServiceName, row: &Row) -> rusqlite::Result<()> {
        let (column, word) = match &row.entry.record {
            Record::HealthChanged { to, .. } => ("health", to.as_str().to_owned()),
            Record::DesiredChanged { desired, .. } => ("desired", desired.to_string()),
            _ => return Ok(()),
        };
        self.tx
            .prepare_cached(&format!(
                "INSERT INTO services (name, {column}, {column}_at, {column}_seq) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET {column} = excluded.{column}, {column}_at = excluded.{column}_at,
                 {column}_seq = excluded.{column}_seq"
            ))?
            .execute(params![service.as_str(), word, wall(row.entry.at), integer(row.seq)])?;
        Ok(())
    }

    /// Writes the changes: each incident and each attempt once, whatever the number of its rows.
    pub(crate) fn finish(self) -> rusqlite::Result<Changes> {
        for (id, head) in &self.changes.heads {
            write_head(self.tx, *id, head)?;
        }
        for placed in self.changes.attempts.values() {
            write_attempt(self.tx, placed)?;
        }
        for (key, tally) in self.changes.catalog.lines() {
            write_fix(self.tx, false, key, tally)?;
        }
        Ok(self.changes)
    }
}

fn begun(intent: &Intent) -> Attempt {
    let intent = intent.clone();
    Attempt {
        intent,
        receipt: None,
        proof: None,
        ending: Ending::Unsettled,
        undone: false,
        relapsed: false,
        took: None,
    }
}

/// Lets `catalog` learn from an attempt. Lines that it does not have yet are first fetched from `kept`.
pub(crate) fn learn(
    catalog: &mut Catalog,
    attempt: &Attempt,
    kept: impl Fn(&FixKey) -> rusqlite::Result<Option<FixRecord>>,
) -> rusqlite::Result<()> {
    fetch(catalog, attempt, kept)?;
    catalog.absorb(attempt);
    Ok(())
}

/// Fetches from `kept` the lines that an attempt is about and that `catalog` does not have yet.
pub(crate) fn fetch(
    catalog: &mut Catalog,
    attempt: &Attempt,
    kept: impl Fn(&FixKey) -> rusqlite::Result<Option<FixRecord>>,
) -> rusqlite::Result<()> {
    let Some(keys) = FixKey::of(attempt).filter(|_| lesson(attempt).is_some()) else { return Ok(()) };
    for key in keys {
        if catalog.line(&key).is_none() {
            let fix = kept(&key)?.unwrap_or_default();
            catalog.put(key, fix);
        }
    }
    Ok(())
}

/// Makes all projections again from the journal, within `tx`, and returns the new projection.
pub(crate) fn rebuild(tx: &Transaction<'_>) -> rusqlite::Result<Projection> {
    tx.execute_batch(
        "DELETE FROM incidents; DELETE FROM timeline; DELETE FROM attempts; DELETE FROM services;
         DELETE FROM catalog WHERE base = 0;
         INSERT INTO catalog SELECT 0, signature, action, service, tally FROM catalog WHERE base = 1;",
    )?;
    let mut projection = Projection { catalog: read_catalog(tx, true)?, ..Projection::default() };
    let mut after = 0;
    loop {
        let rows = rows(tx, after, STRIDE)?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        let mut draft = Draft::new(tx, &projection);
        for row in &rows {
            draft.absorb(row)?;
        }
        let changes = draft.finish()?;
        projection.adopt(changes);
    }
    tx.execute("UPDATE meta SET value = ? WHERE key = 'projection'", [VERSION])?;
    Ok(projection)
}

/// The version of the fold that made the projections in the file.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT value FROM meta WHERE key = 'projection'", [], |row| row.get(0))
}

/// Journal rows above `after`, oldest first.
pub(crate) fn rows(connection: &Connection, after: u64, limit: u32) -> rusqlite::Result<Vec<Row>> {
    let sql = format!("SELECT {} FROM journal WHERE seq > ? ORDER BY seq LIMIT ?", row::COLUMNS);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![integer(after), limit], row::read)?;
    rows.collect()
}

fn read_head(connection: &Connection, id: IncidentId) -> rusqlite::Result<Option<IncidentHead>> {
    let mut statement = connection.prepare_cached("SELECT body, lines FROM incidents WHERE id = ?")?;
    let found = statement.query_row([id.0.as_bytes()], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).optional()?;
    Ok(found.and_then(|(body, lines)| Some(IncidentHead { incident: understood(&body)?, lines })))
}

/// Reads the body of a projection; `None` if that cannot be understood. A bad body must not stop the journal.
fn understood<T: serde::de::DeserializeOwned>(body: &str) -> Option<T> {
    from_json(body).inspect_err(|error| tracing::error!(%error, "a projection cannot be read")).ok()
}

fn read_attempt(connection: &Connection, id: IntentId) -> rusqlite::Result<Option<PlacedAttempt>> {
    let mut statement = connection.prepare_cached("SELECT body, place FROM attempts WHERE id = ?")?;
    let found = statement.query_row([id.0.as_bytes()], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).optional()?;
    Ok(found.and_then(|(body, place)| Some(PlacedAttempt { place, attempt: understood(&body)? })))
}

/// Reads the catalog: the whole, or the base that retention made from deleted rows.
pub(crate) fn read_catalog(connection: &Connection, base: bool) -> rusqlite::Result<Catalog> {
    let mut catalog = Catalog::default();
    let mut statement =
        connection.prepare_cached("SELECT signature, action, service, tally FROM catalog WHERE base = ?")?;
    let lines = statement.query_map([base], |row| {
        let service: String = row.get(2)?;
        let key = FixKey {
            signature: row.get::<_, String>(0)?.into(),
            action: row.get(1)?,
            service: (!service.is_empty()).then(|| service.into()),
        };
        Ok((key, row.get::<_, String>(3)?))
    })?;
    for line in lines {
        let (key, tally) = line?;
        catalog.put(key, from_json(&tally)?);
    }
    Ok(catalog)
}

/// Writes one line of the catalog.
pub(crate) fn write_fix(connection: &Connection, base: bool, key: &FixKey, tally: &FixRecord) -> rusqlite::Result<()> {
    let service = key.service.as_ref().map_or("", ServiceName::as_str);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO catalog (base, signature, action, service, tally) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![base, key.signature.as_str(), key.action, service, json(tally)?])?;
    Ok(())
}

fn write_head(connection: &Connection, id: IncidentId, head: &IncidentHead) -> rusqlite::Result<()> {
    let incident = &head.incident;
    connection
        .prepare_cached(
            "INSERT INTO incidents (id, service, condition, stage, severity, opened, updated, lines, body)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET stage = excluded.stage, severity = excluded.severity, updated = excluded.updated,
             lines = excluded.lines, body = excluded.body",
        )?
        .execute(params![
            id.0.as_bytes(),
            incident.service.as_str(),
            incident.condition,
            incident.stage.as_str(),
            incident.severity as i64,
            wall(incident.opened),
            wall(incident.updated),
            integer(head.lines),
            json(incident)?,
        ])?;
    Ok(())
}

fn write_attempt(connection: &Connection, PlacedAttempt { place, attempt }: &PlacedAttempt) -> rusqlite::Result<()> {
    let intent = &attempt.intent;
    connection
        .prepare_cached(
            "INSERT INTO attempts (place, id, incident, service, action, at, settled, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET settled = excluded.settled, body = excluded.body",
        )?
        .execute(params![
            integer(*place),
            intent.id.0.as_bytes(),
            intent.incident.as_ref().map(|id| id.0.as_bytes()),
            intent.service.as_str(),
            intent.action,
            wall(intent.at),
            attempt.ending != Ending::Unsettled,
            json(attempt)?,
        ])?;
    Ok(())
}
