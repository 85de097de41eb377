//! How many bytes a day does it take to keep what a replay needs?
//!
//! Question: what 100 services cost on disk, probed once a second, each with two series (an HTTP probe and the process itself) that
//! three detectors look at; by what it is kept for; and the time it takes to pack and to read.
//! Method: an hour of looks as the engine hands them over, through the store itself, into a database; its size is then that of the
//! tape's chunks with all they take in SQLite's pages, times 24. Latencies are log-normal around 2 ms, in whole microseconds as the
//! probes measure them; timers fire up to 1.2 ms late; processor share, memory and counts wander, quantised as the probes quantise
//! them (memory in pages, shares in kernel ticks over the second); one check in 2 000 fails. The dice are seeded: each run gives the
//! same.
//! Command: `cargo bench -p heald-benches --bench replay_volume`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::time::{Duration, Instant};

use heald_engine::ports::Journal;
use heald_engine::sample_window::{SeriesMap, settle, take_in};
use heald_model::Blob;
use heald_model::{
    Breaker, Dependency, Fact, Moment, PluginName, PluginRef, ProbeSpec, Role, Sample, ServiceName, ServiceView,
};
use heald_model::{Checkpoint, Recording, TapeEntry, call_seed};
use heald_store::{Archive, NodeIdentity, Store, StoreConfig};

const SERVICES: usize = 100;
const SECONDS: u64 = 3_600;
const DETECTORS: [&str; 3] = ["availability", "threshold", "trend"];
/// As the engine makes them.
const CHECKPOINT: u64 = 600;

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0..1.
    fn part(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normally distributed, mean 0, deviation 1 (the sum of twelve).
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.part()).sum::<f64>() - 6.0
    }
}

