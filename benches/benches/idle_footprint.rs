//! What does heald cost while nothing is wrong?
//!
//! Question: memory (PSS of keeper and runtime together) and processor share of an idle heald with ten supervised services and
//! ten HTTP probes a second.
//! Method: a release heald, thirty seconds after it is ready; PSS from /proc/PID/smaps_rollup, processor time from
//! /proc/PID/stat over thirty seconds.
//! Command: `cargo bench -p heald-benches --bench idle_footprint`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use heald_harness::{Heald, Launch, free_port, within};

const WINDOW: Duration = Duration::from_secs(30);

fn pss_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn main() {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_heald-measured"));
    let services: String = (0..10)
        .map(|i| {
            let (port, exe) = (free_port(), binary.display());
            format!(
                "[[service]]\nname = \"s{i}\"\n[service.process]\ncommand = [\"{exe}\", \"demo-service\", \"--listen\", \"127.0.0.1:{port}\"]\n[[service.probe]]\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}/health\"\nperiod = \"1s\"\n"
            )
        })
        .collect();
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:@PORT@\"]\n[store]\npath = \"@DIR@/heald.db\"\n[keeper]\nstate_dir = \"@DIR@/keeper\"\n{services}"
    );
    let heald = Heald::start(Launch { binary, config, env: Vec::new() });
    let (keeper, runtime) = (heald.keeper(), heald.runtime().unwrap());
    let settle = Instant::now() + WINDOW;
    within(WINDOW * 2, "it has settled", || (Instant::now() > settle).then_some(()));
    let (before, began) = (ticks(keeper) + ticks(runtime), Instant::now());
    let end = began + WINDOW;
    within(WINDOW * 2, "the window is over", || (Instant::now() > end).then_some(()));
    let used = ticks(keeper) + ticks(runtime) - before;
    let share = used as f64 / 100.0 / began.elapsed().as_secs_f64() * 100.0;
    let (k, r) = (pss_kib(keeper) as f64 / 1024.0, pss_kib(runtime) as f64 / 1024.0);
    println!("PSS: keeper {k:.1} MiB + runtime {r:.1} MiB = {:.1} MiB", k + r);
    println!("processor: {share:.2} % of one core over {:.0} s", began.elapsed().as_secs_f64());
}
