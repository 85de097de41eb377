//! Taking over from a keeper that died: which of the recorded children still live.
//!
//! It adopts a process only if it is shown to be the recorded one.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::{ChildSlot, Children, LiveChild};
use crate::child_ledger::SlotRecord;
use crate::clock;
use crate::identity::{self, ProcessHandle};
use crate::poll::PollSource;
use crate::protocol::{Child, ChildOrigin, End, Exit, SlotId, StopSettings};

/// How an adopted child is stopped, because its own settings are lost.
const ADOPTED_STOP: StopSettings = StopSettings { signal: libc::SIGTERM, grace_ms: 10_000 };

impl Children {
    /// Takes over from a keeper that died. Every child that still lives and is shown to be the recorded one is adopted;
    /// for every other child an exit is reported. The rest of a group whose leader is gone is killed, because it could
    /// not be stopped later and the next child would meet it.
    pub(crate) fn take_over(&mut self, records: BTreeMap<SlotId, SlotRecord>, same_boot: bool, now_us: u64) {
        let spawns: Vec<&str> = records.values().filter_map(SlotRecord::spawn).collect();
        let search = same_boot && !spawns.is_empty();
        let mut marked = if search { identity::marked_processes_with(&spawns) } else { BTreeMap::new() };
        for (slot, record) in records {
            let incarnation = record.incarnation();
            self.slots.insert(slot.clone(), ChildSlot { incarnation, ..ChildSlot::default() });
            let (child, certain) = match record {
                SlotRecord::Empty { .. } => continue,
                SlotRecord::Lives(child) => (child, true),
                SlotRecord::Starting { spawn, incarnation } => {
                    (unrecorded(spawn, slot.clone(), incarnation, &marked), false)
                }
            };
            let pids = marked.remove(&child.spawn).unwrap_or_default();
            match ProcessHandle::recorded(child.pid, child.start_ticks).filter(|_| same_boot) {
                Some(handle) => self.adopt(child, handle),
                None => {
                    pids.into_iter().for_each(|pid| kill_leftover(pid, &child.spawn));
                    self.ledger.empty(&slot, incarnation);
                    if certain {
                        self.remember(Exit { child, end: End::Unknown, ended_us: now_us });
                    }
                }
            }
        }
    }

    fn adopt(&mut self, mut child: Child, handle: ProcessHandle) {
        child.origin = ChildOrigin::Adopted;
        info!(slot = %child.slot, pid = child.pid, "adopted a process of the previous keeper; its output is lost");
        if let Err(error) = self.poll.watch(&handle, PollSource::Adopted(child.pid)) {
            warn!(slot = %child.slot, %error, "cannot watch an adopted process");
        }
        self.ledger.lives(&child);
        let slot = self.slots.entry(child.slot.clone()).or_default();
        slot.live = Some(LiveChild { child, handle, stop: ADOPTED_STOP, output: 0, ended: None, kill_at_us: None });
    }
}

/// A child of which only the start is on record. It is found by the spawn id in its environment, as leader of its group,
/// or not at all.
fn unrecorded(spawn: String, slot: SlotId, incarnation: u64, marked: &BTreeMap<String, Vec<u32>>) -> Child {
    let leader = marked.get(&spawn).into_iter().flatten().find_map(|pid| {
        let stat = identity::stat(*pid).ok()?;
        (stat.group == *pid).then_some((*pid, stat.start_ticks))
    });
    let (pid, start_ticks) = leader.unwrap_or_default();
    let started_us = clock::now_us();
    Child { spawn, slot, incarnation, pid, start_ticks, started_us, origin: ChildOrigin::Adopted, tag: String::new() }
}

/// Kills a process that carries the spawn id. The id is read again once the process is held.
fn kill_leftover(pid: u32, spawn: &str) {
    let Ok(handle) = ProcessHandle::child(pid) else { return };
    if identity::spawn_mark(pid).as_deref() == Some(spawn) {
        warn!(pid, spawn, "killed what was left of a child that ended without a keeper");
        drop(handle.signal(libc::SIGKILL));
    }
}
