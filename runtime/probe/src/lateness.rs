//! How late checks began, compared with their schedule.
//!
//! It records and summarises; it changes no schedule.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// How many are remembered: the last few minutes of ten probes, in 16 KiB.
const REMEMBERED: usize = 4_096;

/// A summary of how late the last checks began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lateness {
    /// Scheduled checks since the start.
    pub count: u64,
    /// Half of the remembered checks began within this time.
    pub p50: Duration,
    /// 99 of 100 began within this time.
    pub p99: Duration,
    /// The latest of the remembered checks.
    pub max: Duration,
}

/// Records how late each check began.
#[derive(Debug, Default)]
pub(crate) struct LatenessRecorder(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    micros: Vec<u32>,
    next: usize,
    count: u64,
}

impl LatenessRecorder {
    pub(crate) fn record(&self, late: Duration) {
        let micros = u32::try_from(late.as_micros()).unwrap_or(u32::MAX);
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = ring.next;
        match ring.micros.get_mut(next) {
            Some(oldest) => *oldest = micros,
            None => ring.micros.push(micros),
        }
        ring.next = (next + 1) % REMEMBERED;
        ring.count += 1;
    }

    pub(crate) fn read(&self) -> Lateness {
        let (mut micros, count) = {
            let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (ring.micros.clone(), ring.count)
        };
        micros.sort_unstable();
        // The nearest-rank percentile: the smallest value that the given share does not exceed.
        let rank = |percent: usize| {
            let index = (micros.len() * percent).div_ceil(100).saturating_sub(1);
            Duration::from_micros(micros.get(index).copied().unwrap_or(0).into())
        };
        Lateness { count, p50: rank(50), p99: rank(99), max: rank(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let recorder = LatenessRecorder::default();
        assert_eq!(recorder.read(), Lateness::default());
        for micros in (1..=100).rev() {
            recorder.record(Duration::from_micros(micros));
        }
        let read = recorder.read();
        assert_eq!((read.count, read.p50.as_micros(), read.p99.as_micros(), read.max.as_micros()), (100, 50, 99, 100));
    }

    #[test]
    fn only_the_last_ones_are_remembered() {
        let recorder = LatenessRecorder::default();
        recorder.record(Duration::from_secs(9));
        for _ in 0..REMEMBERED {
            recorder.record(Duration::from_micros(5));
        }
        let read = recorder.read();
        assert_eq!((read.count, read.max), (REMEMBERED as u64 + 1, Duration::from_micros(5)));
    }
}
