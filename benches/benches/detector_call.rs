//! How much does the host add to a call of a plug-in?
//!
//! Question: one detector call with the newest sample and 1 KiB of state, through the engine's port, beside the same typed call of
//! the same component made bare (wasmtime alone, the same engine settings), in the same run.
//! Method: criterion, the guest `detector-good` from tests/guests; async on one thread, as heald calls.
//! Command: `cargo bench -p heald-benches --bench detector_call`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use heald_benches::guest;
use heald_engine::ports::{Blob, Detector, Observation};
use heald_host::{Host, PluginConfig};
use heald_model::{Breaker, Moment, ProbeId, Role, Sample, Series, ServiceName, ServiceView};
use serde_json::{Map, json};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

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
    let (now, seed, state) = (1_001_000_000, 7, Some(vec![0; 1 << 10]));
    bare::exports::heald::plugin::detect::Observation { now, seed, service, series: vec![series], state }
}

/// The same observation, as the engine makes it.
fn observation() -> Observation {
    let at = Moment::from_nanos(1_000_000_000);
    let service = ServiceName::from("web");
    let sample = Sample {
        ok: Some(true),
        latency: Some(Duration::from_millis(12)),
        status: Some(200),
        cpu: Some(50.0),
        memory: Some(40.0),
        values: BTreeMap::from([("memory_bytes".to_owned(), 5e7), ("open_fds".to_owned(), 12.0)]),
        ..Sample::new(service.clone(), ProbeId::from("http"), at)
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
    let service = ServiceView {
        name: service,
        tags: vec!["tier-1".into()],
        depends_on: Vec::new(),
        wanted: 1,
        running: 1,
        ready: 1,
        breaker: Breaker::Closed,
        metadata: json!({}),
        facts: Vec::new(),
    };
    let now = at + Duration::from_millis(1);
    Observation { now, seed: 7, service, series: vec![series], state: Some(Blob(vec![0; 1 << 10])) }
}

fn calls(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wasm = guest("detector-good");
    let config: PluginConfig = serde_json::from_value(json!({ "name": "good", "component": "-" })).unwrap();
    let host = Host::start(&[]).unwrap();
    let plugin = host.load_bytes(&config, &wasm).unwrap();
    let detector = runtime.block_on(plugin.detector(&Map::new())).unwrap();
    let (mut store, bare) = runtime.block_on(bare_detector(&wasm));
    let mut group = criterion.benchmark_group("detector call, newest sample, 1 KiB state");
    let plain = bare_observation();
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            let call = bare.heald_plugin_detect().call_evaluate(&mut store, &plain);
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
