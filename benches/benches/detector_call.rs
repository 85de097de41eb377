//! How much does the host add to a call of a plug-in?
//!
//! Question: one detector call with the newest sample and 1 KiB of state, through the engine's port, beside the same typed call of
//! the same component made bare (wasmtime alone, the same engine settings), in the same run.
//! Method: criterion, the guest `detector-good` from tests/guests; async on one thread, as heald calls.
//! Command: `cargo bench -p heald-benches --bench detector_call`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use criterion::{Criterion, criterion_group, criterion_main};
use heald_benches::{bare, guest, observation};
use heald_engine::ports::Detector;
use heald_host::{Host, PluginConfig};
use serde_json::{Map, json};

fn calls(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wasm = guest("detector-good");
    let config: PluginConfig = serde_json::from_value(json!({ "name": "good", "component": "-" })).unwrap();
    let host = Host::start(&[]).unwrap();
    let plugin = host.load_bytes(&config, &wasm).unwrap();
    let detector = runtime.block_on(plugin.detector(&Map::new())).unwrap();
    let (mut store, alone) = runtime.block_on(bare::detector(&wasm));
    let mut group = criterion.benchmark_group("detector call, newest sample, 1 KiB state");
    let plain = bare::observation();
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            let call = alone.heald_plugin_detect().call_evaluate(&mut store, &plain);
            runtime.block_on(call).unwrap().unwrap()
        });
    });
    let input = observation();
    group.bench_function("through the port", |bencher| {
        bencher.iter(|| runtime.block_on(detector.evaluate(&input)).unwrap());
    });
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
