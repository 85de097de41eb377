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
    /// This many crashes within the window lead to safe mode.
    pub(crate) crashes: usize,
    /// The window. A runtime that lives this long ends safe mode.
    pub(crate) window_us: u64,
}

/// When and how the next runtime is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RuntimeStart {
    pub(crate) at_us: u64,
    pub(crate) safe_mode: bool,
}

/// The state of the policy.
#[derive(Debug)]
pub(crate) struct RuntimeRestartPolicy {
    bounds: RestartLimits,
    crashes: VecDeque<u64>,
    short_lives: u32,
    safe_mode: bool,
}

impl RuntimeRestartPolicy {
    pub(crate) fn new(bounds: RestartLimits) -> Self {
        Self { bounds, crashes: VecDeque::new(), short_lives: 0, safe_mode: false }
    }

    /// A crash of the runtime that was started at `started_us`, now. The first early failure is replaced at once as
    /// well, because its cause may be gone with it.
    pub(crate) fn crashed(&mut self, started_us: u64, now_us: u64) -> RuntimeStart {
        let lived = now_us.saturating_sub(started_us);
        if lived >= self.bounds.window_us {
            // The runtime lived as long as the window, so whatever was wrong is over.
            self.safe_mode = false;
            self.crashes.clear();
        }
        self.crashes.push_back(now_us);
        while self.crashes.front().is_some_and(|then| now_us.saturating_sub(*then) > self.bounds.window_us) {
            self.crashes.pop_front();
        }
        self.safe_mode |= self.crashes.len() >= self.bounds.crashes;
        let wait = if lived >= self.bounds.young_us {
            self.short_lives = 0;
            0
        } else {
            self.short_lives = self.short_lives.saturating_add(1);
            match self.short_lives.checked_sub(2) {
                None => 0,
                Some(doublings) => self
                    .bounds
                    .backoff_us
                    .saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX))
                    .min(self.bounds.backoff_max_us),
            }
        };
        RuntimeStart { at_us: now_us.saturating_add(wait), safe_mode: self.safe_mode }
    }
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
        })
    }

    #[test]
    fn one_that_lived_is_replaced_at_once() {
        let start = restart_policy().crashed(0, 100 * SECOND);
        assert_eq!(start, RuntimeStart { at_us: 100 * SECOND, safe_mode: false });
    }

    #[test]
    fn the_young_dead_are_replaced_ever_more_slowly() {
        let mut restart_policy = restart_policy();
        let mut now = 0;
        let waits: Vec<u64> = (0..10)
            .map(|_| {
                let start = restart_policy.crashed(now, now);
                let wait = start.at_us - now;
                now = start.at_us;
                wait / 1000
            })
            .collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        let lived = restart_policy.crashed(now, now + 2 * SECOND);
        assert_eq!(lived.at_us, now + 2 * SECOND);
    }

    #[test]
    fn three_crashes_within_the_window_mean_safe_mode_until_a_calm() {
        let mut restart_policy = restart_policy();
        assert!(!restart_policy.crashed(0, 10 * SECOND).safe_mode);
        assert!(!restart_policy.crashed(10 * SECOND, 20 * SECOND).safe_mode);
        assert!(restart_policy.crashed(20 * SECOND, 30 * SECOND).safe_mode);
        assert!(restart_policy.crashed(30 * SECOND, 89 * SECOND).safe_mode, "59 s are no calm");
        assert!(!restart_policy.crashed(89 * SECOND, 149 * SECOND).safe_mode);
    }

    #[test]
    fn crashes_far_apart_are_no_pattern() {
        let mut restart_policy = restart_policy();
        for minute in 1..10 {
            let now = minute * 40 * SECOND;
            assert!(!restart_policy.crashed(now - 40 * SECOND, now).safe_mode);
        }
    }
}
