//! The restart policy for the runtime: when it is started again, and in which mode.
//!
//! It is pure: time is an argument. It knows nothing of processes.

use std::collections::VecDeque;

/// The limits of the policy. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RestartLimits {
    /// A runtime that lived shorter has failed early.
    pub(crate) young_us: u64,
    /// The first wait. It doubles with each further early failure.
    pub(crate) backoff_us: u64,
    /// The longest wait.
    pub(crate) backoff_max_us: u64,
    /// This many crashes within the window begin safe mode.
    pub(crate) crashes: usize,
    /// The window, and how long it must be calm until the first safe mode ends.
    pub(crate) window_us: u64,
    /// The longest safe mode. After as long without one, the next lasts as long as the first.
    pub(crate) safe_mode_max_us: u64,
}

/// One safe mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SafeModePeriod {
    /// When it ends, if no runtime dies meanwhile.
    pub(crate) until_us: u64,
    /// The how manieth in a row it is, from 1.
    pub(crate) times: u32,
}

/// What a crash leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AfterCrash {
    /// When the next runtime is started.
    pub(crate) start_us: u64,
    /// A safe mode begins with this crash. It is how many crashes led to it.
    pub(crate) safe_mode_begins: Option<usize>,
}

/// The state of the policy.
#[derive(Debug)]
pub(crate) struct RuntimeRestartPolicy {
    bounds: RestartLimits,
    crashes: VecDeque<u64>,
    short_lives: u32,
    /// The newest safe mode. It may be over.
    newest_safe_mode: Option<SafeModePeriod>,
}

impl RuntimeRestartPolicy {
    pub(crate) fn new(bounds: RestartLimits) -> Self {
        Self { bounds, crashes: VecDeque::new(), short_lives: 0, newest_safe_mode: None }
    }

    /// The safe mode at this time.
    pub(crate) fn safe_mode(&self, now_us: u64) -> Option<SafeModePeriod> {
        self.newest_safe_mode.filter(|period| now_us < period.until_us)
    }

    /// A crash of the runtime that was started at `started_us`, now. With `trying` it died while it tried something that may
    /// have ended it. The first early failure is replaced at once as well, because its cause may be gone with it.
    pub(crate) fn crashed(&mut self, started_us: u64, now_us: u64, trying: bool) -> AfterCrash {
        let safe_mode_begins = self.note_crash(now_us, trying);
        let wait = if now_us.saturating_sub(started_us) >= self.bounds.young_us {
            self.short_lives = 0;
            0
        } else {
            self.short_lives = self.short_lives.saturating_add(1);
            match self.short_lives.checked_sub(2) {
                None => 0,
                Some(doublings) => doubled(self.bounds.backoff_us, doublings).min(self.bounds.backoff_max_us),
            }
        };
        AfterCrash { start_us: now_us.saturating_add(wait), safe_mode_begins }
    }

    /// Begins safe mode or extends it, if this crash is a reason to. Returns how many crashes led to one that begins.
    fn note_crash(&mut self, now_us: u64, trying: bool) -> Option<usize> {
        let RestartLimits { crashes, window_us, safe_mode_max_us, .. } = self.bounds;
        self.crashes.push_back(now_us);
        while self.crashes.front().is_some_and(|then| now_us.saturating_sub(*then) > window_us) {
            self.crashes.pop_front();
        }
        let before = self.newest_safe_mode;
        if let Some(period) = self.newest_safe_mode.as_mut().filter(|period| now_us < period.until_us) {
            // The calm begins anew.
            period.until_us = period.until_us.max(now_us.saturating_add(window_us));
            return None;
        }
        let over_for = before.map(|period| now_us.saturating_sub(period.until_us));
        // A runtime that dies just after safe mode dies of what it took up again.
        let relapse = trying || over_for.is_some_and(|over| over <= window_us);
        if !relapse && self.crashes.len() < crashes {
            return None;
        }
        let recent = before.filter(|_| over_for.is_some_and(|over| over < safe_mode_max_us));
        let times = recent.map_or(1, |period| period.times.saturating_add(1));
        let lasts = doubled(window_us, times - 1).min(safe_mode_max_us);
        self.newest_safe_mode = Some(SafeModePeriod { until_us: now_us.saturating_add(lasts), times });
        Some(std::mem::take(&mut self.crashes).len())
    }
}

