//! When checks are made: one small loop for each probe.
//!
//! A check is due on a fixed grid. A tick that passes while the check before is still under way is left out, never made up for.
//! A call (something was done to the service, a new life, held, released) ends the check under way and begins a new grid.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::lateness::Recorder;
use crate::monitor::{Probe, Watched};
use crate::process::Gauges;

/// Makes one probe's checks for ever.
pub(crate) async fn probe(watched: Arc<Watched>, probe: Arc<Probe>, offset: Duration, lateness: Arc<Recorder>) {
    let mut calls = watched.calls.subscribe();
    let mut due = Instant::now() + offset + probe.initial_delay;
    loop {
        let called = if watched.rests(&probe) {
            calls.changed().await
        } else {
            tokio::select! {
                biased;
                called = calls.changed() => called,
                () = tick(&watched, &probe, due, &lateness) => {
                    due = match watched.eager(&probe) {
                        Some(soon) => Instant::now() + soon,
                        None => next(due, probe.period, Instant::now()),
                    };
                    continue;
                }
            }
        };
        if called.is_err() {
            return; // The service is gone.
        }
        let delayed = calls.borrow_and_update().delayed;
        due = Instant::now() + if delayed { probe.initial_delay } else { Duration::ZERO };
    }
}

async fn tick(watched: &Watched, probe: &Probe, due: Instant, lateness: &Recorder) {
    sleep_until(due).await;
    lateness.record(due.elapsed());
    watched.check(probe).await;
}

/// Looks at a service's processes for ever: on its grid, when called, and when one of them has lived long enough.
pub(crate) async fn process(watched: Arc<Watched>, gauges: Arc<Gauges>, period: Duration, lateness: Arc<Recorder>) {
    let mut calls = watched.calls.subscribe();
    let mut due = Instant::now();
    loop {
        tokio::select! {
            biased;
            called = calls.changed() => {
                if called.is_err() {
                    return;
                }
                due = Instant::now();
            }
            () = sleep_until(due), if !watched.held() => {
                lateness.record(due.elapsed());
                let settles = gauges.look(&watched);
                let now = Instant::now();
                due = next(due, period, now);
                if let Some(settles) = settles {
                    due = due.min(now + settles);
                }
            }
        }
    }
}

/// The first tick of the grid that is still to come.
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
