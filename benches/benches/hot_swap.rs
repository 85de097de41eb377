//! Can plug-ins be replaced under load without anything being missed?
//!
//! Question: a thousand times over, a detector is replaced by another version while twenty services are watched; is any sample not
//! shown to it, is what it remembers lost, does memory grow, and how long does a swap take?
//! Method: the real loop and host in this process, everything around them stood in for; each service gets a sample every 10 ms. A
//! swap is what heald does: load (from the cache of compiled code), configure, hand every service its new chain of plug-ins. The guest counts its
//! calls in what it remembers, and the tape's checkpoint, which is made at each swap, shows the count; each look on the tape shows
//! which samples came in and that the detector was asked. Any fault would be a record in the journal.
//! Command: `cargo bench -p heald-benches --bench hot_swap`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use heald_benches::{Dice, Nobody, RealClock, Spread, guest, resident, version};
use heald_engine::guard::Permit;
use heald_engine::ports::*;
use heald_engine::{Healer, HealingConfig, Past, PluginChain, Ports, ServiceList, ServiceSetup};
use heald_host::{Host, Options, PluginConfig};
use heald_model::Recording;
use heald_model::*;
use serde_json::{Map, json};

const SERVICES: usize = 20;
const SWAPS: usize = 1_000;
const PERIOD: Duration = Duration::from_millis(10);

/// What the journal was told.
#[derive(Default)]
struct SeriesMap {
    /// Looks of each service, and the samples in them.
    looks: BTreeMap<ServiceName, (u64, u64)>,
    /// Looks in which the detector was not asked.
    unasked: u64,
    /// Checkpoints whose memory is not the count of looks before it.
    forgotten: u64,
    checkpoints: u64,
    /// Faults and findings: there must be none.
    records: u64,
}

struct Told(Mutex<SeriesMap>);

#[async_trait]
impl Journal for Told {
    fn keep(&self, kept: Recording) {
        let Recording::Tape(look) = kept else { return };
        let mut seen = self.0.lock().unwrap();
        let (looks, samples) = seen.looks.entry(look.service.clone()).or_default();
        let before = *looks;
        (*looks, *samples) = (*looks + 1, *samples + look.samples.len() as u64);
        if let Some(checkpoint) = &look.checkpoint {
            let counted = checkpoint.detectors[0].2.as_ref().map_or(0, |memory| memory.0[0]);
            seen.checkpoints += 1;
            // The guest's counter is one byte.
            seen.forgotten += u64::from(u64::from(counted) != before % 256);
        }
        seen.unasked += u64::from(look.seeds.is_empty());
    }

    fn write(&self, entries: Vec<Entry>) {
        self.0.lock().unwrap().records += entries.len() as u64;
    }

    async fn commit(&self, entries: Vec<Entry>, _: Durability) -> Result<(), JournalError> {
        self.write(entries);
        Ok(())
    }
}

struct World;

#[async_trait]
impl Actions for World {
    fn offers(&self, _: &ServiceName) -> Vec<Offer> {
        Vec::new()
    }
    async fn perform(&self, _: Permit, _: Option<&Incident>) -> Result<Receipt, ActionError> {
        Err(ActionError::Failed("nothing is to be done here".into()))
    }
    async fn undo(&self, _: Permit, _: &Attempt) -> Result<Receipt, ActionError> {
        Err(ActionError::Failed("nothing was done here".into()))
    }
    async fn recall(&self, _: &Intent) -> Option<Receipt> {
        None
    }
}

impl Probes for World {
    fn expect(&self, _: &ServiceName, _: Option<u64>) {}
    fn breaker(&self, _: &ServiceName) -> Breaker {
        Breaker::Closed
    }
    fn hold(&self, _: &ServiceName, _: bool) {}
}

#[async_trait]
impl DesiredStates for World {
    fn desired(&self, _: &ServiceName) -> Desired {
        Desired::Running
    }
    async fn set_desired(&self, _: &ServiceName, _: Desired) -> Result<(), JournalError> {
        Ok(())
    }
    fn halted(&self) -> bool {
        false
    }
    async fn set_halted(&self, _: bool) -> Result<(), JournalError> {
        Ok(())
    }
}

