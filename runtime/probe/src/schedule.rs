//! When checks are made: one small loop per probe.
//!
//! A check is due on a fixed grid. A tick that passes while the previous check is still under way is skipped, never made up.
//! A reset (an action on the service, a new incarnation, a hold or its release) abandons the check under way and begins a new
//! grid. This module judges no result.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::lateness::LatenessRecorder;
use crate::monitor::{MonitoredService, Probe};
use crate::process::Gauges;

/// Makes the checks of one probe until the service is dropped.
pub(crate) async fn probe(
    monitored: Arc<MonitoredService>,
    probe: Arc<Probe>,
    offset: Duration,
    lateness: Arc<LatenessRecorder>,
) {
    let mut resets = monitored.resets.subscribe();
    let mut due = Instant::now() + offset + probe.initial_delay;
    loop {
        let reset = if monitored.is_paused(&probe) {
            resets.changed().await
        } else {
            tokio::select! {
                biased;
                reset = resets.changed() => reset,
                () = tick(&monitored, &probe, due, &lateness) => {
                    due = match monitored.startup_period(&probe) {
                        Some(soon) => Instant::now() + soon,
                        None => next(due, probe.period, Instant::now()),
                    };
                    continue;
                }
            }
        };
        if reset.is_err() {
            return; // The service is gone.
        }
        let delayed = resets.borrow_and_update().delayed;
        due = Instant::now() + if delayed { probe.initial_delay } else { Duration::ZERO };
    }
}

async fn tick(monitored: &MonitoredService, probe: &Probe, due: Instant, lateness: &LatenessRecorder) {
    sleep_until(due).await;
    lateness.record(due.elapsed());
    monitored.check(probe).await;
}

/// Measures the processes of a service until it is dropped: on the grid, at a reset, and when a process has lived long enough.
pub(crate) async fn process(
    monitored: Arc<MonitoredService>,
    gauges: Arc<Gauges>,
    period: Duration,
    lateness: Arc<LatenessRecorder>,
) {
    let mut resets = monitored.resets.subscribe();
    let mut due = Instant::now();
    loop {
        tokio::select! {
            biased;
            reset = resets.changed() => {
                if reset.is_err() {
                    return;
                }
                due = Instant::now();
            }
            () = sleep_until(due), if !monitored.held() => {
                lateness.record(due.elapsed());
                let settles = gauges.measure(&monitored);
                let now = Instant::now();
                due = next(due, period, now);
                if let Some(settles) = settles {
                    due = due.min(now + settles);
                }
            }
        }
    }
}

/// The next tick of the grid.
fn next(due: Instant, period: Duration, now: Instant) -> Instant {
    let period = period.max(Duration::from_millis(1));
    let missed = now.saturating_duration_since(due).as_nanos() / period.as_nanos();
    due + period.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_ticks_are_left_out() {
        let (start, period) = (Instant::now(), Duration::from_secs(1));
        for (now, expected) in [(0, 1_000), (999, 1_000), (1_000, 2_000), (5_300, 6_000)] {
            let due = next(start, period, start + Duration::from_millis(now));
            assert_eq!(due - start, Duration::from_millis(expected), "at {now}");
        }
    }
}
