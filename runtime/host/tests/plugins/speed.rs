//! Question: how much does the host add to a call? One detector call with the newest sample and 1 KiB of state, through the
//! port and bare (the same component, called with wasmtime alone), in one run. And what does a configured plug-in weigh?
//!
//! `cargo test --release -p heald-host --test plugins speed -- --ignored --nocapture`
#![allow(clippy::print_stdout)]

use std::time::Instant;

use heald_engine::ports::Detector;
use serde_json::json;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

use crate::guests::{component, object, observation, plugin};

mod bare {
    wasmtime::component::bindgen!({ path: "../../wit", world: "detector", exports: { default: async } });
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

const CALLS: u32 = 20_000;
const ROUNDS: usize = 15;

fn median(mut nanos: Vec<f64>) -> f64 {
    nanos.sort_by(f64::total_cmp);
    nanos[nanos.len() / 2]
}

async fn bare_detector() -> (Store<Data>, bare::Detector) {
    let engine = Engine::new(&heald_host::config()).unwrap();
    let component = Component::from_binary(&engine, component("detector-good")).unwrap();
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

fn bare_observation(state: Vec<u8>) -> bare::exports::heald::plugin::detect::Observation {
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
    let (now, seed) = (1_001_000_000, 7);
    bare::exports::heald::plugin::detect::Observation { now, seed, service, series: vec![series], state: Some(state) }
}

#[tokio::test]
#[ignore = "a measurement: run it alone, in release"]
async fn a_call_through_the_port_beside_a_bare_one() {
    let detector = plugin("detector-good").detector(&object(json!({}))).await.unwrap();
    let (mut store, bare) = bare_detector().await;
    let guest = bare.heald_plugin_detect();
    let mut ported = observation("web", 50.0);
    ported.state = Some(vec![0; 1 << 10]);
    let plain = bare_observation(vec![0; 1 << 10]);
    let (mut through, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..CALLS {
            guest.call_evaluate(&mut store, &plain).await.unwrap().unwrap();
        }
        beside.push(began.elapsed().as_secs_f64() / f64::from(CALLS) * 1e9);
        let began = Instant::now();
        for _ in 0..CALLS {
            detector.evaluate(&ported).await.unwrap();
        }
        through.push(began.elapsed().as_secs_f64() / f64::from(CALLS) * 1e9);
    }
    let (through, beside) = (median(through), median(beside));
    println!("through the port {through:.0} ns, bare {beside:.0} ns, ratio {:.2}", through / beside);
    assert!(through <= 3.0 * beside);
}

#[tokio::test]
#[ignore = "a measurement: run it alone, in release"]
async fn what_a_configured_plugin_weighs() {
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = status.lines().find(|line| line.starts_with("Pss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
    let plugin = plugin("detector-good");
    let mut kept = vec![plugin.detector(&object(json!({"limit": 0}))).await.unwrap()];
    kept[0].evaluate(&observation("web", 50.0)).await.unwrap();
    let before = resident();
    for limit in 1..=50 {
        let detector = plugin.detector(&object(json!({"limit": limit}))).await.unwrap();
        detector.evaluate(&observation("web", 50.0)).await.unwrap();
        kept.push(detector);
    }
    println!("one more configuration: {} KiB", (resident() - before) / 50);
}
