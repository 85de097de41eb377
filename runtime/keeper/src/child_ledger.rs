//! The child ledger: what the keeper writes down so that the next keeper finds the living children.
//!
//! It appends one line per change and rewrites the file when that has grown. It keeps the living child and the
//! incarnation of each slot and what is not to be started again, and no history. Nothing is synced to disk: the file must survive the keeper and not the
//! machine, whose end is also the end of the children.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::protocol::{Child, RestartHold, SlotId};

/// How many outdated lines the file may have before it is rewritten.
const SLACK: usize = 256;

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LedgerLine {
    /// The boot that the following lines belong to.
    Boot(String),
    /// The keeper is about to start a child. Until the next line about this slot, a process with this spawn id may or
    /// may not live.
    Starting {
        spawn: String,
        #[serde(rename = "place")]
        slot: SlotId,
        incarnation: u64,
    },
    /// The child lives.
    Lives(Child),
    /// The slot is empty.
    Empty {
        #[serde(rename = "place")]
        slot: SlotId,
        incarnation: u64,
    },
    /// What is not started again without a runtime.
    RestartHold(RestartHold),
}

/// The newest line about a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SlotRecord {
    /// A start without a known result.
    Starting { spawn: String, incarnation: u64 },
    /// A child that was alive.
    Lives(Child),
    /// Nothing runs; the slot has had this many incarnations.
    Empty { incarnation: u64 },
}

impl SlotRecord {
    /// The newest incarnation of the slot.
    pub(crate) fn incarnation(&self) -> u64 {
        match self {
            Self::Starting { incarnation, .. } | Self::Empty { incarnation } => *incarnation,
            Self::Lives(child) => child.incarnation,
        }
    }

    /// The spawn id of a process that may live in the slot.
    pub(crate) fn spawn(&self) -> Option<&str> {
        match self {
            Self::Starting { spawn, .. } => Some(spawn),
            Self::Lives(child) => Some(&child.spawn),
            Self::Empty { .. } => None,
        }
    }
}

/// The ledger, open for writing.
#[derive(Debug)]
pub(crate) struct ChildLedger {
    path: PathBuf,
    boot: String,
    file: Option<File>,
    records: BTreeMap<SlotId, SlotRecord>,
    restart_hold: RestartHold,
    lines: usize,
    problem: Option<String>,
}

impl ChildLedger {
    /// Opens the ledger. Returns the boot and the records that the previous keeper wrote. A torn last line and lines
    /// that cannot be read are skipped.
    pub(crate) fn open(path: PathBuf, boot: String) -> io::Result<(Self, String, BTreeMap<SlotId, SlotRecord>)> {
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(mut file) => drop(file.read_to_end(&mut text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut then = boot.clone();
        let mut found = BTreeMap::new();
        let mut restart_hold = RestartHold::default();
        for line in text.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(LedgerLine::Boot(boot)) => then = boot,
                Ok(LedgerLine::RestartHold(hold)) => restart_hold = hold,
                Ok(line) => drop(apply(&mut found, line)),
                Err(_) => {}
            }
        }
        // Incarnations go on from where they were. The caller finds out which children still live, and writes that down.
        let records = found.clone();
        let mut ledger = Self { path, boot, file: None, records, restart_hold, lines: 0, problem: None };
        if then != ledger.boot {
            for record in ledger.records.values_mut() {
                *record = SlotRecord::Empty { incarnation: record.incarnation() };
            }
        }
        ledger.rewrite()?;
        Ok((ledger, then, found))
    }

    /// A child is about to be started.
    pub(crate) fn starting(&mut self, spawn: &str, slot: &SlotId, incarnation: u64) {
        self.append(LedgerLine::Starting { spawn: spawn.to_owned(), slot: slot.clone(), incarnation });
    }

    /// A child lives.
    pub(crate) fn lives(&mut self, child: &Child) {
        self.append(LedgerLine::Lives(child.clone()));
    }

