//! Plug-ins while heald runs: dropped into the folder, replaced, refused, disabled, tried in the shadow and as a canary, each
//! with a service that is healed meanwhile.

use std::fmt::Write as _;
use std::path::Path;

use heald_harness::{Answer, Heald, kill, until, within};
use serde_json::Value;

use crate::setup::{PATIENCE, guest, lives, start, victim};

/// One plug-in as the API shows it.
fn plugin(heald: &Heald, name: &str) -> Value {
    heald.get(&format!("/api/plugins/{name}"))
}

fn order(heald: &Heald, name: &str, verb: &str) -> Answer {
    heald.call("POST", &format!("/api/plugins/{name}/{verb}"), Some("{}"))
}

/// Waits until the plug-in is like that.
fn becomes(heald: &Heald, name: &str, what: &str, like: impl Fn(&Value) -> bool) -> Value {
    until(PATIENCE, what, || plugin(heald, name), like)
}

/// A file appears whole under its name, as a careful copy does it.
fn drop_into(folder: &Path, name: &str, component: &Path) {
    let hidden = folder.join(format!(".{name}.part"));
    std::fs::copy(component, &hidden).unwrap();
    std::fs::rename(&hidden, folder.join(format!("{name}.wasm"))).unwrap();
}

/// Kills the newest life of a victim, and waits for the next.
fn heal_once(heald: &Heald, name: &str) {
    let before = until(PATIENCE, "it runs", || lives(heald, name), |lives| !lives.is_empty());
    within(PATIENCE, "it is well", || {
        let status = heald.get("/health/status");
        (status["services"][name]["health"] == "healthy").then_some(())
    });
    kill(before.last().unwrap().0);
    until(PATIENCE, "another life", || lives(heald, name).len(), |count| *count > before.len());
}

fn folder_of(heald_dir: &tempfile::TempDir) -> String {
    format!("[plugins]\nfolder = \"{}\"\n", heald_dir.path().display())
}

#[test]
fn an_action_dropped_into_the_folder_is_listed_used_and_ended_at_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let rules = r#"
[[plugin]]
name = "rules"
config = { rules = [{ when = { condition = "service-down" }, do = "linger", then = ["restart"] }] }
"#;
    // Alive and refusing: what is done about it is disruptive, and takes its budget.
    let heald = start(&format!("{}{rules}{}", folder_of(&folder), victim("web")));
    let catalog = heald.get("/api/catalog").to_string();
    assert!(!catalog.contains("\"linger\""), "{catalog}");
    std::fs::write(folder.path().join("noter.toml"), "limits = { cpu = \"100ms\" }\n").unwrap();
    drop_into(folder.path(), "noter", &guest("action-note"));
    let noter = becomes(&heald, "noter", "it is used", |plugin| plugin["state"] == "running");
    assert_eq!(noter["origin"], "folder");
    assert_eq!(noter["actions"], serde_json::json!(["linger", "note"]));
    let catalog = heald.get("/api/catalog").to_string();
    assert!(catalog.contains("\"linger\"") && catalog.contains("\"note\""), "{catalog}");
    // By hand ...
    let told = heald.ask(&["act", "note", "--service", "web"]);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    // ... and by a decision: it never ends by itself, and the next rung heals.
    heal_once(&heald, "web");
    let incident = heald.incident(PATIENCE, "web", "it is healed", |incident| incident["stage"] == "resolved");
    let story = incident.to_string();
    assert!(story.contains("linger") && story.contains("cpu-budget"), "ended at its limit: {story}");
    // Taken away, it is gone.
    std::fs::remove_file(folder.path().join("noter.wasm")).unwrap();
    until(PATIENCE, "it is gone", || heald.call("GET", "/api/plugins/noter", None).status, |status| *status == 404);
}

