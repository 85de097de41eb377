//! What an operator is told, and what his word does: what is not on offer, what starts anew, what is refused.

use std::process::Command;
use std::time::Duration;

use heald_harness::{Heald, Mode, Stub, until};
use serde_json::Value;

use crate::setup::{HEALD, VICTIM, lives, start, victim};

/// This only ends a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service that heald runs, and that is given up after one restart.
fn given_up_soon(port: u16) -> String {
    format!(
        r#"
[healing]
attempts = 1
cooldown = "100ms"
[[service]]
name = "app"
startup = "300ms"
[service.process]
command = ["{VICTIM}", "@DIR@/app.lives"]
[[service.probe]]
kind = "http"
url = "http://127.0.0.1:{port}/health"
period = "100ms"
failure_threshold = 2
"#
    )
}

fn stage(heald: &Heald, service: &str, stage: &str) -> Value {
    heald.incident(PATIENCE, service, stage, |incident| incident["stage"] == stage)
}

fn is_well(heald: &Heald, service: &str) {
    let health = || heald.get("/health/status")["services"][service]["health"].clone();
    until(PATIENCE, "it is healthy", health, |health| health == "healthy");
}

#[test]
fn a_recovery_by_itself_starts_anew() {
    let stub = Stub::on(0, Mode::Status(200));
    let port = stub.address().port();
    let heald = start(&given_up_soon(port));
    for count in [2, 3] {
        is_well(&heald, "app");
        stub.set(Mode::Status(503));
        until(PATIENCE, "it is restarted", || lives(&heald, "app").len(), |lives| *lives == count);
        stage(&heald, "app", "escalated");
        stub.set(Mode::Status(200));
        stage(&heald, "app", "resolved");
    }
}