    /// Records that a slot is empty.
    pub(crate) fn empty(&mut self, slot: &SlotId, incarnation: u64) {
        self.append(LedgerLine::Empty { slot: slot.clone(), incarnation });
    }

    /// What is not started again without a runtime.
    pub(crate) fn restart_hold(&self) -> &RestartHold {
        &self.restart_hold
    }

    /// Records what is not started again without a runtime.
    pub(crate) fn hold_restarts(&mut self, hold: RestartHold) {
        self.restart_hold = hold.clone();
        self.append(LedgerLine::RestartHold(hold));
    }

    /// Takes the newest write error, if there is one.
    pub(crate) fn problem(&mut self) -> Option<String> {
        self.problem.take()
    }

    /// Appends a line. An error does not stop a child from being started: the record in memory is right, and the whole
    /// file is written as soon as that works again.
    fn append(&mut self, line: LedgerLine) {
        let text = to_text(&line);
        apply(&mut self.records, line);
        self.lines += 1;
        let written = if self.lines > self.records.len() + SLACK {
            self.rewrite()
        } else {
            match &mut self.file {
                Some(file) => text.and_then(|text| file.write_all(&text)),
                None => self.rewrite(),
            }
        };
        if let Err(error) = written
            && self.file.take().is_some()
        {
            self.problem = Some(format!("cannot write {}: {error}", self.path.display()));
        }
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let mut text = to_text(&LedgerLine::Boot(self.boot.clone()))?;
        for (slot, record) in &self.records {
            text.extend(to_text(&match record.clone() {
                SlotRecord::Starting { spawn, incarnation } => {
                    LedgerLine::Starting { spawn, slot: slot.clone(), incarnation }
                }
                SlotRecord::Lives(child) => LedgerLine::Lives(child),
                SlotRecord::Empty { incarnation } => LedgerLine::Empty { slot: slot.clone(), incarnation },
            })?);
        }
        if self.restart_hold != RestartHold::default() {
            text.extend(to_text(&LedgerLine::RestartHold(self.restart_hold.clone()))?);
        }
        let beside = self.path.with_extension("new");
        let mut file = create(&beside)?;
        file.write_all(&text)?;
        std::fs::rename(&beside, &self.path)?;
        self.file = Some(file);
        self.lines = self.records.len();
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    // The old file is removed first so that the mode below applies, because tags may be confidential.
    drop(std::fs::remove_file(path));
    OpenOptions::new().create_new(true).append(true).mode(0o600).open(path)
}

fn to_text(line: &LedgerLine) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
    text.push(b'\n');
    Ok(text)
}