#[test]
fn what_cannot_be_used_keeps_what_runs_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let heald = start(&format!("{}{}", folder_of(&folder), victim("web")));
    drop_into(folder.path(), "judge", &guest("policy-zealot"));
    let first = becomes(&heald, "judge", "it is used", |plugin| plugin["state"] == "running");
    std::fs::write(folder.path().join("judge.part"), b"\0asm junk").unwrap();
    std::fs::rename(folder.path().join("judge.part"), folder.path().join("judge.wasm")).unwrap();
    let refused = becomes(&heald, "judge", "another is refused", |plugin| plugin["why"].is_string());
    assert_eq!(refused["state"], "running", "{refused}");
    assert_eq!(refused["loaded"]["digest"], first["loaded"]["digest"]);
    assert!(refused["why"].as_str().unwrap().contains("judge.wasm"), "{refused}");
    // One that traps when it is tried is refused too.
    drop_into(folder.path(), "watcher", &guest("detector-trap"));
    let refused = becomes(&heald, "watcher", "it is refused", |plugin| plugin["state"] == "failed");
    assert!(refused["why"].as_str().unwrap().contains("self-test"), "{refused}");
    let rejected = order(&heald, "judge", "reload");
    assert_eq!(rejected.status, 422, "{}", rejected.text);
    // And what is mended is taken.
    drop_into(folder.path(), "watcher", &guest("detector-good"));
    becomes(&heald, "watcher", "it is used", |plugin| plugin["state"] == "running");
    drop_into(folder.path(), "judge", &guest("policy-zealot"));
    becomes(&heald, "judge", "it is used again", |plugin| plugin["why"].is_null());
    heal_once(&heald, "web");
}

#[test]
fn a_name_of_the_configuration_cannot_be_taken_by_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let heald = start(&format!("{}{}", folder_of(&folder), victim("web")));
    let before = plugin(&heald, "rules");
    drop_into(folder.path(), "rules", &guest("policy-zealot"));
    let incident =
        heald.incident(PATIENCE, "plugin:rules", "it is told", |incident| incident["condition"] == "plugin-fault");
    assert!(incident.to_string().contains("rules.wasm"), "{incident}");
    assert_eq!(plugin(&heald, "rules")["loaded"], before["loaded"]);
}

#[test]
fn a_disabled_plugin_stays_out_over_a_restart_until_it_is_enabled() {
    let mut heald = start(&victim("web"));
    assert_eq!(order(&heald, "rules", "disable").status, 200);
    assert_eq!(order(&heald, "rules", "disable").status, 409, "it is already");
    heal_once(&heald, "web");
    let incident = heald.incident(PATIENCE, "web", "it is healed", |incident| incident["stage"] == "resolved");
    assert!(incident.to_string().contains("\"native\""), "the native rules answered: {incident}");
    heald.stop();
    heald.start_again();
    assert_eq!(plugin(&heald, "rules")["state"], "disabled");
    assert_eq!(order(&heald, "rules", "enable").status, 200);
    assert_eq!(plugin(&heald, "rules")["state"], "running");
    assert_eq!(order(&heald, "nobody", "enable").status, 404);
}

/// Plug-ins of the tests' guests with a mode.
fn guests(tables: &[(&str, &str, &str)]) -> String {
    tables.iter().fold(String::new(), |mut text, (name, component, rest)| {
        let path = guest(component);
        let _ = write!(text, "[[plugin]]\nname = \"{name}\"\ncomponent = \"{}\"\n{rest}\n", path.display());
        text
    })
}

