//! The metrics of the machine: `cpu`, `memory` and `disk` in percent.
//!
//! It keeps the newest measurement only. What cannot be read is left out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::body::quantised;
use crate::proc::{self, Ticks};

/// How often the machine is measured.
const PERIOD: Duration = Duration::from_secs(5);
/// How soon after the start the first measurement ends. CPU usage needs two readings.
const FIRST: Duration = Duration::from_millis(200);

/// The newest measurement.
#[derive(Debug, Default)]
pub(crate) struct MachineMetrics(Mutex<BTreeMap<String, f64>>);

impl MachineMetrics {
    pub(crate) fn read(&self) -> BTreeMap<String, f64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Measures until the future is dropped.
    pub(crate) async fn measure(&self) {
        let mut before = proc::ticks();
        tokio::time::sleep(FIRST).await;
        loop {
            let now = proc::ticks();
            let cpu = before.zip(now).and_then(|(before, now)| share(before, now));
            before = now;
            let memory = proc::memory().map(|m| percent(m.total.saturating_sub(m.available), m.total));
            let measured = [("cpu", cpu), ("memory", memory), ("disk", disk())];
            let measured = measured.into_iter().filter_map(|(name, value)| Some((name.to_owned(), quantised(value?)?)));
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = measured.collect();
            tokio::time::sleep(PERIOD).await;
        }
    }
}

fn share(before: Ticks, now: Ticks) -> Option<f64> {
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    Some(percent(now.busy.saturating_sub(before.busy), all))
}

/// How full the root file system is, as `df` counts it: blocks reserved for root do not count as free.
fn disk() -> Option<f64> {
    let stat = rustix::fs::statvfs("/").ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let all = used.saturating_add(stat.f_bavail);
    (all > 0).then(|| percent(used, all))
}

fn percent(part: u64, all: u64) -> f64 {
    (part as f64 / all as f64 * 100.0).min(100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busyness_is_the_share_between_two_readings() {
        let (before, now) = (Ticks { busy: 100, all: 1_000 }, Ticks { busy: 150, all: 1_200 });
        assert_eq!(share(before, now), Some(25.0));
        assert_eq!(share(now, now), None);
        assert_eq!(share(now, before), None);
        assert!(disk().is_some_and(|full| (0.0..=100.0).contains(&full)));
    }
}