fn quantised(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// One service and what its probes see.
struct Watched {
    name: ServiceName,
    dice: Dice,
    seen: SeriesMap,
    looks: u64,
    offset: Duration,
    load: f64,
    pages: f64,
    fds: f64,
}

impl Watched {
    fn new(n: usize) -> Self {
        let mut dice = Dice(n as u64 * 7_919);
        let offset = Duration::from_micros(dice.roll() % 1_000_000);
        let (load, pages) = (dice.part() * 0.3, 5_000.0 + dice.part() * 50_000.0);
        Self {
            name: format!("service-{n}").into(),
            dice,
            seen: SeriesMap::new(),
            looks: 0,
            offset,
            load,
            pages,
            fds: 40.0,
        }
    }

    fn probes() -> Vec<ProbeSpec> {
        vec![ProbeSpec {
            id: "http".into(),
            role: Role::Liveness,
            period: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            failure_threshold: 3,
            success_threshold: 1,
        }]
    }

    /// The clock is read in whole microseconds.
    fn after(&mut self, at: Moment, least: u64, spread: u64) -> Moment {
        at + Duration::from_micros(least + self.dice.roll() % spread)
    }

    fn http(&mut self, tick: Moment) -> (Sample, Moment) {
        let begun = self.after(tick, 80, 1_200);
        let micros = (2_000.0 * (self.dice.normal() * 0.35).exp()) as u64;
        let mut sample = Sample::new(self.name.clone(), "http".into(), begun);
        sample.incarnation = Some(1);
        sample.latency = Some(Duration::from_micros(micros));
        sample.status = Some(200);
        sample.ok = Some(true);
        if self.dice.roll().is_multiple_of(2_000) {
            sample.status = Some(503);
            sample.ok = Some(false);
            sample.fault = Some("status".into());
            sample.message = Some("HTTP 503".into());
        }
        let seen = self.after(begun + Duration::from_micros(micros), 20, 60);
        (sample, seen)
    }

    fn process(&mut self, tick: Moment) -> (Sample, Moment) {
        let at = self.after(tick, 80, 1_200);
        let wander = |now: f64, by: f64, low: f64, high: f64| (now + by).clamp(low, high);
        self.load = wander(self.load, self.dice.normal() * 0.01, 0.0, 1.0);
        let grows = if self.dice.part() < 0.2 { self.dice.normal() * 20.0 } else { 0.0 };
        self.pages = wander(self.pages, grows.round(), 1_000.0, 200_000.0);
        let opens = if self.dice.part() < 0.1 { self.dice.normal() } else { 0.0 };
        self.fds = wander(self.fds, opens.round(), 10.0, 200.0);
        let ticks = (self.load * 100.0 + self.dice.normal()).round().max(0.0);
        // The second between two looks is never quite one.
        let passed = 1.0 + self.dice.normal() * 0.000_4;
        let mut sample = Sample::new(self.name.clone(), "process".into(), at);
        sample.incarnation = Some(1);
        sample.ok = Some(true);
        sample.cpu = Some(quantised(ticks * 0.01 / passed / 2.0 * 100.0));
        let bytes = self.pages * 4_096.0;
        sample.memory = Some(quantised(bytes / 8_589_934_592.0 * 100.0));
        sample.values.insert("memory_bytes".into(), bytes);
        sample.values.insert("threads".into(), 12.0);
        sample.values.insert("open_fds".into(), self.fds.round());
        let seen = self.after(at, 20, 60);
        (sample, seen)
    }

    fn view(&self) -> ServiceView {
        ServiceView {
            name: self.name.clone(),
            tags: vec!["tier:front".into()],
            depends_on: vec![Dependency { service: "db".into(), up: Some(true) }],
            wanted: 1,
            running: 1,
            ready: 1,
            breaker: Breaker::Closed,
            metadata: serde_json::json!({"owner": "ops"}),
            facts: vec![Fact::text("desired", "running")],
        }
    }

    fn look(&mut self, sample: Sample, at: Moment) -> TapeEntry {
        let first = self.looks.is_multiple_of(CHECKPOINT);
        self.looks += 1;
        let checkpoint = first.then(|| {
            let plugin = |name: &str| PluginRef { name: name.into(), version: "0.1.0".into(), digest: "ab".repeat(32) };
            let memory =
                |dice: &mut Dice| Blob((0..200).map(|n| if n % 4 == 0 { dice.roll() as u8 } else { b'0' }).collect());
            Box::new(Checkpoint {
                probes: Self::probes(),
                series: self.seen.values().cloned().collect(),
                kept: 60,
                detectors: DETECTORS.map(|name| (plugin(name), "cd".repeat(32), Some(memory(&mut self.dice)))).into(),
                findings: DETECTORS.map(|name| (PluginName::from(name), Vec::new())).into(),
            })
        });
        take_in(&mut self.seen, &Self::probes(), sample.clone(), 60);
        settle(&mut self.seen);
        TapeEntry {
            service: self.name.clone(),
            at,
            view: first.then(|| self.view()),
            samples: vec![sample],
            seeds: DETECTORS.map(|name| (name.into(), call_seed(&self.name, &name.into(), at))).into(),
            checkpoint,
        }
    }

    /// One second of it.
    fn second(&mut self, second: u64) -> [TapeEntry; 2] {
        let tick = Moment::from_millis(1_790_000_000_000 + second * 1_000) + self.offset;
        let (sample, at) = self.http(tick);
        let http = self.look(sample, at);
        // The process is looked at on a timer of its own.
        let (sample, at) = self.process(tick + Duration::from_millis(400));
        [http, self.look(sample, at)]
    }
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    // The hour is one long ago, and is not to be deleted for that.
    let ever = Duration::from_hours(100 * 365 * 24);
    let config = StoreConfig { retention: ever, tape: ever, ..StoreConfig::at(&path) };
    let size = || std::fs::metadata(&path).unwrap().len();
    let store = Store::open(&config, NodeIdentity::alone("bench")).unwrap().store;
    store.close();
    let empty = size();
    let store = Store::open(&config, NodeIdentity::alone("bench")).unwrap().store;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut services: Vec<Watched> = (0..SERVICES).map(Watched::new).collect();
    let (mut samples, mut spent) = (0_u64, Duration::ZERO);
    for service in &mut services {
        let looks: Vec<TapeEntry> = (0..SECONDS).flat_map(|second| service.second(second)).collect();
        samples += looks.iter().map(|look| look.samples.len() as u64).sum::<u64>();
        let began = Instant::now();
        // A chunk's worth at a time, which is also what the replay writer's queue has room for.
        for chunk in looks.chunks(CHECKPOINT as usize) {
            chunk.iter().for_each(|look| store.keep(Recording::Tape(Box::new(look.clone()))));
            runtime.block_on(store.flush()).unwrap();
        }
        spent += began.elapsed();
    }
    assert_eq!(store.dropped(), 0);
    drop(store);
    let bytes = size() - empty;
    let a_day = bytes as f64 * 86_400.0 / SECONDS as f64;
    let archive = Archive::open(&path).unwrap();
    let began = Instant::now();
    let mut read = 0;
    for service in archive.taped().unwrap() {
        read += archive.looks(service, Moment::EPOCH).unwrap().map(|strip| strip.unwrap().looks.len()).sum::<usize>();
    }
    let took = began.elapsed();
    assert_eq!(read as u64, samples, "every look is there");
    println!("{SERVICES} services, {samples} samples in {SECONDS} s: {bytes} bytes");
    println!("tape: {:.1} MB a day, {:.2} bytes a sample", a_day / 1e6, bytes as f64 / samples as f64);
    println!("packing and writing: {:.0} looks/s", read as f64 / spent.as_secs_f64());
    println!("reading: {:.0} looks/s", read as f64 / took.as_secs_f64());
}