#[test]
fn a_shadow_that_would_restart_everything_touches_nothing() {
    let plugins = guests(&[
        ("alarm", "detector-alarm", "mode = \"shadow\""),
        ("zealot", "policy-zealot", "mode = \"shadow\"\ninstead_of = \"rules\"\nconfig = { action = \"stop\" }"),
    ]);
    let healing = "[healing]\ndetectors = [\"availability\", \"threshold\", \"alarm\"]\n";
    let heald = start(&format!("{plugins}{healing}{}{}", victim("web"), victim("db")));
    // It sees both services, and finds both down where nothing is found.
    let alarmed = |divergence: &Value| divergence["agreement"]["would_have_acted"].as_u64() >= Some(2);
    let divergence = until(PATIENCE, "it is compared", || heald.get("/api/plugins/alarm/divergence"), alarmed);
    assert_eq!(divergence["differences"][0]["did"], "nothing found", "{divergence}");
    assert_eq!(divergence["services"].as_object().unwrap().len(), 2);
    heal_once(&heald, "web");
    let stopped = |divergence: &Value| divergence["agreement"]["disagreed"].as_u64() >= Some(1);
    let divergence = until(PATIENCE, "it is compared", || heald.get("/api/plugins/zealot/divergence"), stopped);
    let difference = &divergence["differences"][0];
    assert_eq!(
        (difference["would"].as_str(), difference["did"].as_str()),
        (Some("stop"), Some("restart")),
        "{divergence}"
    );
    // db was found down all the time by the shadow, and nobody did anything.
    assert_eq!(lives(&heald, "db").len(), 1);
    let incidents = heald.get("/api/incidents").to_string();
    assert!(!incidents.contains("\"db\""), "{incidents}");
    let incident = heald.incident(PATIENCE, "web", "it is healed", |incident| incident["stage"] == "resolved");
    assert!(incident["timeline"].to_string().contains("would have: stop"), "{incident}");
}

#[test]
fn a_bad_canary_is_taken_back_without_an_operator() {
    let rest = "mode = \"canary\"\ninstead_of = \"rules\"\nconfig = { action = \"escalate\" }\n\
                canary = { share = 0.5, after = 1, disagreement = 0.0 }";
    let plugins = guests(&[("next", "policy-zealot", rest)]);
    let mut heald = start(&format!("{plugins}{}{}", victim("web"), victim("db")));
    let canary = plugin(&heald, "next");
    assert_eq!(canary["state"], "running");
    let chosen = canary["services"][0].as_str().unwrap().to_owned();
    assert_eq!(canary["services"].as_array().unwrap().len(), 1, "half of two: {canary}");
    heal_once(&heald, &chosen);
    let back = becomes(&heald, "next", "it is taken back", |plugin| plugin["state"] == "rolled-back");
    assert!(back["why"].as_str().unwrap().contains("differed"), "{back}");
    assert_eq!(back["services"], serde_json::json!([]));
    // The old one answers again, here and after a restart.
    heald.stop();
    heald.start_again();
    assert_eq!(plugin(&heald, "next")["state"], "rolled-back");
    heal_once(&heald, &chosen);
    let rows = heald_harness::events(heald.address(), 0, |_| false);
    let decided = rows.iter().rev().find(|row| row["record"]["kind"] == "decided").unwrap();
    assert!(decided.to_string().contains("rules"), "{decided}");
}

#[test]
fn a_canary_that_fails_is_taken_back() {
    let rest = "mode = \"canary\"\ninstead_of = \"rules\"\ncanary = { share = 1.0, faults = 0 }";
    let plugins = guests(&[("next", "policy-trap", rest)]);
    let heald = start(&format!("{plugins}{}", victim("web")));
    heal_once(&heald, "web");
    let back = becomes(&heald, "next", "it is taken back", |plugin| plugin["state"] == "rolled-back");
    assert!(back["why"].as_str().unwrap().contains("failed"), "{back}");
}

#[test]
fn a_canary_that_agrees_is_promoted() {
    let rest = "mode = \"canary\"\ninstead_of = \"rules\"\ncanary = { share = 1.0, promote_after = 1 }";
    let plugins = guests(&[("next", "policy-zealot", rest)]);
    let mut heald = start(&format!("{plugins}{}", victim("web")));
    heal_once(&heald, "web");
    becomes(&heald, "next", "it is promoted", |plugin| {
        plugin["why"].as_str().is_some_and(|why| why.contains("agreed"))
    });
    heald.stop();
    heald.start_again();
    heal_once(&heald, "web");
    let rows = heald_harness::events(heald.address(), 0, |_| false);
    let decided = rows.iter().rev().find(|row| row["record"]["kind"] == "decided").unwrap();
    assert!(decided.to_string().contains("next"), "{decided}");
}
