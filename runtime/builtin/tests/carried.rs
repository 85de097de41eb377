//! What is carried is what was built, fits the engine, and works there.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use heald_builtin::{Builtin, all, get};
use heald_host::{Directory, Embedded, Grant, Host, Plugin, PluginConfig, PluginRole, Task};
use heald_model::{Breaker, IntentId, Moment, PluginName, ServiceName, ServiceView};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

fn embedded(builtin: &Builtin) -> Embedded {
    // SAFETY: the machine code comes from this crate's build script, which got it from `heald_host::precompile`.
    unsafe { Embedded::new(builtin.name, builtin.digest, builtin.component, builtin.precompiled) }
}

fn load(name: &str, grant: Grant) -> Plugin {
    let builtins: Vec<_> = all().iter().map(embedded).collect();
    let config = PluginConfig {
        name: PluginName::from(name),
        component: format!("builtin:{name}"),
        config: Map::new(),
        grant,
        limits: Default::default(),
        mode: Default::default(),
        instead_of: None,
        canary: Default::default(),
    };
    Host::start(&builtins).unwrap().load(&config).unwrap()
}

fn service() -> ServiceView {
    ServiceView {
        name: ServiceName::from("web"),
        tags: Vec::new(),
        depends_on: Vec::new(),
        wanted: 1,
        running: 1,
        ready: 1,
        breaker: Breaker::Closed,
        metadata: json!({}),
        facts: Vec::new(),
    }
}

#[test]
fn all_of_them_are_there_in_order_and_none_else() {
    let names: Vec<_> = all().iter().map(|builtin| builtin.name).collect();
    assert_eq!(names, ["act-clear-cache", "act-webhook", "decide-rules", "detect-availability", "detect-threshold"]);
    assert!(get("detect-nothing").is_none());
}

#[test]
fn a_digest_is_that_of_the_component() {
    for builtin in all() {
        let digest = Sha256::digest(builtin.component).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        assert_eq!(builtin.digest, digest, "{}", builtin.name);
    }
}

#[test]
fn the_machine_code_fits_the_hosts_engine() {
    let engine = wasmtime::Engine::new(&heald_host::config()).unwrap();
    for builtin in all() {
        // SAFETY: see `embedded`.
        let component = unsafe { wasmtime::component::Component::deserialize(&engine, builtin.precompiled) };
        assert!(component.is_ok(), "{}: {:?}", builtin.name, component.err());
    }
}

#[test]
fn each_says_what_it_is_and_a_schema_that_is_one() {
    for builtin in all() {
        let said = heald_plugin_build::metadata(builtin.component).unwrap();
        assert_eq!(said.name, builtin.name);
        assert!(!said.summary.is_empty(), "{}", builtin.name);
        assert_eq!(said.config["type"], "object", "{}", builtin.name);
        assert_eq!(said.roles.len(), 1, "{}", builtin.name);
    }
}

#[test]
fn detectors_and_policies_can_reach_nothing_but_the_log() {
    for builtin in all().iter().filter(|builtin| !builtin.name.starts_with("act-")) {
        let imports = heald_plugin_build::imports(builtin.component).unwrap();
        assert_eq!(imports, ["heald:plugin/types@0.1.0", "heald:plugin/log@0.1.0"], "{}", builtin.name);
    }
}

#[tokio::test]
async fn each_takes_its_own_examples_and_refuses_nonsense() {
    let examples = [
        ("detect-threshold", json!({})),
        ("detect-threshold", json!({"cpu": 90, "memory": 90, "error_rate": 0.3, "latency_ms": 1500})),
        (
            "detect-threshold",
            json!({"memory": [90, {"limit": 95, "severity": "critical"}], "tls_left_seconds": {"below": 604800}}),
        ),
        ("detect-availability", json!({})),
        (
            "detect-availability",
            json!({"words": {"up": ["UP"], "required": true}, "flapping": {"begin": 30, "end": 25}}),
        ),
        ("decide-rules", json!({})),
        (
            "decide-rules",
            json!({"rules": [{"when": [{"cpu": "> 85"}], "do": "restart", "then": ["notify", {"do": "escalate"}]}]}),
        ),
    ];
    for (name, config) in examples {
        let plugin = load(name, Grant::default());
        let config = config.as_object().unwrap();
        let taken = match plugin.roles() {
            [PluginRole::Detector] => plugin.detector(config).await.map(drop),
            _ => plugin.policy(config).await.map(drop),
        };
        assert!(taken.is_ok(), "{name} {config:?}: {:?}", taken.err());
        let nonsense = json!({"cpu": "much", "rules": 7, "words": 7});
        let refused = match plugin.roles() {
            [PluginRole::Detector] => plugin.detector(nonsense.as_object().unwrap()).await.map(drop),
            _ => plugin.policy(nonsense.as_object().unwrap()).await.map(drop),
        };
        assert!(refused.is_err(), "{name}");
    }
}

async fn clear(cache: &Path, parameters: Value) -> Result<heald_model::Receipt, heald_host::ActionFailure> {
    let directory = Directory { host: cache.to_owned(), guest: "/cache".to_owned(), write: true };
    let plugin = load("act-clear-cache", Grant { files: Some(vec![directory]), ..Grant::default() });
    let actions = plugin.actions(&Map::new()).await.unwrap();
    let service = service();
    let task = Task {
        now: Moment::from_millis(1_000),
        seed: 1,
        attempt: IntentId(uuid::Uuid::nil()),
        service: &service,
        incident: None,
        action: "clear-cache",
        parameters: &parameters,
    };
    let plan = actions.check(&task).await?;
    assert!(plan.summary.starts_with("would delete"), "{}", plan.summary);
    actions.perform(&task).await
}

#[cfg(unix)]
#[tokio::test]
async fn the_granted_directory_is_emptied_and_nothing_outside_it() {
    let place = tempfile::tempdir().unwrap();
    let (cache, outside) = (place.path().join("cache"), place.path().join("outside"));
    fs::create_dir_all(cache.join("deep/er")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "stays").unwrap();
    fs::write(cache.join("deep/er/page"), "12345").unwrap();
    std::os::unix::fs::symlink(&outside, cache.join("way-out")).unwrap();
    std::os::unix::fs::symlink("../outside/precious", cache.join("file-out")).unwrap();

    let through = clear(&cache, json!({"path": "way-out"})).await;
    assert!(through.is_err(), "{through:?}");
    let upward = clear(&cache, json!({"path": "../outside"})).await;
    assert!(upward.is_err(), "{upward:?}");

    let receipt = clear(&cache, json!({})).await.unwrap();
    assert!(receipt.changed);
    assert!(fs::read_dir(&cache).unwrap().next().is_none(), "emptied, and still there");
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "stays");
}
