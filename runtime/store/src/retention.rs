//! Retention: it deletes what is closed and old, in small portions.
//!
//! It deletes whole units: a resolved incident with its rows, timeline and attempts; an operator's action outside any
//! incident; rows that concern nothing but a service. So a rebuild after retention gives the same projections. What
//! attempts taught stays in the catalog. Recording calls and the tape are deleted by age alone. It never touches an open
//! incident, an attempt under way, the newest row of a service, or the newest row of all, whose number must not be given
//! again.

use heald_engine::learn::Catalog;
use heald_model::{Attempt, Moment};
use rusqlite::{Transaction, params};

use crate::project::{learn, read_catalog, write_fix};
use crate::row::{from_json, wall};

/// How many incidents, attempts, kept calls or chunks one transaction deletes: about a millisecond, which an intent can
/// wait for.
const PORTION: usize = 50;
/// How many rows one transaction deletes. Rows are cheaper than incidents.
const LOOSE_PORTION: usize = 500;

/// How much retention has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Journal rows.
    pub rows: usize,
    /// Incidents.
    pub incidents: usize,
    /// Attempts.
    pub attempts: usize,
    /// Recording calls of plug-ins.
    pub calls: usize,
    /// Chunks of the tape.
    pub chunks: usize,
}

/// Data before these moments is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cutoffs {
    pub(crate) rows: Moment,
    pub(crate) calls: Moment,
    pub(crate) tape: Moment,
}

impl Cutoffs {
    /// The same cutoff for all data.
    pub(crate) fn all(cutoff: Moment) -> Self {
        Self { rows: cutoff, calls: cutoff, tape: cutoff }
    }
}

impl Trimmed {
    /// Adds other deletions.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.incidents += other.incidents;
        self.attempts += other.attempts;
        self.calls += other.calls;
        self.chunks += other.chunks;
    }
}

/// Deletes one portion of what is old. If it deletes nothing, nothing is left to delete.
pub(crate) fn step(tx: &Transaction<'_>, cutoffs: Cutoffs) -> rusqlite::Result<Trimmed> {
    let cutoff = cutoffs.rows;
    let mut trimmed = Trimmed {
        calls: older(tx, "calls", "at", cutoffs.calls)?,
        // What is left of a life that is cut begins at its next checkpoint.
        chunks: older(tx, "tape", "last", cutoffs.tape)?,
        ..Trimmed::default()
    };
    tx.prepare_cached("DELETE FROM settings WHERE used < ?")?.execute([wall(cutoffs.calls.min(cutoffs.tape))])?;
    let old = ids(
        tx,
        "SELECT id FROM incidents INDEXED BY incidents_over WHERE stage = 'resolved' AND updated < ? LIMIT ?",
        cutoff,
    )?;
    for id in &old {
        trimmed.attempts += forget(tx, "incident = ?", id)?;
        trimmed.rows += delete(tx, "journal WHERE incident = ? AND seq < (SELECT max(seq) FROM journal)", id)?;
        delete(tx, "timeline WHERE incident = ?", id)?;
        trimmed.incidents += delete(tx, "incidents WHERE id = ?", id)?;
    }
    let alone =
        "SELECT id FROM attempts INDEXED BY attempts_alone WHERE at < ? AND incident IS NULL AND settled = 1 LIMIT ?";
    for id in &ids(tx, alone, cutoff)? {
        trimmed.rows +=
            delete(tx, "journal WHERE attempt = ? AND incident IS NULL AND seq < (SELECT max(seq) FROM journal)", id)?;
        trimmed.attempts += forget(tx, "id = ?", id)?;
    }
    trimmed.rows += tx
        .prepare_cached(
            "DELETE FROM journal WHERE seq IN (
                 SELECT seq FROM journal WHERE wall < ? AND attempt IS NULL AND incident IS NULL
                 AND seq < (SELECT max(seq) FROM journal)
                 AND seq NOT IN (SELECT health_seq FROM services WHERE health_seq IS NOT NULL)
                 AND seq NOT IN (SELECT desired_seq FROM services WHERE desired_seq IS NOT NULL)
                 LIMIT ?)",
        )?
        .execute(params![wall(cutoff), LOOSE_PORTION])?;
    Ok(trimmed)
}

fn older(tx: &Transaction<'_>, table: &str, time: &str, cutoff: Moment) -> rusqlite::Result<usize> {
    tx.prepare_cached(&format!(
        "DELETE FROM {table} WHERE seq IN (SELECT seq FROM {table} WHERE {time} < ? ORDER BY {time} LIMIT ?)"
    ))?
    .execute(params![wall(cutoff), PORTION])
}

fn ids(tx: &Transaction<'_>, sql: &str, cutoff: Moment) -> rusqlite::Result<Vec<[u8; 16]>> {
    tx.prepare_cached(sql)?.query_map(params![wall(cutoff), PORTION], |row| row.get(0))?.collect()
}

fn delete(tx: &Transaction<'_>, what: &str, id: &[u8; 16]) -> rusqlite::Result<usize> {
    tx.prepare_cached(&format!("DELETE FROM {what}"))?.execute([id])
}

/// Deletes attempts, and keeps what they taught in the base of the catalog, from which a rebuild starts.
fn forget(tx: &Transaction<'_>, which: &str, id: &[u8; 16]) -> rusqlite::Result<usize> {
    let bodies: Vec<String> = tx
        .prepare_cached(&format!("SELECT body FROM attempts WHERE {which}"))?
        .query_map([id], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if bodies.is_empty() {
        return Ok(0);
    }
    let kept = read_catalog(tx, true)?;
    let mut base = Catalog::default();
    for body in &bodies {
        let attempt: Attempt = from_json(body)?;
        learn(&mut base, &attempt, |key| Ok(kept.line(key).cloned()))?;
    }
    for (key, tally) in base.lines() {
        write_fix(tx, true, key, tally)?;
    }
    delete(tx, &format!("attempts WHERE {which}"), id)
}