#[test]
fn a_reset_forgets_what_was_tried() {
    let stub = Stub::on(0, Mode::Status(200));
    let port = stub.address().port();
    let heald = start(&given_up_soon(port));
    is_well(&heald, "app");
    stub.set(Mode::Status(503));
    stage(&heald, "app", "escalated");
    assert_eq!(lives(&heald, "app").len(), 2);
    let output = heald.ask(&["reset", "app"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    until(PATIENCE, "it is tried again", || lives(&heald, "app").len(), |lives| *lives == 3);
    stage(&heald, "app", "escalated");
    assert_eq!(lives(&heald, "app").len(), 3);
}

#[test]
fn a_resolved_incident_still_tells_what_it_was_about() {
    let stub = Stub::on(0, Mode::Status(200));
    let port = stub.address().port();
    let heald = start(&given_up_soon(port));
    is_well(&heald, "app");
    stub.set(Mode::Status(503));
    until(PATIENCE, "a second life", || lives(&heald, "app").len(), |lives| *lives == 2);
    stub.set(Mode::Status(200));
    let over = stage(&heald, "app", "resolved");
    assert!(over["message"].as_str().unwrap().contains("503"), "{over}");
    assert_eq!(over["metrics_snapshot"]["status"], 503.0, "{over}");
    assert_eq!(over["concerns"][0]["subject"], "http", "{over}");
}

#[test]
fn a_restart_of_what_heald_does_not_run_is_told_as_not_on_offer() {
    let _stub = Stub::on(0, Mode::Status(503));
    let port = _stub.address().port();
    let heald = start(&format!(
        r#"
[[service]]
name = "far"
[[service.probe]]
kind = "http"
url = "http://127.0.0.1:{port}/health"
period = "100ms"
"#
    ));
    let told = stage(&heald, "far", "escalated");
    let why = told["timeline"].as_array().unwrap().iter().rev().find(|event| event["kind"] == "stage").unwrap();
    let why = why["text"].as_str().unwrap();
    assert!(why.contains("asks for restart, which is not on offer: heald does not run far"), "{why}");
    assert_eq!(told["held"]["rule"], "not-on-offer", "{told}");
    for order in ["stop", "restart"] {
        let output = heald.ask(&[order, "far"]);
        assert_eq!(output.status.code(), Some(1), "{order}");
    }
    let output = heald.ask(&["stop", "far"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("heald does not run far"), "{error}");
    assert_eq!(heald.get("/api/services/far")["desired"], "running");
}

/// Runs a command in a directory with this configuration: exit code, output, errors.
fn alone(config: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("heald.toml"), config).unwrap();
    let output = Command::new(HEALD).args(arguments).current_dir(folder.path()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_plug_ins_action_with_the_name_of_healds_own_is_refused_by_the_check() {
    let config = r#"
[[plugin]]
name = "hook"
component = "builtin:act-webhook"
config = { url = "http://127.0.0.1:1/", action = "restart" }
grant = { http = ["127.0.0.1:1"] }
[[service]]
name = "far"
actions = ["hook"]
[[service.probe]]
kind = "tcp"
address = "127.0.0.1:1"
"#;
    let (code, _, error) = alone(config, &["config", "check"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("plugin.hook: its action `restart` has the name of heald's own action"), "{error}");
    let (code, _, error) = alone(&config.replace("\"restart\"", "\"restart-hook\""), &["config", "check"]);
    assert_eq!(code, Some(0), "{error}");
}

#[test]
fn what_dies_of_an_operators_signal_is_back_at_once() {
    let heald = start(&victim("web"));
    for (signal, count) in [("KILL", 2), ("HUP", 3)] {
        until(
            PATIENCE,
            "it runs",
            || heald.pid_of("web"),
            |pid| pid.is_some() && *pid == lives(&heald, "web").last().map(|(pid, _)| *pid),
        );
        let parameters = format!(r#"{{"signal":"{signal}"}}"#);
        let output = heald.ask(&["act", "signal", "--service", "web", "--parameters", &parameters]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        until(Duration::from_secs(3), "it is back", || lives(&heald, "web").len(), |lives| *lives == count);
    }
}

#[test]
fn orchestrating_a_service_that_is_only_observed_takes_force() {
    let heald = start(&victim("web").replace("[service.process]", "mode = \"observe\"\n[service.process]"));
    until(PATIENCE, "it runs", || lives(&heald, "web").len(), |count| *count == 1);
    let ask = |force: &str| {
        let body = format!(r#"{{"service":"web","metrics":{{"cpu":99,"memory":1,"error_rate":0}}{force}}}"#);
        heald.call("POST", "/orchestrate", Some(&body))
    };
    let refused = ask("");
    assert_eq!((refused.status, &refused.json()["rule"]), (409, &Value::from("observe")), "{}", refused.text);
    assert_eq!(lives(&heald, "web").len(), 1);
    let done = ask(r#","force":true"#);
    assert_eq!((done.status, &done.json()["executed"]), (200, &Value::from(true)), "{}", done.text);
    until(PATIENCE, "a second life", || lives(&heald, "web").len(), |count| *count == 2);
}

#[test]
fn decide_for_a_service_asks_what_that_service_is_asked_and_tells_unknown_metrics() {
    let config = r#"
[[service]]
name = "queue"
[service.config.threshold]
queue_length = { limit = 10, condition = "queue-too-long" }
[service.config.rules]
defaults = true
rules = [{ when = { condition = "queue-too-long" }, do = "restart" }]
[[service.probe]]
kind = "tcp"
address = "127.0.0.1:1"
"#;
    let (code, out, error) = alone(config, &["decide", "--service", "queue", "--metrics", r#"{"queue_length":11}"#]);
    assert_eq!((code, out.as_str()), (Some(0), "restart\n"), "{error}");
    assert!(!error.contains("is no metric"), "{error}");
    let (_, out, error) = alone(config, &["decide", "--metrics", r#"{"queue_length":11}"#]);
    assert_eq!(out, "NO_ACTION\n", "{error}");
    assert!(error.contains("`queue_length` is no metric"), "{error}");
    let (code, _, error) = alone(config, &["decide", "--service", "quue", "--metrics", "{}"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("no service is named `quue`; configured: queue"), "{error}");
}
