//! A heald that dies again and again begins without plug-ins, says so everywhere, and takes them back after a calm minute.

use std::time::Duration;

use heald_harness::{Heald, gone, kill, until, within};
use serde_json::Value;

use crate::setup::{lives, rows, start, victim};

/// Long: it only ends a hang. The calm alone takes a minute.
const PATIENCE: Duration = Duration::from_secs(240);

/// Kills the runtime and waits for the next one.
fn new_runtime(heald: &Heald) {
    let runtime = until(PATIENCE, "there is a runtime", || heald.runtime(), Option::is_some).unwrap();
    kill(runtime);
    within(PATIENCE, "it is gone", || gone(runtime).then_some(()));
    within(PATIENCE, "it answers", || {
        heald_harness::get(heald.address(), "/health/ready").filter(|answer| answer.status == 200)
    });
}

fn states(heald: &Heald) -> Vec<String> {
    let plugins = heald.get("/api/plugins");
    plugins["plugins"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect()
}

fn metric(heald: &Heald) -> String {
    let text = heald.call("GET", "/metrics", None).text;
    text.lines().find(|line| line.starts_with("heald_safe_mode ")).unwrap_or_default().to_owned()
}

fn notes(heald: &Heald) -> Vec<String> {
    let rows = rows(heald).into_iter();
    rows.filter(|row| row["record"]["kind"] == "note")
        .map(|row| row["record"]["text"].as_str().unwrap().into())
        .collect()
}

/// A heald whose runtime died three times, and the states of its plug-ins before.
fn in_safe_mode() -> (Heald, Vec<String>) {
    let heald = start(&victim("web"));
    until(PATIENCE, "it runs", || lives(&heald, "web").len(), |count| *count == 1);
    let normal = states(&heald);
    assert!(normal.iter().any(|state| state == "running"), "{normal:?}");
    for _ in 0..3 {
        assert_eq!(heald.get("/health")["safe_mode"], Value::Null);
        new_runtime(&heald);
    }
    (heald, normal)
}

#[test]
fn a_plugin_with_whose_return_heald_dies_is_left_out_until_it_is_reloaded() {
    let (heald, _) = in_safe_mode();
    let plugins = || heald.get("/health")["safe_mode"]["plugins"].clone();
    until(PATIENCE, "the plug-ins come back", plugins, |word| *word == "coming back");
    new_runtime(&heald);
    let again = heald.get("/health");
    assert_eq!(again["safe_mode"]["times"], 2, "{again}");
    let listed = heald.get("/api/plugins");
    let of = |plugin: &Value| plugin["why"].as_str().is_some_and(|why| why.contains("heald died when it took"));
    let suspects: Vec<&Value> = listed["plugins"].as_array().unwrap().iter().filter(|plugin| of(plugin)).collect();
    assert_eq!(suspects.len(), 1, "the one that was tried: {listed}");
    let name = suspects[0]["name"].as_str().unwrap();
    assert!(again["safe_mode"]["why"].as_str().unwrap().contains(name), "{again}");
    assert!(heald.ask(&["plugin", "reload", name]).status.success());
    assert_eq!(heald.get(&format!("/api/plugins/{name}"))["state"], "running");
}

#[test]
fn three_crashes_begin_safe_mode_and_a_calm_minute_ends_it() {
    let (heald, normal) = in_safe_mode();
    let health = heald.get("/health");
    let (why, until_when) = (&health["safe_mode"]["why"], &health["safe_mode"]["until"]);
    assert!(why.as_str().unwrap().contains("died 3 times within 60 s"), "{health}");
    assert!(until_when.is_string() && health["health"] == "degraded", "{health}");
    assert_eq!(heald.get("/health/status")["safe_mode"]["why"], *why);
    let overall = || heald.get("/health/status")["overall_health"].clone();
    until(PATIENCE, "every service is well, and heald is not", overall, |word| *word == "degraded");
    assert_eq!(metric(&heald), "heald_safe_mode 1");
    let status = String::from_utf8(heald.ask(&["status"]).stdout).unwrap();
    assert!(status.contains("SAFE MODE until") && status.contains("died 3 times"), "{status}");
    assert!(heald.log().contains("safe mode: the runtime died 3 times"), "it is in the log");
    let started = rows(&heald).into_iter().rfind(|row| row["record"]["kind"] == "started").unwrap();
    assert!(started["record"]["notes"].to_string().contains("safe mode: the runtime died 3 times"), "{started}");
    let plugins = heald.get("/api/plugins");
    assert!(plugins.to_string().contains("safe mode"), "the plug-ins say why they are not used: {plugins}");
    assert!(!states(&heald).contains(&"running".to_owned()));
    // It heals all the same.
    kill(lives(&heald, "web")[0].0);
    until(PATIENCE, "it is healed", || lives(&heald, "web").len(), |count| *count == 2);
    // After the calm minute the plug-ins are back, in the same runtime.
    let runtime = heald.runtime();
    until(PATIENCE, "safe mode is over", || heald.get("/health")["safe_mode"].clone(), Value::is_null);
    assert_eq!(states(&heald), normal);
    assert_eq!(heald.runtime(), runtime);
    assert_eq!(metric(&heald), "heald_safe_mode 0");
    assert_eq!(heald.get("/health")["health"], "healthy");
    let notes = notes(&heald);
    assert!(notes.iter().any(|note| note.contains("safe mode has ended")), "{notes:?}");
    // The next safe mode begins with the next crash, and lasts twice as long.
    new_runtime(&heald);
    let again = heald.get("/health");
    assert_eq!(again["safe_mode"]["times"], 2, "{again}");
}