fn apply(records: &mut BTreeMap<SlotId, SlotRecord>, line: LedgerLine) -> Option<SlotRecord> {
    match line {
        LedgerLine::Boot(_) | LedgerLine::RestartHold(_) => None,
        LedgerLine::Starting { spawn, slot, incarnation } => {
            records.insert(slot, SlotRecord::Starting { spawn, incarnation })
        }
        LedgerLine::Lives(child) => records.insert(child.slot.clone(), SlotRecord::Lives(child)),
        LedgerLine::Empty { slot, incarnation } => records.insert(slot, SlotRecord::Empty { incarnation }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ChildOrigin;

    fn slot(replica: u32) -> SlotId {
        SlotId { service: "web".into(), replica }
    }

    fn child(replica: u32, incarnation: u64) -> Child {
        Child {
            spawn: format!("s{replica}-{incarnation}"),
            slot: slot(replica),
            incarnation,
            pid: 100,
            start_ticks: 7,
            started_us: 1,
            origin: ChildOrigin::Asked,
            tag: String::new(),
        }
    }

    #[test]
    fn the_living_and_the_counts_are_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut ledger, _, found) = ChildLedger::open(path.clone(), "b".into()).unwrap();
        assert!(found.is_empty());
        for incarnation in 1..=1000 {
            ledger.starting("s", &slot(0), incarnation);
            ledger.lives(&child(0, incarnation));
            ledger.empty(&slot(0), incarnation);
        }
        ledger.lives(&child(1, 5));
        ledger.starting("open", &slot(2), 9);
        drop(ledger);
        assert!(path.metadata().unwrap().len() < 100_000, "the ledger is rewritten when it has grown");
        let (_, boot, found) = ChildLedger::open(path, "b".into()).unwrap();
        assert_eq!(boot, "b");
        assert_eq!(found.get(&slot(0)), Some(&SlotRecord::Empty { incarnation: 1000 }));
        assert_eq!(found.get(&slot(1)), Some(&SlotRecord::Lives(child(1, 5))));
        assert_eq!(found.get(&slot(2)), Some(&SlotRecord::Starting { spawn: "open".into(), incarnation: 9 }));
    }

    /// The next keeper may be of another release, so the names in the file must not change.
    #[test]
    fn names_in_the_file_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut ledger, ..) = ChildLedger::open(path.clone(), "b".into()).unwrap();
        ledger.starting("s", &slot(0), 1);
        ledger.empty(&slot(0), 1);
        ledger.hold_restarts(RestartHold { halted: true, services: ["web".to_owned()].into() });
        let slot = format!(r#"{{"service":"{}","replica":0}}"#, slot(0).service);
        let expected = [
            r#"{"boot":"b"}"#.to_owned(),
            format!(r#"{{"starting":{{"spawn":"s","place":{slot},"incarnation":1}}}}"#),
            format!(r#"{{"empty":{{"place":{slot},"incarnation":1}}}}"#),
            r#"{"restart_hold":{"halted":true,"services":["web"]}}"#.to_owned(),
        ];
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_not_started_again_outlives_the_keeper_and_the_boot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let hold = RestartHold { halted: true, services: ["web".to_owned()].into() };
        let (mut ledger, ..) = ChildLedger::open(path.clone(), "b".into()).unwrap();
        ledger.hold_restarts(hold.clone());
        for boot in ["b", "later", "later"] {
            let (ledger, ..) = ChildLedger::open(path.clone(), boot.into()).unwrap();
            assert_eq!(*ledger.restart_hold(), hold);
        }
        let (mut ledger, ..) = ChildLedger::open(path.clone(), "b".into()).unwrap();
        ledger.hold_restarts(RestartHold::default());
        let (ledger, ..) = ChildLedger::open(path, "b".into()).unwrap();
        assert_eq!(*ledger.restart_hold(), RestartHold::default());
    }

    #[test]
    fn a_torn_last_line_costs_that_line_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut ledger, ..) = ChildLedger::open(path.clone(), "b".into()).unwrap();
        ledger.lives(&child(0, 1));
        ledger.lives(&child(1, 1));
        drop(ledger);
        let text = std::fs::read(&path).unwrap();
        for cut in 0..=text.len() {
            std::fs::write(&path, &text[..cut]).unwrap();
            let (_, _, found) = ChildLedger::open(path.clone(), "b".into()).unwrap();
            assert!(found.len() <= 2);
            assert!(cut < text.len() || found.len() == 2);
        }
    }

    #[test]
    fn after_a_reboot_only_the_counts_remain() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut ledger, ..) = ChildLedger::open(path.clone(), "before".into()).unwrap();
        ledger.lives(&child(0, 4));
        drop(ledger);
        let (_, boot, found) = ChildLedger::open(path.clone(), "after".into()).unwrap();
        assert_eq!(boot, "before");
        assert_eq!(found.get(&slot(0)), Some(&SlotRecord::Lives(child(0, 4))));
        let (_, boot, found) = ChildLedger::open(path, "after".into()).unwrap();
        assert_eq!(boot, "after");
        assert_eq!(found.get(&slot(0)), Some(&SlotRecord::Empty { incarnation: 4 }));
    }
}
