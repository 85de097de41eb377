//! Does a spinning guest make probes late?
//!
//! Question: how late checks begin against their schedule (p99), with and without a guest that burns its whole budget in every
//! call, in the same run.
//! Method: ten TCP checks every 100 ms on the prober's own thread; meanwhile, on a runtime of two judging threads as in the daemon,
//! a detector that spins is called without a pause (5 ms of processor time each), or is not. Twenty seconds each.
//! Command: `cargo bench -p heald-benches --bench probe_lateness`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use heald_benches::{Dice, Nobody, RealClock, guest, service};
use heald_engine::ports::Detector;
use heald_host::{Host, PluginConfig};
use heald_model::Observation;
use heald_model::{Moment, ServiceName};
use heald_probe::{Lateness, ProbeConfig, ProbeKind, Prober, ProberPorts, ServiceProbes};
use serde_json::{Map, json};
use tokio::sync::mpsc;

const WINDOW: Duration = Duration::from_secs(20);

fn watch(address: &str) -> Lateness {
    let mut probe = ProbeConfig::new(ProbeKind::Tcp);
    probe.address = Some(address.to_owned());
    probe.period = Duration::from_millis(100);
    let services = (0..10).map(|i| ServiceProbes {
        probes: vec![probe.clone()],
        ..ServiceProbes::new(ServiceName::from(format!("s{i}")))
    });
    let (samples, _seen) = mpsc::unbounded_channel();
    let (changes, _changed) = mpsc::unbounded_channel();
    let (clock, entropy, processes) = (Arc::new(RealClock::start()), Arc::new(Dice), Arc::new(Nobody));
    let samples = Arc::new(samples);
    let outside = ProberPorts { clock, entropy, processes, samples, changes };
    // Spread over the period: ten checks due at the same instant would wait for one another, guest or no guest.
    let prober = Prober::start(services.collect(), outside, Some(7)).unwrap();
    std::thread::sleep(WINDOW);
    let lateness = prober.lateness();
    prober.stop();
    lateness
}

fn spinning() -> Arc<dyn Detector> {
    let config: PluginConfig = serde_json::from_value(json!({ "name": "spin", "component": "-" })).unwrap();
    let plugin = Host::start(&[]).unwrap().load_bytes(&config, &guest("detector-spin")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(plugin.detector(&Map::new())).unwrap()
}

fn observation() -> Observation {
    let (now, service) = (Moment::from_millis(1), service("web"));
    Observation { now, seed: 7, service, series: Vec::new(), state: None }
}

fn tell(name: &str, lateness: Lateness) {
    println!(
        "{name:24} p50 {:?}   p99 {:?}   max {:?}   ({} checks)",
        lateness.p50, lateness.p99, lateness.max, lateness.count
    );
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let spin = spinning();
    tell("quiet", watch(&address));
    let judges = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stop, count) = (Arc::clone(&over), Arc::clone(&calls));
    judges.spawn(async move {
        let input = observation();
        while !stop.load(Ordering::Relaxed) {
            assert!(spin.evaluate(&input).await.is_err(), "it spins");
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    tell("beside a spinning guest", watch(&address));
    over.store(true, Ordering::Relaxed);
    println!("{} calls were stopped at their budget", calls.load(Ordering::Relaxed));
}
