//! Guests by name, and what they are shown.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use heald_control::PluginMode;
use heald_host::{CanaryConfig, Grant, Host, LimitsConfig, Plugin, PluginConfig, PluginDetector, PluginPolicy};
use heald_model::{
    Breaker, Concern, Finding, Incident, IncidentId, Moment, Role, Sample, Series, ServiceView, Severity, Source, Stage,
};
use heald_model::{Observation, Question};
use heald_plugin_build::Workspace;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The component of a guest in `tests/guests`, `plugins/` or beside this file; each workspace is built once.
pub(crate) fn component(name: &str) -> &'static [u8] {
    static BUILT: OnceLock<HashMap<String, Vec<u8>>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let into = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guests");
        let mut built = HashMap::new();
        for workspace in ["../../tests/guests", "../../plugins", "tests/guest-reach"] {
            let guests = Workspace::at(here.join(workspace)).target_dir(&into).build().expect("the guests build");
            built.extend(guests.into_iter().map(|guest| (guest.package.clone(), guest.component().unwrap())));
        }
        built
    });
    built.get(name).unwrap_or_else(|| panic!("no guest {name}"))
}

/// The host of all tests.
pub(crate) fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::start(&[]).unwrap())
}

/// A `[[plugin]]` table that grants nothing.
pub(crate) fn table(name: &str) -> PluginConfig {
    PluginConfig {
        name: name.into(),
        component: format!("{name}.wasm"),
        config: Map::new(),
        grant: Grant::default(),
        // Who is to run out of processor time shall do that first, however busy the machine.
        limits: LimitsConfig { wall: Some(Duration::from_secs(20)), ..LimitsConfig::default() },
        mode: PluginMode::Active,
        instead_of: None,
        canary: CanaryConfig::default(),
    }
}

pub(crate) fn plugin(name: &str) -> Plugin {
    host().load_bytes(&table(name), component(name)).unwrap()
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

/// A guest that misbehaves for the service `bad` and for no other.
pub(crate) async fn detector(name: &str, config: Value) -> Arc<PluginDetector> {
    let mut config = object(config);
    config.insert("service".into(), json!("bad"));
    plugin(name).detector(&config).await.unwrap()
}

pub(crate) async fn policy(name: &str, config: Value) -> Arc<PluginPolicy> {
    let mut config = object(config);
    config.insert("service".into(), json!("bad"));
    plugin(name).policy(&config).await.unwrap()
}

pub(crate) fn service(name: &str) -> ServiceView {
    ServiceView {
        name: name.into(),
        tags: vec!["tier-1".into()],
        depends_on: Vec::new(),
        wanted: 1,
        running: 1,
        ready: 1,
        breaker: Breaker::Closed,
        metadata: Value::Null,
        facts: Vec::new(),
    }
}

pub(crate) fn sample(cpu: f64) -> Sample {
    let mut sample = Sample::new("web".into(), "http".into(), Moment::from_millis(1_000));
    sample.ok = Some(true);
    sample.latency = Some(Duration::from_millis(12));
    sample.status = Some(200);
    sample.cpu = Some(cpu);
    sample.memory = Some(40.0);
    sample.values = [("memory_bytes", 5e7), ("open_fds", 12.0)].map(|(name, value)| (name.to_owned(), value)).into();
    sample
}

pub(crate) fn observation(name: &str, cpu: f64) -> Observation {
    let series = Series {
        probe: "http".into(),
        role: Role::Liveness,
        replica: None,
        period: Duration::from_secs(1),
        failure_threshold: 3,
        success_threshold: 1,
        samples: [sample(cpu)].into(),
        fresh: 1,
    };
    Observation { now: Moment::from_millis(1_001), seed: 7, service: service(name), series: vec![series], state: None }
}

pub(crate) fn incident(name: &str) -> Incident {
    let finding = Finding {
        condition: "high-cpu".into(),
        subject: Some("http".into()),
        severity: Severity::Error,
        score: 1.0,
        predicted: None,
        message: "cpu is 97 %".into(),
        evidence: Vec::new(),
    };
    Incident {
        id: IncidentId(Uuid::from_u128(1)),
        service: name.into(),
        condition: finding.condition.clone(),
        signature: finding.signature(),
        severity: finding.severity,
        stage: Stage::Opened,
        opened: Moment::from_millis(1_000),
        updated: Moment::from_millis(1_000),
        resolved: None,
        reopened: 0,
        parent: None,
        concerns: vec![Concern { finding, source: Source::Native, since: Moment::from_millis(1_000) }],
        attempts: Vec::new(),
        last_concern: None,
        reset: None,
        helped: None,
        held: None,
        timeline: Vec::new(),
    }
}

pub(crate) fn question(name: &str) -> Question {
    let Observation { now, seed, service, series, .. } = observation(name, 97.0);
    Question {
        now,
        seed,
        service,
        series,
        incident: incident(name),
        earlier: Vec::new(),
        related: Vec::new(),
        offers: Vec::new(),
        experience: Vec::new(),
        state: None,
    }
}
