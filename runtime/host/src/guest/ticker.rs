//! The clock that interrupts guests. It is an OS thread of its own, so that work on the async runtime cannot delay it.
//!
//! A guest's code compares the engine's epoch with its deadline at every loop and function entry. This thread advances
//! the epoch while a guest runs. When none has run for a while, the thread parks, so that an idle heald sleeps. It does
//! not know who runs, or for how long: each store counts the ticks it sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

/// How far a guest can exceed its budget. A detector's 5 ms need a clock this fine.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Ticks without any guest call before the thread parks. Waking the thread costs the next call some microseconds, and
/// ticking costs an idle heald some wake-ups. With this pause, a burst of calls wakes it once.
const LINGER: u32 = 8;

#[derive(Default)]
struct TickerState {
    /// Guest calls begun and ended since the start; the difference is running.
    begun: AtomicU64,
    ended: AtomicU64,
    parked: AtomicBool,
    stopped: AtomicBool,
}

/// The thread and what it shares with the calls. Dropping it ends the thread.
pub(crate) struct Ticker {
    shared: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread, parked.
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(TickerState::default());
        let ticking = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("heald-epochs".into())
            // The thread sleeps and counts, so the smallest stack that every platform takes is enough.
            .stack_size(64 << 10)
            .spawn(move || tick(&ticking, &engine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Begins a guest call; dropping the value ends it.
    pub(crate) fn begin(&self) -> RunningCall<'_> {
        self.shared.begun.fetch_add(1, Ordering::SeqCst);
        // The thread marks itself as parked before it looks at the count for the last time, so one of the two sees the
        // other.
        if self.shared.parked.load(Ordering::SeqCst) {
            self.wake();
        }
        RunningCall(&self.shared)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // The thread does nothing that could panic, and a drop cannot report anything.
            let _ = thread.join();
        }
    }
}

/// A guest call under way.
pub(crate) struct RunningCall<'a>(&'a TickerState);

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

fn tick(shared: &TickerState, engine: &Engine) {
    let mut seen = 0;
    let mut quiet = LINGER;
    while !shared.stopped.load(Ordering::SeqCst) {
        let begun = shared.begun.load(Ordering::SeqCst);
        let busy = begun != seen || begun != shared.ended.load(Ordering::SeqCst);
        seen = begun;
        quiet = if busy { 0 } else { quiet + 1 };
        if quiet > LINGER {
            park(shared, seen);
            quiet = 0;
            continue;
        }
        thread::sleep(TICK);
        engine.increment_epoch();
    }
}

/// Parks until a call begins or the ticker stops. Returning early does no harm.
fn park(shared: &TickerState, seen: u64) {
    shared.parked.store(true, Ordering::SeqCst);
    if shared.begun.load(Ordering::SeqCst) == seen && !shared.stopped.load(Ordering::SeqCst) {
        thread::park();
    }
    shared.parked.store(false, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !reached() {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            thread::yield_now();
        }
    }

    #[test]
    fn it_parks_when_nothing_runs_and_wakes_for_a_call() {
        let ticker = Ticker::start(Engine::new(&crate::code::engine::config()).unwrap()).unwrap();
        wait_for("parked at the start", || ticker.shared.parked.load(Ordering::SeqCst));
        let running = ticker.begin();
        wait_for("awake for the call", || !ticker.shared.parked.load(Ordering::SeqCst));
        drop(running);
        wait_for("parked again", || ticker.shared.parked.load(Ordering::SeqCst));
    }

    #[test]
    fn it_ticks_for_as_long_as_a_call_lasts() {
        let ticker = Ticker::start(Engine::new(&crate::code::engine::config()).unwrap()).unwrap();
        let running = ticker.begin();
        wait_for("awake", || !ticker.shared.parked.load(Ordering::SeqCst));
        let until = Instant::now() + TICK * (3 * LINGER);
        while Instant::now() < until {
            assert!(!ticker.shared.parked.load(Ordering::SeqCst), "parked while a guest runs");
            thread::yield_now();
        }
        drop(running);
    }
}