/// A time after so many doublings.
fn doubled(time_us: u64, doublings: u32) -> u64 {
    time_us.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn restart_policy() -> RuntimeRestartPolicy {
        RuntimeRestartPolicy::new(RestartLimits {
            young_us: SECOND,
            backoff_us: SECOND / 10,
            backoff_max_us: 5 * SECOND,
            crashes: 3,
            window_us: 60 * SECOND,
            safe_mode_max_us: 3600 * SECOND,
        })
    }

    #[test]
    fn one_that_lived_is_replaced_at_once() {
        let after = restart_policy().crashed(0, 100 * SECOND, false);
        assert_eq!(after, AfterCrash { start_us: 100 * SECOND, safe_mode_begins: None });
    }

    #[test]
    fn the_young_dead_are_replaced_ever_more_slowly() {
        let mut restart_policy = restart_policy();
        let mut now = 0;
        let waits: Vec<u64> = (0..10)
            .map(|_| {
                let start_us = restart_policy.crashed(now, now, false).start_us;
                let wait = start_us - now;
                now = start_us;
                wait / 1000
            })
            .collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        let lived = restart_policy.crashed(now, now + 2 * SECOND, false);
        assert_eq!(lived.start_us, now + 2 * SECOND);
    }

    /// A policy whose first safe mode began at the second 30.
    fn in_safe_mode() -> RuntimeRestartPolicy {
        let mut restart_policy = restart_policy();
        let begun: Vec<_> = [10, 20, 30]
            .map(|second| restart_policy.crashed(0, second * SECOND, false).safe_mode_begins)
            .into_iter()
            .collect();
        assert_eq!(begun, [None, None, Some(3)]);
        restart_policy
    }

    #[test]
    fn three_crashes_within_the_window_mean_safe_mode_until_a_calm_minute() {
        let mut restart_policy = in_safe_mode();
        assert_eq!(restart_policy.safe_mode(30 * SECOND), Some(SafeModePeriod { until_us: 90 * SECOND, times: 1 }));
        assert_eq!(restart_policy.crashed(0, 80 * SECOND, false).safe_mode_begins, None);
        let extended = SafeModePeriod { until_us: 140 * SECOND, times: 1 };
        assert_eq!(restart_policy.safe_mode(139 * SECOND), Some(extended), "the calm begins anew with each crash");
        assert_eq!(restart_policy.safe_mode(140 * SECOND), None);
    }

    #[test]
    fn each_further_safe_mode_lasts_twice_as_long_up_to_an_hour() {
        let mut restart_policy = in_safe_mode();
        let mut until = 90;
        for expected in [2, 4, 8, 16, 32, 60, 60] {
            let now = until + 59;
            let after = restart_policy.crashed(0, now * SECOND, false);
            assert!(after.safe_mode_begins.is_some(), "one crash within a minute after it is enough");
            until = now + expected * 60;
            assert_eq!(restart_policy.safe_mode(now * SECOND).unwrap().until_us, until * SECOND);
        }
        let now = until + 3600;
        assert!((0..3).any(|_| restart_policy.crashed(0, now * SECOND, false).safe_mode_begins.is_some()));
        assert_eq!(restart_policy.safe_mode(now * SECOND).unwrap().times, 1, "after an hour without it starts anew");
    }

    #[test]
    fn a_crash_while_something_is_tried_is_enough() {
        let mut restart_policy = in_safe_mode();
        let now = 90 + 600;
        assert!(restart_policy.crashed(0, now * SECOND, true).safe_mode_begins.is_some());
        assert_eq!(restart_policy.safe_mode(now * SECOND).unwrap().times, 2);
    }

    #[test]
    fn crashes_far_apart_are_no_pattern() {
        let mut restart_policy = restart_policy();
        for minute in 1..10 {
            let now = minute * 40 * SECOND;
            assert_eq!(restart_policy.crashed(now - 40 * SECOND, now, false).safe_mode_begins, None);
        }
    }
}
