//! A guest called with wasmtime alone, with the engine settings of heald's host: what the host's own cost is measured against.

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

/// What wasmtime makes of `wit/`, with no host around it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod bindings {
    wasmtime::component::bindgen!({ path: "../wit", world: "detector", exports: { default: async } });
}

use bindings as bare;

/// Nothing is kept beside the guest.
pub struct Data;

impl bare::heald::plugin::log::Host for Data {
    fn write(&mut self, _: bare::heald::plugin::log::Level, _: String, _: Vec<bare::heald::plugin::types::Fact>) {}
}

impl bare::heald::plugin::types::Host for Data {}

struct HasData;

impl wasmtime::component::HasData for HasData {
    type Data<'a> = &'a mut Data;
}

/// The component, instantiated and configured.
pub async fn detector(wasm: &[u8]) -> (Store<Data>, bare::Detector) {
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

/// The newest sample and 1 KiB of state, in the guest's own types.
pub fn observation() -> bare::exports::heald::plugin::detect::Observation {
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
