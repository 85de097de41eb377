//! What does a storm of crashes cost, and does it hold up anybody else?
//!
//! Question: 10, 100 and 1 000 services that each run for two seconds and end with an error, for a minute, in the default
//! configuration: how many decisions does heald make for each death, how large does its journal get, how much processor does it
//! take, and how long does a further service wait for its restart when it is killed meanwhile? All of it must grow with the number
//! of deaths and no faster.
//! Method: a release heald; its journal is counted by kind when it has ended; the write-ahead log is looked at every 50 ms and its
//! largest size is told; the processor time is that of the runtime's and the keeper's own threads, without their children (forking
//! is the keeper's work, and told apart). The further services note CLOCK_MONOTONIC first thing; each is killed once, so that no
//! back-off is in the figure. Beside it, in the same run, the same services with no storm.
//! Command: `cargo bench -p heald-benches --bench crash_storm`, or with the numbers of services behind `--`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use heald_harness::{Heald, Launch, kill, until};
use rustix::time::{ClockId, clock_gettime};

const LASTS: Duration = Duration::from_secs(60);
const BETWEEN_KILLS: Duration = Duration::from_secs(3);
/// Services that run well, of which one after the other is killed once.
const CALM: usize = 19;
const PATIENCE: Duration = Duration::from_secs(120);
const STAMP: &str = env!("CARGO_BIN_EXE_stamp");
/// Of this machine, as the kernel counts processor time.
const TICKS_PER_SECOND: f64 = 100.0;

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn lives(file: &Path) -> Vec<(u32, u64)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = &text[..text.rfind('\n').unwrap_or(0)];
    whole
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()))
        .collect()
}

/// Seconds of processor time of a process itself.
fn seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let of = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (of(11) + of(12)) / TICKS_PER_SECOND
}

struct Told {
    kinds: BTreeMap<String, u64>,
    wal: u64,
    database: u64,
    runtime: f64,
    keeper: f64,
    restarts: Vec<f64>,
}

fn storm(services: usize) -> Told {
    let crashing: String = (0..services)
        .map(|i| {
            format!(
                "[[service]]\nname = \"c{i}\"\n[service.process]\ncommand = [\"sh\", \"-c\", \"sleep 2; exit 1\"]\n"
            )
        })
        .collect();
    let calm: String = (0..CALM)
        .map(|i| {
            format!("[[service]]\nname = \"calm{i}\"\n[service.process]\ncommand = [\"{STAMP}\", \"@DIR@/calm{i}\"]\n")
        })
        .collect();
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:@PORT@\"]\n[store]\npath = \"@DIR@/heald.db\"\n[keeper]\nstate_dir = \"@DIR@/keeper\"\n\
         {calm}{crashing}"
    );
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_heald-measured"));
    let heald = Heald::start(Launch { binary, config, env: Vec::new() });
    let calm: Vec<PathBuf> = (0..CALM).map(|i| heald.path(&format!("calm{i}"))).collect();
    let database = heald.path("heald.db");
    let wal = heald.path("heald.db-wal");
    calm.iter().for_each(|file| {
        until(PATIENCE, "the calm ones run", || lives(file).len(), |count| *count > 0);
    });
    let (keeper, runtime) = (heald.keeper(), heald.runtime().unwrap());
    let before = (seconds(runtime), seconds(keeper));
    let began = Instant::now();
    let mut told =
        Told { kinds: BTreeMap::new(), wal: 0, database: 0, runtime: 0.0, keeper: 0.0, restarts: Vec::new() };
    let mut next_kill = began + BETWEEN_KILLS;
    while began.elapsed() < LASTS {
        told.wal = told.wal.max(fs::metadata(&wal).map_or(0, |file| file.len()));
        if Instant::now() >= next_kill {
            let Some(file) = calm.get(told.restarts.len()) else { break };
            let killed = now();
            kill(lives(file)[0].0);
            let next = until(PATIENCE, "a second life", || lives(file), |lives| lives.len() > 1);
            told.restarts.push((next[1].1 - killed) as f64 / 1e6);
            next_kill = Instant::now() + BETWEEN_KILLS;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    told.runtime = (seconds(runtime) - before.0) / LASTS.as_secs_f64();
    told.keeper = (seconds(keeper) - before.1) / LASTS.as_secs_f64();
    told.database = fs::metadata(&database).map_or(0, |file| file.len());
    let connection = rusqlite::Connection::open(&database).unwrap();
    let mut counts = connection.prepare("SELECT kind, count(*) FROM journal GROUP BY kind").unwrap();
    let rows = counts.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    told.kinds = rows.map(Result::unwrap).collect();
    told
}

fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if given.is_empty() { vec![0, 10, 100, 1_000] } else { given };
    println!(
        "{:>8} {:>7} {:>9} {:>10} {:>8} {:>8} {:>9} {:>9} {:>13}",
        "services", "deaths", "decisions", "a death", "wal MB", "db MB", "runtime %", "keeper %", "calm: ms p50"
    );
    for services in sizes {
        let told = storm(services);
        let of = |kind: &str| told.kinds.get(kind).copied().unwrap_or(0);
        let (deaths, decisions) = (of("process-exited"), of("decided"));
        let mut restarts = told.restarts;
        restarts.sort_by(f64::total_cmp);
        println!(
            "{services:>8} {deaths:>7} {decisions:>9} {:>10.2} {:>8.1} {:>8.1} {:>9.1} {:>9.1} {:>13.2}",
            decisions as f64 / deaths.max(1) as f64,
            told.wal as f64 / 1e6,
            told.database as f64 / 1e6,
            told.runtime * 100.0,
            told.keeper * 100.0,
            restarts[restarts.len() / 2],
        );
        println!("         {:?}", told.kinds);
    }
}
