//! Tests plug-ins of two versions of the contract in one host. The older version was made up for these tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use heald_control::PluginMode;
use heald_engine::ports::Detector;
use heald_model::{Blob, Observation, Verdict};
use heald_model::{Breaker, FaultCause, Moment, Role as ProbeRole, Sample, Series, ServiceView, Severity};
use heald_plugin_build::Workspace;
use serde_json::{Map, Value, json};

use crate::code::contract::{self, ComponentExport, ComponentShape, PluginRole, Speaks};
use crate::code::imports;
use crate::config::{CanaryConfig, Grant, LimitsConfig, PluginConfig};
use crate::error::HostError;
use crate::guest::adapter::Spoken;
use crate::guest::instance::SetupError;
use crate::load::Host;
use crate::options::Options;
use crate::versions::{BOTH, SPOKEN, v0_0_9};

mod golden;

/// A guest, compiled from source: of the made-up version, or of those in `tests/guests`.
pub(super) fn component(name: &str) -> &'static [u8] {
    static BUILT: OnceLock<HashMap<String, Vec<u8>>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let newer = Workspace::at(here.join("../../tests/guests"));
        let newer = ["action-note", "detector-future", "detector-good", "policy-zealot"]
            .into_iter()
            .fold(newer, Workspace::package);
        let older = Workspace::at(here.join("tests/versions/0.0.9/guest"));
        let guests = [older, newer].map(|workspace| workspace.target_dir(target()).build().expect("the guests build"));
        guests.iter().flatten().map(|guest| (guest.package.clone(), guest.component().unwrap())).collect()
    });
    built.get(name).unwrap_or_else(|| panic!("no guest {name}"))
}

/// Where the other tests build their guests too. Cargo tells that place to integration tests alone; it lies beside the directory of
/// this program.
fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().join("tmp/guests")
}

pub(super) fn host(spoken: Spoken) -> Host {
    Host::speaking(spoken, Options::default()).unwrap()
}

pub(super) fn table(name: &str) -> PluginConfig {
    PluginConfig {
        name: name.into(),
        component: format!("{name}.wasm"),
        config: Map::new(),
        grant: Grant::default(),
        // Enough on a busy machine.
        limits: LimitsConfig {
            cpu: Some(Duration::from_secs(5)),
            wall: Some(Duration::from_secs(20)),
            ..LimitsConfig::default()
        },
        mode: PluginMode::Active,
        instead_of: None,
        canary: CanaryConfig::default(),
    }
}

pub(super) fn service(name: &str) -> ServiceView {
    ServiceView {
        name: name.into(),
        tags: Vec::new(),
        depends_on: Vec::new(),
        wanted: 1,
        running: 1,
        ready: 1,
        breaker: Breaker::Closed,
        metadata: Value::Null,
        facts: Vec::new(),
    }
}

pub(super) fn observation(name: &str, cpu: f64) -> Observation {
    let mut sample = Sample::new(name.into(), "http".into(), Moment::from_millis(1_000));
    sample.ok = Some(true);
    sample.cpu = Some(cpu);
    let series = Series {
        probe: "http".into(),
        role: ProbeRole::Liveness,
        replica: None,
        period: Duration::from_secs(1),
        failure_threshold: 3,
        success_threshold: 1,
        samples: [sample].into(),
        fresh: 1,
    };
    Observation { now: Moment::from_millis(1_001), seed: 7, service: service(name), series: vec![series], state: None }
}

#[tokio::test]
async fn an_old_plugin_and_a_new_one_answer_side_by_side() {
    let host = host(BOTH);
    let older = host.load_bytes(&table("older"), component("detect-antique")).unwrap();
    let newer = host.load_bytes(&table("newer"), component("detector-good")).unwrap();
    assert_eq!((older.roles(), newer.roles()), ([PluginRole::Detector].as_slice(), [PluginRole::Detector].as_slice()));
    let (old, new) = (older.detector(&Map::new()).await.unwrap(), newer.detector(&Map::new()).await.unwrap());
    assert_eq!(old.conditions(), ["high-cpu"]);
    let input = observation("web", 97.0);
    let (said, heard) = (old.evaluate(&input).await.unwrap(), new.evaluate(&input).await.unwrap());
    let summary = |verdict: &Verdict| {
        let finding = &verdict.findings[0];
        (finding.condition.clone(), finding.severity, finding.score, finding.message.clone())
    };
    assert_eq!(summary(&said), ("high-cpu".into(), Severity::Critical, 0.97, "http: cpu is 97 %, call 1".into()));
    assert_eq!(summary(&heard), ("high-cpu".into(), Severity::Error, 1.0, "cpu is 97 %".into()));
    // The older version has no such fields, so they are empty.
    assert_eq!((said.findings[0].predicted, said.findings[0].subject.as_deref()), (None, None));
    assert_eq!((said.state.clone(), older.stats().calls), (Some(Blob(vec![1])), 1));

    // It gets its own state back, and it answers when the state is not its own.
    let again = old.evaluate(&Observation { state: said.state.clone(), ..input.clone() }).await.unwrap();
    assert_eq!((summary(&again).3.as_str(), again.state), ("http: cpu is 97 %, call 2", Some(Blob(vec![2]))));
    let strange = old.evaluate(&Observation { state: Some(Blob(vec![1, 2, 3])), ..input.clone() }).await.unwrap();
    assert_eq!(strange.state, Some(Blob(vec![1])));
    assert_eq!(old.replay(&input, &[]).await.unwrap(), said);
}

