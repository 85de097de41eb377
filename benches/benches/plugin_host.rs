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

use std::time::Instant;

use heald_benches::{Spread, bare, guest, observation, resident, version};
use heald_engine::ports::Detector;
use heald_host::{Host, Options, PluginConfig};
use serde_json::{Map, json};

const CALLS: usize = 50_000;
const INSTANCES: usize = 2_000;
const PLUGINS: u32 = 50;

fn table() -> PluginConfig {
    serde_json::from_value(json!({ "name": "good", "component": "-" })).unwrap()
}

async fn calls(wasm: &[u8]) {
    let host = Host::start(&[]).unwrap();
    let detector = host.load_bytes(&table(), wasm).unwrap().detector(&Map::new()).await.unwrap();
    let (mut store, alone_guest) = bare::detector(wasm).await;
    let (plain, input) = (bare::observation(), observation());
    let (mut alone, mut through) = (Vec::with_capacity(CALLS), Vec::with_capacity(CALLS));
    // By turns, so that whatever else the machine does meets both.
    for _ in 0..CALLS {
        let began = Instant::now();
        alone_guest.heald_plugin_detect().call_evaluate(&mut store, &plain).await.unwrap().unwrap();
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
