//! What does the host of plug-ins cost?
//!
//! Questions, each answered in one line:
//! - a warm call with the newest sample and 1 KiB of state, through the engine's port, beside the same typed call of the same
//!   component made bare in the same run (`detector_call` has the same by criterion, for the mean);
//! - a fresh instance: instantiated, configured, described;
//! - loading a component whose compiled code is in the cache: read, verify the digest, deserialize, link;
//! - resident memory for each further idle plug-in: 50 versions of a Rust plug-in, each loaded from the cache, configured and called
//!   once.
//!
//! Method: percentiles over single calls; the clock's own cost (some 40 ns) is in each.
//! Command: `cargo bench -p heald-benches --bench plugin_host`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use heald_benches::{Spread, guest, resident, service, version};
use heald_engine::ports::{Blob, Detector, Observation};
use heald_host::{Host, Options, PluginConfig};
use heald_model::{Moment, ProbeId, Role, Sample, Series};
use serde_json::{Map, json};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

const CALLS: usize = 50_000;
const INSTANCES: usize = 2_000;
const PLUGINS: u32 = 50;

mod bare {
    wasmtime::component::bindgen!({ path: "../wit", world: "detector", exports: { default: async } });
}

struct Data;

impl bare::heald::plugin::log::Host for Data {
    fn write(&mut self, _: bare::heald::plugin::log::Level, _: String, _: Vec<bare::heald::plugin::types::Fact>) {}
}

impl bare::heald::plugin::types::Host for Data {}

struct HasData;

impl wasmtime::component::HasData for HasData {
    type Data<'a> = &'a mut Data;
}

async fn bare_detector(wasm: &[u8]) -> (Store<Data>, bare::Detector) {
    let engine = Engine::new(&heald_host::config()).unwrap();
    let component = Component::from_binary(&engine, wasm).unwrap();
    let mut linker = Linker::<Data>::new(&engine);
    bare::heald::plugin::types::add_to_linker::<_, HasData>(&mut linker, |data| data).unwrap();
    bare::heald::plugin::log::add_to_linker::<_, HasData>(&mut linker, |data| data).unwrap();
    let mut store = Store::new(&engine, Data);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    store.set_epoch_deadline(1);
    let detector = bare::Detector::instantiate_async(&mut store, &component, &linker).await.unwrap();
    detector.heald_plugin_detect().call_configure(&mut store, &"{}".to_owned()).await.unwrap().unwrap();
    (store, detector)
}

fn bare_observation() -> bare::exports::heald::plugin::detect::Observation {
    use bare::heald::plugin::types::{Replicas, Sample, Series, Service};
    let sample = Sample {
        at: 1_000_000_000,
        incarnation: None,
        ok: Some(true),
        fault: None,
        reported: None,
        latency: Some(12_000_000),
        status: Some(200),
        cpu: Some(50.0),
        memory: Some(40.0),
        error_rate: None,
        values: vec![Some(5e7), Some(12.0)],
    };
    let series = Series {
        probe: "http".into(),
        role: "liveness".into(),
        replica: None,
        period: 1_000_000_000,
        failure_threshold: 3,
        success_threshold: 1,
        metrics: vec!["memory_bytes".into(), "open_fds".into()],
        samples: vec![sample],
        fresh: 1,
    };
    let service = Service {
        name: "web".into(),
        tags: vec!["tier-1".into()],
        depends_on: Vec::new(),
        replicas: Replicas { wanted: 1, running: 1, ready: 1 },
        breaker: "closed".into(),
        metadata: "{}".into(),
        facts: Vec::new(),
    };
    bare::exports::heald::plugin::detect::Observation {
        now: 1_001_000_000,
        seed: 7,
        service,
        series: vec![series],
        state: Some(vec![0; 1 << 10]),
    }
}

/// The same observation, as the engine makes it.
fn observation() -> Observation {
    let at = Moment::from_nanos(1_000_000_000);
    let service = service("web");
    let sample = Sample {
        ok: Some(true),
        latency: Some(Duration::from_millis(12)),
        status: Some(200),
        cpu: Some(50.0),
        memory: Some(40.0),
        values: BTreeMap::from([("memory_bytes".to_owned(), 5e7), ("open_fds".to_owned(), 12.0)]),
        ..Sample::new(service.name.clone(), ProbeId::from("http"), at)
    };
    let series = Series {
        probe: ProbeId::from("http"),
        role: Role::Liveness,
        replica: None,
        period: Duration::from_secs(1),
        failure_threshold: 3,
        success_threshold: 1,
        samples: VecDeque::from([sample]),
        fresh: 1,
    };
    let now = at + Duration::from_millis(1);
    Observation { now, seed: 7, service, series: vec![series], state: Some(Blob(vec![0; 1 << 10])) }
}