#[tokio::test]
async fn an_old_plugin_is_judged_as_any_other() {
    let host = host(BOTH);
    let plugin = host.load_bytes(&table("older"), component("detect-antique")).unwrap();
    let detector = plugin.detector(&Map::new()).await.unwrap();
    // A score of 2.5 is no score, whatever the version that it is said in.
    let fault = detector.evaluate(&observation("web", 250.0)).await.unwrap_err();
    assert_eq!(fault.cause, FaultCause::BadOutput, "{fault}");
    let fault = detector.evaluate(&observation("bad", 1.0)).await.unwrap_err();
    assert_eq!(fault.cause, FaultCause::Trap);
    assert!(fault.detail.contains("no service is as bad as this one"), "its last words went to the log: {fault}");
    assert!(detector.evaluate(&observation("web", 1.0)).await.is_ok());
    let config = json!({"place": "cellar"}).as_object().cloned().unwrap();
    let refused = plugin.detector(&config).await.err().unwrap();
    assert!(
        matches!(&refused, HostError::Setup(SetupError::Config { problems, .. }) if problems[0].message.contains("cellar")),
        "{refused}"
    );
    let none = plugin.policy(&Map::new()).await.err().unwrap();
    assert!(matches!(none, HostError::Setup(SetupError::NoSuchRole { .. })), "{none}");
}

#[test]
fn what_no_adapter_speaks_is_refused_with_what_is_spoken() {
    let refused = |spoken, name| {
        let error = host(spoken).load_bytes(&table(name), component(name)).err().unwrap();
        assert!(matches!(error, HostError::Contract { .. }), "{error}");
        error.to_string()
    };
    let older = refused(SPOKEN, "detect-antique");
    for words in ["heald:plugin/detect@0.0.9, which is not spoken here", "built for an older contract", "plugin@0.1.0"]
    {
        assert!(older.contains(words), "{older}");
    }
    let newer = refused(BOTH, "detector-future");
    for words in ["heald:plugin/detect@0.9.0", "update heald", "plugin/detect@0.1.0", "plugin/detect@0.0.9"] {
        assert!(newer.contains(words), "{newer}");
    }
}

#[test]
fn a_component_speaks_one_version_the_newest_it_can() {
    let functions = ["configure", "describe", "evaluate"].map(str::to_owned);
    let exports = |version: &str| ComponentExport {
        name: format!("heald:plugin/detect@{version}"),
        functions: Some(functions.to_vec()),
    };
    let shape = |versions: &[&str], imports: &[&str]| ComponentShape {
        imports: imports.iter().map(|&name| name.to_owned()).collect(),
        exports: versions.iter().map(|version| exports(version)).collect(),
    };
    let version = |shape: &ComponentShape| contract::spoken(shape, BOTH).unwrap().0.contract().version;
    assert_eq!(version(&shape(&["0.0.9"], &[])), "0.0.9");
    assert_eq!(version(&shape(&["0.0.9", "0.1.0"], &[])), "0.1.0");
    // What it imports has to be of the same version, and in it.
    let kv = Grant { kv: true, ..Grant::default() };
    let imports = |import: &str| {
        let old = v0_0_9::V0_0_9;
        imports::imports(&shape(&["0.0.9"], &[import]), old.contract(), &kv).map_err(|all| all.join("\n"))
    };
    assert_eq!(imports("heald:plugin/log@0.0.9"), Ok(false));
    let mixed = imports("heald:plugin/log@0.1.0").unwrap_err();
    assert!(mixed.contains("wanted is heald:plugin/log@0.0.9"), "{mixed}");
    let unknown = imports("heald:plugin/kv@0.0.9").unwrap_err();
    assert!(unknown.contains("heald:plugin@0.0.9 has no such interface"), "{unknown}");
}
