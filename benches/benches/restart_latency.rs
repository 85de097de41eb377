//! How long is a service down when its process is killed?
//!
//! Question: the time from `kill -9` of a supervised process that was up for more than a second to the first instruction of the
//! new one, over fifty services killed one after the other.
//! Method: a release heald with fifty services of a program that notes CLOCK_MONOTONIC first thing; the kill is noted just
//! before the system call. Beside it, in the same run, the floor: a loop that waits for its child and forks and executes the
//! same program anew.
//! Command: `cargo bench -p heald-benches --bench restart_latency`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use heald_harness::{Heald, Launch, kill, until, within};
use rustix::time::{ClockId, clock_gettime};

const SERVICES: usize = 50;
const PATIENCE: Duration = Duration::from_secs(30);
const STAMP: &str = env!("CARGO_BIN_EXE_stamp");

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn lives(file: &Path) -> Vec<(u32, u64)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = &text[..text.rfind('\n').unwrap_or(0)];
    whole
        .lines()
        .map(|line| line.split_once(' ').map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())).unwrap())
        .collect()
}

fn quantiles(name: &str, mut nanos: Vec<u64>) -> f64 {
    nanos.sort_unstable();
    let at = |share: f64| nanos[((nanos.len() - 1) as f64 * share) as usize] as f64 / 1e6;
    println!(
        "{name:24} median {:6.2} ms   p90 {:6.2} ms   max {:6.2} ms   ({} kills)",
        at(0.5),
        at(0.9),
        at(1.0),
        nanos.len()
    );
    at(0.5)
}

/// fork, exec, wait, and again: what nothing that restarts processes can beat.
fn bare() -> Vec<u64> {
    let folder = std::env::temp_dir().join(format!("heald-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("bare");
    let start = || -> Child { Command::new(STAMP).arg(&file).spawn().unwrap() };
    let mut child = start();
    let mut delays = Vec::new();
    for round in 0..SERVICES {
        until(PATIENCE, "it runs", || lives(&file).len(), |count| *count > round);
        let (pid, victim) = (child.id(), std::thread::current());
        let killer = std::thread::spawn(move || {
            let at = now();
            kill(pid);
            victim.unpark();
            at
        });
        child.wait().unwrap();
        child = start();
        let killed = killer.join().unwrap();
        let began = until(PATIENCE, "the next", || lives(&file), |lives| lives.len() > round + 1)[round + 1].1;
        delays.push(began - killed);
    }
    let _ = (child.kill(), child.wait(), fs::remove_dir_all(folder));
    delays
}

fn healed() -> Vec<u64> {
    let services: String = (0..SERVICES)
        .map(|i| format!("[[service]]\nname = \"s{i}\"\n[service.process]\ncommand = [\"{STAMP}\", \"@DIR@/s{i}\"]\n"))
        .collect();
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:@PORT@\"]\n[store]\npath = \"@DIR@/heald.db\"\n[keeper]\nstate_dir = \"@DIR@/keeper\"\n{services}"
    );
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_heald-measured"));
    let heald = Heald::start(Launch { binary, config, env: Vec::new() });
    let files: Vec<PathBuf> = (0..SERVICES).map(|i| heald.path(&format!("s{i}"))).collect();
    let first: Vec<(u32, u64)> =
        files.iter().map(|file| until(PATIENCE, "it runs", || lives(file), |lives| !lives.is_empty())[0]).collect();
    let youngest = first.iter().map(|(_, began)| *began).max().unwrap();
    within(PATIENCE, "all are older than a second", || (now() > youngest + 2_000_000_000).then_some(()));
    files
        .iter()
        .zip(first)
        .map(|(file, (pid, _))| {
            let killed = now();
            kill(pid);
            until(PATIENCE, "a second life", || lives(file), |lives| lives.len() > 1)[1].1 - killed
        })
        .collect()
}

fn main() {
    let floor = quantiles("bare fork-exec-wait loop", bare());
    let heald = quantiles("heald", healed());
    println!("{:24} {:.1} times the bare loop", "ratio", heald / floor);
}
