//! Taking over from a keeper that died: who of those on record still lives, and is the one on record.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::{Children, Room, Tenant};
use crate::child_ledger::Record;
use crate::clock;
use crate::identity::{self, Held};
use crate::poll::Source;
use crate::protocol::{Child, End, Exit, Origin, Place, Stop};

/// How an adopted child is stopped: nobody remembers how it was meant to be.
const ADOPTED_STOP: Stop = Stop { signal: libc::SIGTERM, grace_ms: 10_000 };

impl Children {
    /// Takes over from a keeper that died: whoever still lives and can be shown to be the one on record is adopted, for
    /// everybody else an end is reported. What is left of a group whose leader is gone is killed: nobody could stop it
    /// later, and the next copy would meet it.
    pub(crate) fn take_over(&mut self, records: BTreeMap<Place, Record>, same_boot: bool, now_us: u64) {
        let spawns: Vec<&str> = records.values().filter_map(Record::spawn).collect();
        let search = same_boot && !spawns.is_empty();
        let mut marked = if search { identity::marked_processes_with(&spawns) } else { BTreeMap::new() };
        for (place, record) in records {
            let incarnation = record.incarnation();
            self.rooms.insert(place.clone(), Room { incarnation, ..Room::default() });
            let (child, certain) = match record {
                Record::Empty { .. } => continue,
                Record::Lives(child) => (child, true),
                Record::Starting { spawn, incarnation } => {
                    (unrecorded(spawn, place.clone(), incarnation, &marked), false)
                }
            };
            let pids = marked.remove(&child.spawn).unwrap_or_default();
            match Held::survivor(child.pid, child.start_ticks).filter(|_| same_boot) {
                Some(held) => self.adopt(child, held),
                None => {
                    pids.into_iter().for_each(|pid| kill_leftover(pid, &child.spawn));
                    self.ledger.empty(&place, incarnation);
                    if certain {
                        self.remember(Exit { child, end: End::Unknown, ended_us: now_us });
                    }
                }
            }
        }
    }

    fn adopt(&mut self, mut child: Child, held: Held) {
        child.origin = Origin::Adopted;
        info!(place = %child.place, pid = child.pid, "adopted a survivor; its output is lost");
        if let Err(error) = self.poll.watch(&held, Source::Survivor(child.pid)) {
            warn!(place = %child.place, %error, "cannot watch a survivor");
        }
        self.ledger.lives(&child);
        let room = self.rooms.entry(child.place.clone()).or_default();
        room.tenant = Some(Tenant { child, held, stop: ADOPTED_STOP, output: 0, ended: None, kill_at_us: None });
    }
}

/// A child of which only the intention is on record: found by its mark, as leader of its group, or not at all.
fn unrecorded(spawn: String, place: Place, incarnation: u64, marked: &BTreeMap<String, Vec<u32>>) -> Child {
    let leader = marked.get(&spawn).into_iter().flatten().find_map(|pid| {
        let stat = identity::stat(*pid).ok()?;
        (stat.group == *pid).then_some((*pid, stat.start_ticks))
    });
    let (pid, start_ticks) = leader.unwrap_or_default();
    let started_us = clock::now_us();
    Child { spawn, place, incarnation, pid, start_ticks, started_us, origin: Origin::Adopted, tag: String::new() }
}

/// Kills a process that carries `spawn`'s mark, which is read again once the process is held.
fn kill_leftover(pid: u32, spawn: &str) {
    let Ok(held) = Held::child(pid) else { return };
    if identity::spawn_mark(pid).as_deref() == Some(spawn) {
        warn!(pid, spawn, "killed a leftover of a child that ended while no keeper was there");
        drop(held.signal(libc::SIGKILL));
    }
}
