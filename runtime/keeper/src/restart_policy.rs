//! When the runtime is started again, and how: pure, time is an argument. It knows nothing of processes.

use std::collections::VecDeque;

/// The bounds of the watch over the runtime, in microseconds where it is a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// A runtime that lived shorter died young: the next start waits.
    pub(crate) young_us: u64,
    /// The first wait; it doubles with each that dies young.
    pub(crate) backoff_us: u64,
    /// The longest wait.
    pub(crate) backoff_max_us: u64,
    /// So many crashes within the window are answered by safe mode.
    pub(crate) crashes: usize,
    /// The window, and how long a calm ends safe mode.
    pub(crate) window_us: u64,
}

/// How the next runtime is to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) at_us: u64,
    pub(crate) safe_mode: bool,
}

/// The watch over a runtime that may die.
#[derive(Debug)]
pub(crate) struct Vigil {
    bounds: Bounds,
    crashes: VecDeque<u64>,
    died_young: u32,
    safe_mode: bool,
}

impl Vigil {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, crashes: VecDeque::new(), died_young: 0, safe_mode: false }
    }

    /// The runtime that was started at `started_us` crashed (or was killed for its silence) now. The first to die is
    /// replaced at once, also a young one: what killed it may be gone with it.
    pub(crate) fn crashed(&mut self, started_us: u64, now_us: u64) -> Start {
        let lived = now_us.saturating_sub(started_us);
        if lived >= self.bounds.window_us {
            // A calm as long as the window: whatever was wrong is over.
            self.safe_mode = false;
            self.crashes.clear();
        }
        self.crashes.push_back(now_us);
        while self.crashes.front().is_some_and(|then| now_us.saturating_sub(*then) > self.bounds.window_us) {
            self.crashes.pop_front();
        }
        self.safe_mode |= self.crashes.len() >= self.bounds.crashes;
        let wait = if lived >= self.bounds.young_us {
            self.died_young = 0;
            0
        } else {
            self.died_young = self.died_young.saturating_add(1);
            match self.died_young.checked_sub(2) {
                None => 0,
                Some(doublings) => self
                    .bounds
                    .backoff_us
                    .saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX))
                    .min(self.bounds.backoff_max_us),
            }
        };
        Start { at_us: now_us.saturating_add(wait), safe_mode: self.safe_mode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn vigil() -> Vigil {
        Vigil::new(Bounds {
            young_us: SECOND,
            backoff_us: SECOND / 10,
            backoff_max_us: 5 * SECOND,
            crashes: 3,
            window_us: 60 * SECOND,
        })
    }

    #[test]
    fn one_that_lived_is_replaced_at_once() {
        let start = vigil().crashed(0, 100 * SECOND);
        assert_eq!(start, Start { at_us: 100 * SECOND, safe_mode: false });
    }

    #[test]
    fn the_young_dead_are_replaced_ever_more_slowly() {
        let mut vigil = vigil();
        let mut now = 0;
        let waits: Vec<u64> = (0..10)
            .map(|_| {
                let start = vigil.crashed(now, now);
                let wait = start.at_us - now;
                now = start.at_us;
                wait / 1000
            })
            .collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        let lived = vigil.crashed(now, now + 2 * SECOND);
        assert_eq!(lived.at_us, now + 2 * SECOND);
    }

    #[test]
    fn three_crashes_within_the_window_mean_safe_mode_until_a_calm() {
        let mut vigil = vigil();
        assert!(!vigil.crashed(0, 10 * SECOND).safe_mode);
        assert!(!vigil.crashed(10 * SECOND, 20 * SECOND).safe_mode);
        assert!(vigil.crashed(20 * SECOND, 30 * SECOND).safe_mode);
        assert!(vigil.crashed(30 * SECOND, 89 * SECOND).safe_mode, "59 s are no calm");
        assert!(!vigil.crashed(89 * SECOND, 149 * SECOND).safe_mode);
    }

    #[test]
    fn crashes_far_apart_are_no_pattern() {
        let mut vigil = vigil();
        for minute in 1..10 {
            let now = minute * 40 * SECOND;
            assert!(!vigil.crashed(now - 40 * SECOND, now).safe_mode);
        }
    }
}