fn table() -> PluginConfig {
    serde_json::from_value(json!({ "name": "good", "component": "-" })).unwrap()
}

async fn calls(wasm: &[u8]) {
    let host = Host::start(&[]).unwrap();
    let detector = host.load_bytes(&table(), wasm).unwrap().detector(&Map::new()).await.unwrap();
    let (mut store, bare) = bare_detector(wasm).await;
    let (plain, input) = (bare_observation(), observation());
    let (mut alone, mut through) = (Vec::with_capacity(CALLS), Vec::with_capacity(CALLS));
    // By turns, so that whatever else the machine does meets both.
    for _ in 0..CALLS {
        let began = Instant::now();
        bare.heald_plugin_detect().call_evaluate(&mut store, &plain).await.unwrap().unwrap();
        alone.push(began.elapsed());
        let began = Instant::now();
        detector.evaluate(&input).await.unwrap();
        through.push(began.elapsed());
    }
    let (alone, through) = (Spread::of(alone), Spread::of(through));
    println!("warm call, bare          {}", alone.tell());
    println!("warm call, through port  {}", through.tell());
    let ratio = |share: f64| through.at(share).as_secs_f64() / alone.at(share).as_secs_f64();
    println!("    ratio                p50 {:.2}   p99 {:.2}", ratio(0.5), ratio(0.99));
}

async fn instances(wasm: &[u8]) {
    let host = Host::start(&[]).unwrap();
    let plugin = host.load_bytes(&table(), wasm).unwrap();
    let mut took = Vec::with_capacity(INSTANCES);
    for number in 0..INSTANCES {
        // Another configuration is another instance; letting go of it frees its place in the pool.
        let config = json!({ "bytes": number }).as_object().cloned().unwrap();
        let began = Instant::now();
        let detector = plugin.detector(&config).await.unwrap();
        took.push(began.elapsed());
        drop(detector);
    }
    println!("fresh instance           {}", Spread::of(took).tell());
}

async fn loads(wasm: &[u8]) {
    let cache = tempfile::tempdir().unwrap();
    let options = || Options { cache: Some(cache.path().join("cache")), ..Options::default() };
    let host = Host::with(options()).unwrap();
    let cold = Instant::now();
    host.load_bytes(&table(), wasm).unwrap();
    println!("first load, compiled     {:.1} ms", cold.elapsed().as_secs_f64() * 1e3);
    let host = Host::with(options()).unwrap();
    let warm = (0..200).map(|_| {
        let began = Instant::now();
        host.load_bytes(&table(), wasm).unwrap();
        began.elapsed()
    });
    println!("load from the cache      {}", Spread::of(warm.collect()).tell());
}

async fn footprint(wasm: &[u8]) {
    let cache = tempfile::tempdir().unwrap();
    let options = || Options { cache: Some(cache.path().join("cache")), ..Options::default() };
    let versions: Vec<Vec<u8>> = (0..PLUGINS).map(|number| version(wasm, number)).collect();
    {
        // Compiled by a host that is gone again: what is measured is running, not compiling.
        let host = Host::with(options()).unwrap();
        versions.iter().for_each(|version| drop(host.load_bytes(&table(), version).unwrap()));
    }
    let host = Host::with(options()).unwrap();
    let input = observation();
    let (mut kept, mut before) = (Vec::new(), 0);
    for (number, version) in versions.iter().enumerate() {
        let plugin = host.load_bytes(&table(), version).unwrap();
        let detector = plugin.detector(&Map::new()).await.unwrap();
        detector.evaluate(&input).await.unwrap();
        kept.push((plugin, detector));
        if number == 0 {
            before = resident();
        }
    }
    let each = resident().saturating_sub(before) / u64::from(PLUGINS - 1);
    println!("each further idle plug-in {:.2} MiB resident ({PLUGINS} loaded)", each as f64 / f64::from(1 << 20));
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wasm = guest("detector-good");
    runtime.block_on(async {
        // First, while this process has allocated little.
        footprint(&wasm).await;
        calls(&wasm).await;
        instances(&wasm).await;
        loads(&wasm).await;
    });
}
