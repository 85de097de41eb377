//! Counts what a plug-in cost and how it failed, since it was loaded. It draws no conclusions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heald_model::FaultCause;
use heald_model::time::nanos;

use crate::guest::clock::Spent;
use crate::world::context::Used;

/// Every cause, in the order of their counters.
const CAUSES: [FaultCause; 10] = [
    FaultCause::Trap,
    FaultCause::CpuBudget,
    FaultCause::Deadline,
    FaultCause::Memory,
    FaultCause::Stack,
    FaultCause::HostBudget,
    FaultCause::BadOutput,
    FaultCause::BadConfig,
    FaultCause::Refused,
    FaultCause::Load,
];

/// A plug-in's counters at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Calls of evaluate, decide, check, perform and undo.
    pub calls: u64,
    /// Calls that ended in a fault, by cause; causes that never occurred are left out.
    pub faults: BTreeMap<FaultCause, u64>,
    /// Time on a thread.
    pub busy: Duration,
    /// Wall time of all calls.
    pub wall: Duration,
    /// Instances made.
    pub instances: u64,
    /// Log lines dropped because there were too many.
    pub dropped_lines: u64,
    /// Calls of heald's own interfaces: log, kv, process, process-control.
    pub host_calls: u64,
    /// Bytes that answers, these calls and standard output carried out of the guest.
    pub bytes_out: u64,
    /// The most bytes of linear memory that one instance had.
    pub peak_memory: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    calls: AtomicU64,
    faults: [AtomicU64; CAUSES.len()],
    busy: AtomicU64,
    wall: AtomicU64,
    instances: AtomicU64,
    host_calls: AtomicU64,
    bytes_out: AtomicU64,
    peak_memory: AtomicU64,
}

impl Counters {
    /// Counts a call that is over: its time, its host calls, and the memory of its instance.
    pub(crate) fn called(&self, spent: Spent, used: Used, memory: usize) {
        if used.host_calls > 0 {
            self.host_calls.fetch_add(u64::from(used.host_calls), Ordering::Relaxed);
        }
        self.carried(used.bytes);
        let memory = u64::try_from(memory).unwrap_or(u64::MAX);
        // A load costs less than a change, and the first call usually set the peak.
        if memory > self.peak_memory.load(Ordering::Relaxed) {
            self.peak_memory.fetch_max(memory, Ordering::Relaxed);
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(nanos(spent.busy), Ordering::Relaxed);
        self.wall.fetch_add(nanos(spent.wall), Ordering::Relaxed);
    }

    /// Counts bytes that came out of the guest.
    pub(crate) fn carried(&self, bytes: usize) {
        if bytes > 0 {
            self.bytes_out.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    pub(crate) fn faulted(&self, cause: FaultCause) {
        if let Some((_, count)) = CAUSES.iter().zip(&self.faults).find(|(known, _)| **known == cause) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn instantiated(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, dropped_lines: u64) -> Stats {
        let faults = CAUSES.iter().zip(&self.faults).map(|(cause, count)| (*cause, count.load(Ordering::Relaxed)));
        Stats {
            calls: self.calls.load(Ordering::Relaxed),
            faults: faults.filter(|(_, count)| *count > 0).collect(),
            busy: Duration::from_nanos(self.busy.load(Ordering::Relaxed)),
            wall: Duration::from_nanos(self.wall.load(Ordering::Relaxed)),
            instances: self.instances.load(Ordering::Relaxed),
            dropped_lines,
            host_calls: self.host_calls.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            peak_memory: self.peak_memory.load(Ordering::Relaxed),
        }
    }
}
