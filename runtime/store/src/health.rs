//! The state that the store's threads publish: whether the database can be written, and how much replay data was
//! dropped.
//!
//! It keeps the newest state only. It retries nothing and decides nothing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often dropped data is logged.
const COMPLAIN: Duration = Duration::from_secs(60);

/// Why the database cannot be written now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// SQLite's message.
    pub why: String,
    /// How many entries are kept in memory until the database can be written again.
    pub kept: usize,
    /// How many entries were lost because the memory for them is full.
    pub lost: u64,
}

/// The newest state of the writer, for the other threads.
#[derive(Debug, Default)]
pub(crate) struct WriterHealth(Mutex<Option<Degraded>>);

impl WriterHealth {
    pub(crate) fn get(&self) -> Option<Degraded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, health: Option<Degraded>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}

/// Counts the calls and looks that wait to be written or were dropped.
#[derive(Debug, Default)]
pub(crate) struct ReplayCounters {
    dropped: AtomicU64,
    complained: Mutex<Option<Instant>>,
    /// Packed items that are not written yet.
    pub(crate) waiting: AtomicUsize,
}

impl ReplayCounters {
    /// Counts dropped items, and logs it now and then.
    pub(crate) fn count_dropped(&self, count: usize, why: &str) {
        let dropped = self.dropped.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if count > 0 && complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
            *complained = Some(Instant::now());
            tracing::warn!(
                dropped,
                why,
                "calls or looks were dropped; `heald explain` and `heald replay` will not show them"
            );
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
