//! The guest `asks`, which asks the host whatever a test tells it to.

use std::sync::Arc;
use std::time::Duration;

use heald_engine::ports::Detector;
use heald_host::{Grant, Host, Plugin, PluginConfig, PluginDetector};
use heald_model::Moment;
use heald_model::{Observation, Verdict};
use serde_json::{Map, Value, json};

use crate::guests::{component, object, observation, table};

/// All that the guest imports.
pub(crate) fn everything() -> Grant {
    Grant { kv: true, process: true, process_control: true, ..Grant::default() }
}

/// Its table under this name: what a plug-in keeps belongs to its name, and the host is one for all tests.
pub(crate) fn named(name: &str) -> PluginConfig {
    let mut table = PluginConfig { name: name.into(), grant: everything(), ..table("asks") };
    // What it asks for takes the time it takes, on a busy machine and in a host that is not optimised.
    table.limits.cpu = Some(Duration::from_secs(5));
    table
}

pub(crate) fn asks(host: &Host, name: &str) -> Plugin {
    host.load_bytes(&named(name), component("asks")).unwrap()
}

pub(crate) fn script(steps: Value) -> Map<String, Value> {
    object(json!({ "script": steps }))
}

pub(crate) async fn asking(plugin: &Plugin, steps: Value) -> Arc<PluginDetector> {
    plugin.detector(&script(steps)).await.unwrap()
}

/// What it heard, question by question.
pub(crate) fn heard(verdict: &Verdict) -> Vec<String> {
    verdict.findings[0].evidence.iter().map(|fact| fact.value.to_string()).collect()
}

/// A call for this service, so many milliseconds after the epoch.
pub(crate) fn call(service: &str, now: u64) -> Observation {
    Observation { now: Moment::from_millis(now), ..observation(service, 1.0) }
}

/// Asks once.
pub(crate) async fn ask(plugin: &Plugin, steps: Value) -> Vec<String> {
    heard(&asking(plugin, steps).await.evaluate(&call("web", 1_000)).await.unwrap())
}
