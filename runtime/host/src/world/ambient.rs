//! Clocks and randomness for a plug-in that is not granted the real ones: clocks stand still at the `now` of the call,
//! and randomness is derived from its `seed`.
//!
//! Nothing here reads the machine's clock or its randomness, so a replay of a call sees the same.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heald_model::Moment;
use rand::TryRng;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// The `now` and the `seed` of the call under way.
#[derive(Default)]
pub(crate) struct Ambient {
    now: AtomicU64,
    random_state: AtomicU64,
}

impl Ambient {
    pub(crate) fn set(&self, now: Moment, seed: u64) {
        self.now.store(now.nanos(), Ordering::Relaxed);
        self.random_state.store(seed, Ordering::Relaxed);
    }

    /// SplitMix64: small, not secret, and the same for the same seed.
    fn roll(&self) -> u64 {
        let state =
            self.random_state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

pub(crate) struct StoppedClock(pub(crate) Arc<Ambient>);

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.now.load(Ordering::Relaxed))
    }
}

impl HostMonotonicClock for StoppedClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.now.load(Ordering::Relaxed)
    }
}

pub(crate) struct SeededRandom(pub(crate) Arc<Ambient>);

impl TryRng for SeededRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // The high half is the more random one.
        Ok(u32::try_from(self.0.roll() >> 32).unwrap_or_default())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.roll())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let roll = self.0.roll().to_le_bytes();
            chunk.copy_from_slice(roll.get(..chunk.len()).unwrap_or(&roll));
        }
        Ok(())
    }
}
