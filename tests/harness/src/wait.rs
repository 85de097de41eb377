//! Waiting for a state, with a deadline.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `look` gives something, and returns it; panics with `what` when the time is up.
pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Waits until `look` gives a value that `fits`, and returns it; panics with the last value seen when the time is up.
pub fn until<T: Debug>(limit: Duration, what: &str, mut look: impl FnMut() -> T, fits: impl Fn(&T) -> bool) -> T {
    let end = Instant::now() + limit;
    loop {
        let seen = look();
        if fits(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}; last seen: {seen:#?}");
        std::thread::sleep(LOOK);
    }
}
