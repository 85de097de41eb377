//! How fast are decisions replayed from the journal, and does each come out the same?
//!
//! Question: decisions a second of `heald replay`, from the database to the comparison of every bit, with the built-in rules.
//! Method: 10 000 decisions of `decide-rules` about incidents of many kinds, made by calling it and kept by the store; then
//! `heald replay --json` as a process of its own, which says how many came out the same and how long it took.
//! Command: `cargo bench -p heald-benches --bench replay_rate`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::process::Command;
use std::time::Duration;

use heald_engine::ports::{Journal, Policy};
use heald_host::{Host, Options, PluginConfig};
use heald_model::Question;
use heald_model::{
    Breaker, Concern, Entry, Fact, Finding, Incident, IncidentId, Moment, Record, ServiceView, Severity, Source,
};
use heald_model::{CallInput, CallResult, PluginCall, Recording, SlotMode};
use heald_store::{NodeIdentity, Store, StoreConfig};
use serde_json::{Value, json};
use uuid::Uuid;

const DECISIONS: u64 = 10_000;

fn question(n: u64) -> Question {
    let at = Moment::from_millis(1_790_000_000_000 + n * 997);
    let conditions = ["service-down", "high-latency", "memory-pressure", "high-cpu"];
    let condition = conditions[n as usize % conditions.len()];
    let finding = Finding {
        condition: condition.into(),
        subject: n.is_multiple_of(3).then(|| "http".to_owned()),
        severity: [Severity::Critical, Severity::Error, Severity::Warning][n as usize / 4 % 3],
        score: 1.0 / (n + 1) as f64,
        predicted: None,
        message: format!("it is so for the {n}th time"),
        evidence: vec![Fact::text("cause", "refused"), Fact::number("failures", 0.1 * n as f64)],
    };
    let concern = Concern { finding, source: Source::Native, since: at };
    let opened = Record::Opened { condition: condition.into(), concern, parent: None, reopened: 0 };
    let id = IncidentId(Uuid::from_u128(u128::from(n) + 1));
    Question {
        now: at,
        seed: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        service: ServiceView {
            name: "web".into(),
            tags: Vec::new(),
            depends_on: Vec::new(),
            wanted: 1,
            running: 1,
            ready: 0,
            breaker: Breaker::Closed,
            metadata: json!({ "weight": 0.1 + 0.2 }),
            facts: Vec::new(),
        },
        series: Vec::new(),
        incident: Incident::open(&Entry::of_incident(at, "web".into(), id, opened)).unwrap(),
        earlier: Vec::new(),
        related: Vec::new(),
        offers: Vec::new(),
        experience: Vec::new(),
        state: None,
    }
}

async fn decide(store: &Store) {
    let host = Host::with(Options { builtins: heald_platform::builtins::embedded(), ..Options::default() }).unwrap();
    let table: PluginConfig =
        serde_json::from_value(json!({ "name": "rules", "component": "builtin:decide-rules" })).unwrap();
    let policy = host.load(&table).unwrap().policy(&table.config).await.unwrap();
    for n in 0..DECISIONS {
        let question = question(n);
        let answer = policy.decide(&question).await.unwrap();
        store.keep(Recording::Call(Box::new(PluginCall {
            at: question.now,
            service: "web".into(),
            incident: Some(question.incident.id),
            plugin: policy.plugin().clone(),
            settings: policy.settings(),
            part: SlotMode::Active,
            replayable: policy.replayable(),
            asked: CallInput::Policy(Box::new(question)),
            said: CallResult::Answer(Box::new(answer)),
        })));
        // No more at once than the replay writer's queue has room for.
        if n % 256 == 255 {
            store.flush().await.unwrap();
        }
    }
    store.flush().await.unwrap();
    assert_eq!(store.dropped(), 0);
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    // The decisions are of long ago, and are not to be deleted for that.
    let ever = Duration::from_hours(100 * 365 * 24);
    let config = StoreConfig { retention: ever, calls: ever, ..StoreConfig::at(&path) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Store::open(&config, NodeIdentity::alone("bench")).unwrap().store;
    runtime.block_on(decide(&store));
    drop(store);
    let bytes = std::fs::metadata(&path).unwrap().len();
    std::fs::write(dir.path().join("heald.toml"), format!("[store]\npath = \"{}\"\n", path.display())).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_heald-measured"))
        .args(["replay", "--json"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((said["calls"].as_u64(), said["same"].as_u64()), (Some(DECISIONS), Some(DECISIONS)), "{said}");
    let seconds = said["seconds"].as_f64().unwrap();
    println!(
        "{DECISIONS} decisions replayed bit for bit in {seconds:.2} s: {:.0} a second",
        DECISIONS as f64 / seconds
    );
    println!("{} bytes a decision in the database", bytes / DECISIONS);
}