fn name(number: usize) -> ServiceName {
    ServiceName::from(format!("s{number}"))
}

fn spec(number: usize) -> ServiceSpec {
    ServiceSpec {
        name: name(number),
        tags: Vec::new(),
        depends_on: Vec::new(),
        probes: Vec::new(),
        supervised: false,
        replicas: 0,
        startup: Duration::from_secs(1),
        detectors: Vec::new(),
        policies: Vec::new(),
        mode: Mode::Auto,
        metadata: json!({}),
    }
}

async fn chain(host: &Host, component: &[u8]) -> PluginChain {
    let table: PluginConfig = serde_json::from_value(json!({ "name": "good", "component": "-" })).unwrap();
    let plugin = host.load_bytes(&table, component).unwrap();
    PluginChain::active(vec![plugin.detector(&Map::new()).await.unwrap()], Vec::new())
}

async fn swaps() {
    let cache = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(cache.path().join("cache")), ..Options::default() };
    let host = Host::with(options).unwrap();
    let wasm = guest("detector-good");
    let versions = [version(&wasm, 0), version(&wasm, 1)];
    let clock = Arc::new(RealClock::start());
    let told = Arc::new(Told(Mutex::default()));
    let world = Arc::new(World);
    let ports = Ports {
        clock: Arc::clone(&clock) as _,
        entropy: Arc::new(Dice),
        journal: Arc::clone(&told) as _,
        probes: Arc::clone(&world) as _,
        actions: Arc::clone(&world) as _,
        processes: Arc::new(Nobody),
        desired_states: world,
    };
    let first = chain(&host, &versions[0]).await;
    let setups = (0..SERVICES).map(|number| ServiceSetup { spec: spec(number), plugins: first.clone() }).collect();
    let samples = Arc::new(ServiceList::default());
    let healer = Healer::new(HealingConfig::default(), ports, Arc::clone(&samples), setups, Past::default());
    let healing = Arc::clone(&healer);
    let healing = tokio::spawn(async move { healing.run().await });
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stop, count) = (Arc::clone(&over), Arc::clone(&sent));
    let feeding = tokio::spawn(async move {
        let mut tick = tokio::time::interval(PERIOD);
        while !stop.load(Ordering::Relaxed) {
            tick.tick().await;
            for number in 0..SERVICES {
                let sample = Sample::new(name(number), ProbeId::from("http"), clock.now());
                samples.send(Sample { ok: Some(true), cpu: Some(10.0), ..sample });
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let (mut took, mut before) = (Vec::with_capacity(SWAPS), 0);
    for swap in 0..SWAPS {
        let began = Instant::now();
        let next = chain(&host, &versions[(swap + 1) % 2]).await;
        (0..SERVICES).for_each(|number| assert!(healer.plugins().set_plugins(&name(number), next.clone())));
        took.push(began.elapsed());
        if swap == SWAPS / 10 {
            before = resident();
        }
        // Under load, not instead of it.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let after = resident();
    over.store(true, Ordering::Relaxed);
    feeding.await.unwrap();
    healing.await.unwrap();
    let seen = told.0.lock().unwrap();
    let (looks, shown) = seen.looks.values().fold((0, 0), |(l, s), (looks, samples)| (l + looks, s + samples));
    let sent = sent.load(Ordering::Relaxed);
    println!("a swap of all services   {}", Spread::of(took).tell());
    println!("samples sent {sent}, shown {shown} in {looks} looks; looks without the detector: {}", seen.unasked);
    println!("checkpoints {}, of which not remembering every look before: {}", seen.checkpoints, seen.forgotten);
    println!("faults and findings: {}", seen.records);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("resident after a tenth of the swaps {:.1} MiB, after all {:.1} MiB", mib(before), mib(after));
    assert!(sent == shown && seen.unasked == 0 && seen.forgotten == 0 && seen.records == 0, "something was missed");
}

fn main() {
    let judges = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    judges.block_on(async { tokio::spawn(swaps()).await.unwrap() });
}
