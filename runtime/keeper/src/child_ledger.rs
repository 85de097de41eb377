//! What the keeper writes down so that the next keeper finds the living: one line per change, appended; rewritten when it
//! has grown. It is no journal: it says who lives and how far each place has counted, and forgets everything else.
//!
//! Nothing is synced to disk: the file has to survive the keeper, not the machine, which takes the children with it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::protocol::{Child, Place};

/// Lines that no longer say anything new before the file is rewritten.
const SLACK: usize = 256;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The boot the following lines are about.
    Boot(String),
    /// About to start a child: until the next line about this place, a process may or may not live that carries this id.
    Starting { spawn: String, place: Place, incarnation: u64 },
    /// The child lives.
    Lives(Child),
    /// Nobody lives there.
    Empty { place: Place, incarnation: u64 },
}

/// What is on record about a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// A start that was never reported done or failed.
    Starting { spawn: String, incarnation: u64 },
    /// A child that lived.
    Lives(Child),
    /// Nobody, after this many.
    Empty { incarnation: u64 },
}

impl Record {
    /// How far the place has counted.
    pub(crate) fn incarnation(&self) -> u64 {
        match self {
            Self::Starting { incarnation, .. } | Self::Empty { incarnation } => *incarnation,
            Self::Lives(child) => child.incarnation,
        }
    }

    /// Under which id somebody may live there.
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
pub(crate) struct Ledger {
    path: PathBuf,
    boot: String,
    file: Option<File>,
    records: BTreeMap<Place, Record>,
    lines: usize,
    complaint: Option<String>,
}

impl Ledger {
    /// Opens the ledger and returns what the keeper before wrote, with the boot it wrote it in. A torn last line (the keeper
    /// died while writing it) and lines that make no sense are passed over.
    pub(crate) fn open(path: PathBuf, boot: String) -> io::Result<(Self, String, BTreeMap<Place, Record>)> {
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(mut file) => drop(file.read_to_end(&mut text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut then = boot.clone();
        let mut found = BTreeMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Line::Boot(boot)) => then = boot,
                Ok(line) => drop(apply(&mut found, line)),
                Err(_) => {}
            }
        }
        // Counters go on from where they were; whether the living still live the caller finds out and writes down anew.
        let mut ledger = Self { path, boot, file: None, records: found.clone(), lines: 0, complaint: None };
        if then != ledger.boot {
            for record in ledger.records.values_mut() {
                *record = Record::Empty { incarnation: record.incarnation() };
            }
        }
        ledger.rewrite()?;
        Ok((ledger, then, found))
    }

    /// A child is about to be started.
    pub(crate) fn starting(&mut self, spawn: &str, place: &Place, incarnation: u64) {
        self.append(Line::Starting { spawn: spawn.to_owned(), place: place.clone(), incarnation });
    }

    /// A child lives.
    pub(crate) fn lives(&mut self, child: &Child) {
        self.append(Line::Lives(child.clone()));
    }

    /// Nobody lives there.
    pub(crate) fn empty(&mut self, place: &Place, incarnation: u64) {
        self.append(Line::Empty { place: place.clone(), incarnation });
    }

    /// What went wrong since the last time this was asked.
    pub(crate) fn complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// A ledger that cannot be written does not keep a child from being started: the record is still right in memory, and
    /// is written whole as soon as that works again.
    fn append(&mut self, line: Line) {
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
            self.complaint = Some(format!("cannot write {}: {error}", self.path.display()));
        }
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let mut text = to_text(&Line::Boot(self.boot.clone()))?;
        for (place, record) in &self.records {
            text.extend(to_text(&match record.clone() {
                Record::Starting { spawn, incarnation } => Line::Starting { spawn, place: place.clone(), incarnation },
                Record::Lives(child) => Line::Lives(child),
                Record::Empty { incarnation } => Line::Empty { place: place.clone(), incarnation },
            })?);
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
    // Removed first, so that the mode below holds: tags may be nobody else's business.
    drop(std::fs::remove_file(path));
    OpenOptions::new().create_new(true).append(true).mode(0o600).open(path)
}

fn to_text(line: &Line) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
    text.push(b'\n');
    Ok(text)
}

fn apply(records: &mut BTreeMap<Place, Record>, line: Line) -> Option<Record> {
    match line {
        Line::Boot(_) => None,
        Line::Starting { spawn, place, incarnation } => records.insert(place, Record::Starting { spawn, incarnation }),
        Line::Lives(child) => records.insert(child.place.clone(), Record::Lives(child)),
        Line::Empty { place, incarnation } => records.insert(place, Record::Empty { incarnation }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Origin;

    fn place(replica: u32) -> Place {
        Place { service: "web".into(), replica }
    }

    fn child(replica: u32, incarnation: u64) -> Child {
        Child {
            spawn: format!("s{replica}-{incarnation}"),
            place: place(replica),
            incarnation,
            pid: 100,
            start_ticks: 7,
            started_us: 1,
            origin: Origin::Asked,
            tag: String::new(),
        }
    }

    #[test]
    fn the_living_and_the_counts_are_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut ledger, _, found) = Ledger::open(path.clone(), "b".into()).unwrap();
        assert!(found.is_empty());
        for incarnation in 1..=1000 {
            ledger.starting("s", &place(0), incarnation);
            ledger.lives(&child(0, incarnation));
            ledger.empty(&place(0), incarnation);
        }
        ledger.lives(&child(1, 5));
        ledger.starting("open", &place(2), 9);
        drop(ledger);
        assert!(path.metadata().unwrap().len() < 100_000, "the ledger is rewritten when it has grown");
        let (_, boot, found) = Ledger::open(path, "b".into()).unwrap();
        assert_eq!(boot, "b");
        assert_eq!(found.get(&place(0)), Some(&Record::Empty { incarnation: 1000 }));
        assert_eq!(found.get(&place(1)), Some(&Record::Lives(child(1, 5))));
        assert_eq!(found.get(&place(2)), Some(&Record::Starting { spawn: "open".into(), incarnation: 9 }));
    }

    #[test]
    fn a_torn_last_line_costs_that_line_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut ledger, ..) = Ledger::open(path.clone(), "b".into()).unwrap();
        ledger.lives(&child(0, 1));
        ledger.lives(&child(1, 1));
        drop(ledger);
        let text = std::fs::read(&path).unwrap();
        for cut in 0..=text.len() {
            std::fs::write(&path, &text[..cut]).unwrap();
            let (_, _, found) = Ledger::open(path.clone(), "b".into()).unwrap();
            assert!(found.len() <= 2);
            assert!(cut < text.len() || found.len() == 2);
        }
    }

    #[test]
    fn after_a_reboot_only_the_counts_remain() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let (mut ledger, ..) = Ledger::open(path.clone(), "before".into()).unwrap();
        ledger.lives(&child(0, 4));
        drop(ledger);
        let (_, boot, found) = Ledger::open(path.clone(), "after".into()).unwrap();
        assert_eq!(boot, "before");
        assert_eq!(found.get(&place(0)), Some(&Record::Lives(child(0, 4))));
        let (_, boot, found) = Ledger::open(path, "after".into()).unwrap();
        assert_eq!(boot, "after");
        assert_eq!(found.get(&place(0)), Some(&Record::Empty { incarnation: 4 }));
    }
}
