//! The limits of one guest call, and the error of a guest that exceeds one.
//!
//! There are two clocks: processor time, counted in ticks that the guest itself sees, and wall time around the whole
//! call, which also bounds a host call that does not return. All other limits are counts. It measures nothing beyond
//! one instance.

use std::time::Duration;

use wasmtime::{Error, ResourceLimiter};

use crate::code::engine::{MEMORY_CEILING, TABLE_CEILING};
use crate::code::metadata::Suggested;
use crate::guest::ticker::TICK;

/// Host calls, such as log lines, in one guest call. A guest without this limit made 829 000 in 106 ms.
pub(crate) const HOST_CALLS: u32 = 2_000;
/// Bytes that one host call, or one answer, may copy out of a guest. wasmtime's default would let a 2 GiB list through
/// that repeats the same few bytes.
pub(crate) const COPIED_BYTES: usize = 2 << 20;
/// Bytes that all host calls of one guest call may hand over: 2 000 log lines of full length are 2 MiB.
pub(crate) const CARRIED_BYTES: usize = 8 << 20;
/// Memories, tables and core instances of one component: JavaScript and Python guests come as a dozen modules.
const MEMORIES: usize = 4;
const TABLES: usize = 32;
const CORE_INSTANCES: usize = 64;

/// The limits of one configured plug-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Processor time of the guest in one call.
    pub cpu: Duration,
    /// Time for one call as a whole, host calls and waiting included.
    pub wall: Duration,
    /// Bytes of linear memory, all memories of the instance together.
    pub memory: usize,
}

/// The longest time limit: a longer one means "for ever", and no clock counts that far.
pub(crate) const LONGEST: Duration = Duration::from_secs(86_400);

/// 64 MiB: hundreds of times what a Rust guest needs, three times what a JavaScript guest starts with.
pub(crate) const MEMORY: usize = 64 << 20;

impl CallLimits {
    /// A detector judges one sample: 5 ms is a thousand times what it needs.
    pub const DETECTOR: Self = Self { cpu: Duration::from_millis(5), wall: Duration::from_millis(100), memory: MEMORY };
    /// A policy weighs an incident: 20 ms.
    pub const POLICY: Self = Self { cpu: Duration::from_millis(20), wall: Duration::from_millis(400), memory: MEMORY };
    /// An action works with the world: it waits much and computes little.
    pub const ACTION: Self = Self { cpu: Duration::from_secs(2), wall: Duration::from_secs(30), memory: MEMORY };
    /// Instantiating, configuring and describing; once in an instance's life.
    pub(crate) const SETUP: Self =
        Self { cpu: Duration::from_millis(200), wall: Duration::from_secs(5), memory: MEMORY };

    /// How many ticks a guest may see. It sees the first tick early, so it gets its whole budget and at most one tick
    /// more.
    pub(crate) fn ticks(self) -> u32 {
        u32::try_from(self.cpu.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u32::MAX).max(1)
    }

    /// Applies the limits that a plug-in suggests. A plug-in may suggest less than its role has; only the operator can
    /// give more.
    pub(crate) fn tightened(self, suggested: Suggested) -> Self {
        let cpu = Some(suggested.cpu_ms).filter(|ms| *ms > 0).map(Duration::from_millis);
        let memory =
            usize::try_from(suggested.memory_mib).ok().filter(|mib| *mib > 0).map(|mib| mib.saturating_mul(1 << 20));
        Self {
            cpu: cpu.map_or(self.cpu, |cpu| cpu.min(self.cpu)),
            memory: memory.map_or(self.memory, |memory| memory.min(self.memory)),
            ..self
        }
    }

    pub(crate) fn bounded(self) -> Self {
        let Self { cpu, wall, memory } = self;
        Self { cpu: cpu.min(LONGEST), wall: wall.min(LONGEST), memory: memory.min(MEMORY_CEILING) }
    }
}

/// The limit that a guest exceeded. wasmtime carries it through the guest's frames as an error and returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitExceeded {
    #[error("it used more than its {} of processor time", heald_model::time::text::format(*.0))]
    Cpu(Duration),
    #[error("it called the host more than {HOST_CALLS} times in one call")]
    HostCalls,
    #[error("it handed the host more than {CARRIED_BYTES} bytes in one call")]
    Carried,
    #[error("it asked for {wanted} bytes of memory; its limit is {limit}")]
    Memory { wanted: usize, limit: usize },
    #[error("it asked for a table of {0} elements; the limit is {TABLE_CEILING}")]
    Table(usize),
    #[error("the machine has no memory for it")]
    NoMemory,
}

/// Counts what an instance allocates. A refused allocation is a trap: no allocator does anything useful with -1.
pub(crate) struct Limiter {
    limit: usize,
    used: usize,
}

impl Limiter {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: 0 }
    }

    /// Bytes of linear memory that the instance has. Instances never give memory back, so this is also their peak.
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool, Error> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.limit || maximum.is_some_and(|maximum| desired > maximum) {
            return Err(LimitExceeded::Memory { wanted, limit: self.limit }.into());
        }
        self.used = wanted;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<(), Error> {
        tracing::warn!(%error, "no memory for a plug-in");
        Err(LimitExceeded::NoMemory.into())
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> Result<bool, Error> {
        if desired > TABLE_CEILING || maximum.is_some_and(|maximum| desired > maximum) {
            return Err(LimitExceeded::Table(desired).into());
        }
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: Error) -> Result<(), Error> {
        self.memory_grow_failed(error)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}
