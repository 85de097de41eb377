//! The loop and the guard on virtual time, against a world made of dice.
//!
//! | file | |
//! |---|---|
//! | `scenario` | what is thrown from a seed: services, mishaps, operators' orders, configuration, heald's own deaths |
//! | `world`, `body` | what heald watches, as it truly is: all of it, and one service |
//! | `ports` | the world as one life of heald reaches it |
//! | `plugins` | detectors and policies with moods |
//! | `play` | plays one scenario |
//! | `checks` | what must hold: of each act, at every moment, and in the end |
//!
//! `HEALD_SIM_SEEDS` sets how many scenarios run (default 300), `HEALD_SIM_SEED` runs one alone and tells its story.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

mod body;
mod checks;
mod play;
mod plugins;
mod ports;
mod scenario;
mod world;

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};

use heald_model::ServiceName;

use crate::checks::End;

fn run(seed: u64, with_deaths: bool) -> BTreeMap<ServiceName, End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play::play(seed, with_deaths))
}

/// One scenario, straight and with heald's deaths: both must end well, and alike.
fn scenario(seed: u64) {
    let straight = run(seed, false);
    let interrupted = run(seed, true);
    for (service, end) in &straight {
        if let (Some(end), Some(other)) = (end, interrupted.get(service).and_then(Option::as_ref)) {
            assert_eq!(end, other, "seed {seed}: {service} ended otherwise after heald's death");
        }
        if let Some((serves, open)) = end {
            assert_eq!(*serves, open.is_empty(), "seed {seed}: {service}: {open:?}");
        }
    }
}

#[test]
fn every_scenario_ends_well_and_dying_on_the_way_changes_nothing() {
    let one = std::env::var("HEALD_SIM_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let count: u64 = std::env::var("HEALD_SIM_SEEDS").map_or(300, |count| count.parse().unwrap());
    let (first, last) = one.map_or((0, count), |seed| (seed, seed + 1));
    println!("simulating the scenarios of the seeds {first}..{last}");
    let next = AtomicU64::new(first);
    let failed = std::sync::Mutex::new(Vec::new());
    let play = || {
        while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < last) {
            if catch_unwind(|| scenario(seed)).is_err() {
                failed.lock().unwrap().push(seed);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(play);
        scope.spawn(play);
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed with HEALD_SIM_SEED one of {failed:?}");
}
