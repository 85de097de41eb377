//! How long does heald think?
//!
//! Question: from a sample's arrival at the loop to the decision on its way into the journal, with the built-in detectors and the
//! built-in policy.
//! Method: the real loop and plug-ins in this process, everything around them stood in for; each round feeds the end of a process
//! and waits for the decision, then feeds what resolves the incident. The time runs from handing over the sample to the record of
//! the decision being handed to the journal.
//! Command: `cargo bench -p heald-benches --bench sample_to_decision`
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use heald_benches::{Dice, RealClock};
use heald_engine::guard::Permit;
use heald_engine::ports::*;
use heald_engine::{Healer, HealingConfig, Past, PluginChain, Ports, ServiceList, ServiceSetup};
use heald_host::{Host, Plugin, PluginConfig};
use heald_model::*;
use serde_json::{Map, json};
use tokio::sync::mpsc;

const ROUNDS: usize = 2_000;

/// Tells when what is handed over.
struct Told(mpsc::UnboundedSender<(Instant, &'static str)>);

#[async_trait]
impl Journal for Told {
    fn keep(&self, _: heald_model::Recording) {}

    fn write(&self, entries: Vec<Entry>) {
        for entry in entries {
            let kind = match &entry.record {
                Record::Staged { stage: Stage::Resolved, .. } => "resolved",
                record => record.kind(),
            };
            let _ = self.0.send((Instant::now(), kind));
        }
    }
    async fn commit(&self, entries: Vec<Entry>, _: Durability) -> Result<(), JournalError> {
        self.write(entries);
        Ok(())
    }
}

struct World(Arc<RealClock>, mpsc::UnboundedSender<(Instant, &'static str)>);

#[async_trait]
impl Actions for World {
    fn offers(&self, _: &ServiceName) -> Vec<Offer> {
        let action = ActionInfo {
            name: "restart".into(),
            summary: String::new(),
            parameters: json!({}),
            disruptive: true,
            undoable: false,
            facts: Vec::new(),
        };
        vec![Offer { action, source: Source::Native, blocked: None }]
    }
    async fn perform(&self, _: Permit, _: Option<&Incident>) -> Result<Receipt, ActionError> {
        let summary = String::new();
        Ok(Receipt { summary, changed: true, incarnation: None, facts: Vec::new(), undo: None, at: self.0.now() })
    }
    async fn undo(&self, _: Permit, _: &Attempt) -> Result<Receipt, ActionError> {
        Err(ActionError::Failed("not here".into()))
    }
    async fn recall(&self, _: &Intent) -> Option<Receipt> {
        None
    }
}

impl Processes for World {
    fn of(&self, _: &ServiceName) -> Vec<ProcessState> {
        Vec::new()
    }
}

impl Probes for World {
    fn expect(&self, _: &ServiceName, _: Option<u64>) {
        let _ = self.1.send((Instant::now(), "expected"));
    }
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

fn plugin(host: &Host, name: &str) -> Plugin {
    let config: PluginConfig = serde_json::from_value(json!({ "name": name, "component": "-" })).unwrap();
    host.load_bytes(&config, heald_builtin::get(name).unwrap().component).unwrap()
}

async fn setup(host: &Host) -> ServiceSetup {
    let limits = json!({ "cpu": 90, "memory": 90, "error_rate": 0.3, "latency_ms": 1500 });
    let threshold = plugin(host, "detect-threshold").detector(limits.as_object().unwrap()).await.unwrap();
    // A process that dies two thousand times flaps, which would be another incident.
    let steady = json!({ "flapping": { "begin": 0 } });
    ServiceSetup {
        spec: ServiceSpec {
            name: ServiceName::from("web"),
            tags: Vec::new(),
            depends_on: Vec::new(),
            probes: Vec::new(),
            supervised: true,
            replicas: 1,
            startup: Duration::from_secs(1),
            detectors: Vec::new(),
            policies: Vec::new(),
            mode: Mode::Auto,
            metadata: json!({}),
        },
        plugins: PluginChain::active(
            vec![plugin(host, "detect-availability").detector(steady.as_object().unwrap()).await.unwrap(), threshold],
            vec![plugin(host, "decide-rules").policy(&Map::new()).await.unwrap()],
        ),
    }
}

async fn next(told: &mut mpsc::UnboundedReceiver<(Instant, &'static str)>, kind: &str) -> Instant {
    let wait = async {
        loop {
            let (at, seen) = told.recv().await.unwrap();
            if seen == kind {
                return at;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap_or_else(|_| panic!("nothing was {kind}"))
}

async fn rounds() -> Vec<u64> {
    let clock = Arc::new(RealClock::start());
    let (tell, mut told) = mpsc::unbounded_channel();
    let world = Arc::new(World(Arc::clone(&clock), tell.clone()));
    let mut config = HealingConfig { cooldown: Duration::ZERO, ..HealingConfig::default() };
    // What is measured is thinking, not the pace of a crash loop.
    config.start_limit.count = u32::MAX;
    // Each round is a new incident, with the last ones of the service as its past: one that came back two thousand times would
    // measure its own story.
    config.reopen_within = Duration::ZERO;
    config.backoff.first = Duration::from_nanos(1);
    config.backoff.max = Duration::from_nanos(1);
    let ports = Ports {
        clock: clock.clone(),
        entropy: Arc::new(Dice),
        journal: Arc::new(Told(tell)),
        probes: world.clone(),
        actions: world.clone(),
        processes: world.clone(),
        desired_states: world,
    };
    let host = Host::start(&[]).unwrap();
    let samples = Arc::new(ServiceList::default());
    let setups = vec![setup(&host).await];
    let healer = Healer::new(config, ports, Arc::clone(&samples), setups, Past::default());
    tokio::spawn(async move { healer.run().await });
    let blank = || Sample::new(ServiceName::from("web"), ProbeId::from("process"), clock.now());
    let mut nanos = Vec::new();
    for round in 0..ROUNDS as u64 {
        let life = Some(round + 1);
        let exit =
            Sample { ok: Some(false), fault: Some("signal".into()), status: Some(-9), incarnation: life, ..blank() };
        let began = Instant::now();
        samples.send(exit);
        let decided = next(&mut told, "decided").await;
        nanos.push((decided - began).as_nanos() as u64);
        next(&mut told, "expected").await;
        samples.send(Sample { ok: Some(true), incarnation: Some(round + 2), ..blank() });
        next(&mut told, "resolved").await;
    }
    nanos
}

fn main() {
    let judges = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut nanos = judges.block_on(async { tokio::spawn(rounds()).await.unwrap() });
    nanos.sort_unstable();
    let at = |share: f64| nanos[((nanos.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    println!(
        "sample to decision: median {:.1} us   p90 {:.1} us   p99 {:.1} us   ({ROUNDS} rounds)",
        at(0.5),
        at(0.9),
        at(0.99)
    );
}
