//! What was decided is explained and replayed from the journal: beside a running heald, and after its end.

use std::path::Path;
use std::process::Output;

use heald_harness::{Heald, kill, until, within};
use serde_json::Value;

use crate::setup::{PATIENCE, guest, lives, start, victim};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a command that ends with this code.
fn ends(heald: &Heald, code: i32, arguments: &[&str]) -> String {
    let output = heald.run(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{}", text(&output));
    text(&output)
}

fn json(heald: &Heald, code: i32, arguments: &[&str]) -> Value {
    let output = heald.run(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A service that died and was healed; and its incident.
fn healed() -> (Heald, String) {
    let heald = start(&victim("web"));
    let first = until(PATIENCE, "it runs", || lives(&heald, "web"), |lives| !lives.is_empty())[0].0;
    within(PATIENCE, "it is well", || {
        (heald.get("/health/status")["services"]["web"]["health"] == "healthy").then_some(())
    });
    kill(first);
    let incident = heald.incident(PATIENCE, "web", "it is resolved", |incident| incident["stage"] == "resolved");
    (heald, incident["id"].as_str().unwrap().to_owned())
}

fn rival(name: &str, component: &Path) -> String {
    format!("{name}={}", component.display())
}

#[test]
fn a_decision_is_explained_beside_a_running_heald() {
    let (heald, id) = healed();
    // Decisions are kept at once, by another thread.
    until(PATIENCE, "the decision is kept", || heald.run(&["explain", &id]).status.code(), |code| *code == Some(0));
    let said = ends(&heald, 0, &["explain", &id[..id.len() - 1]]);
    assert!(said.contains("by rules@") && said.contains("service-down of web"), "{said}");
    assert!(said.contains("said      restart") && said.contains("again     the same, bit for bit"), "{said}");
    let whole = json(&heald, 0, &["explain", &id, "--json"]);
    let decision = &whole["decisions"][0];
    assert_eq!(decision["again"]["result"], "same");
    assert_eq!(decision["asked"]["input"]["incident"]["id"], id);
    assert_eq!(decision["plugin"]["digest"].as_str().unwrap().len(), 64);
    assert_eq!(decision["settings"]["digest"].as_str().unwrap().len(), 64);
    assert_eq!(decision["said"]["output"]["decision"]["choice"]["act"]["action"], "restart");

    let said = ends(&heald, 2, &["explain", "ffffffff"]);
    assert!(said.contains("no incident in") && said.contains("begins with `ffffffff`"), "{said}");
    let said = ends(&heald, 2, &["explain", "web"]);
    assert!(said.contains("`heald incidents` lists them"), "{said}");
}

#[test]
fn the_record_is_replayed_to_its_own_plugins_and_to_others() {
    let (mut heald, _) = healed();
    heald.stop();
    // Everything that was kept whole: decisions, and what changed in the findings.
    let whole = json(&heald, 0, &["replay", "--json"]);
    assert!(whole["calls"].as_u64().unwrap() >= 3 && whole["calls"] == whole["same"], "{whole}");
    // The same component: no difference, in decisions and on the tape.
    let whole = json(&heald, 0, &["replay", "--plugin", "rules=builtin:decide-rules", "--json"]);
    assert_eq!(whole["agreement"]["compared"], whole["agreement"]["agreed"], "{whole}");
    assert!(whole["agreement"]["compared"].as_u64().unwrap() >= 1, "{whole}");
    let whole = json(&heald, 0, &["replay", "--plugin", "availability=builtin:detect-availability", "--json"]);
    assert_eq!(whole["agreement"]["disagreed"], 0, "{whole}");
    assert!(whole["agreement"]["compared"].as_u64().unwrap() >= 2, "found, and gone again: {whole}");
    assert!(whole["asked"].as_u64().unwrap() > whole["agreement"]["compared"].as_u64().unwrap(), "{whole}");

    // The same with another configuration, and another.
    let rules = r#"{"rules": [{"when": {"condition": "service-down"}, "do": "escalate"}]}"#;
    let said = ends(&heald, 1, &["replay", "--plugin", "rules=builtin:decide-rules", "--settings", rules]);
    assert!(said.contains("was       restart") && said.contains("would be  escalate"), "{said}");
    let zealot = rival("rules", &guest("policy-zealot"));
    let whole = json(&heald, 1, &["replay", "--plugin", &zealot, "--settings", r#"{"action": "no-action"}"#, "--json"]);
    let difference = &whole["differences"][0];
    assert_eq!((&difference["did"], &difference["would"]), (&"restart".into(), &"no-action".into()), "{whole}");
    assert_eq!(whole["agreement"]["would_have_withheld"], whole["agreement"]["disagreed"], "{whole}");
    // A detector that finds nothing of it.
    let good = rival("availability", &guest("detector-good"));
    let whole =
        json(&heald, 1, &["replay", "--plugin", &good, "--settings", "{}", "--limit-differences", "1", "--json"]);
    let difference = &whole["differences"][0];
    assert_eq!(difference["would"], "nothing found", "{whole}");
    assert!(difference["did"].as_str().unwrap().starts_with("service-down"), "{whole}");
    assert_eq!(whole["differences"].as_array().unwrap().len(), 1);

    // What is not of then or not about that is not asked.
    let said = ends(&heald, 2, &["replay", "--plugin", "rules=builtin:decide-rules", "--service", "db"]);
    assert!(said.contains("nothing that rules was asked is on record here"), "{said}");
    ends(&heald, 2, &["replay", "--plugin", "rules=builtin:decide-rules", "--since", "2100-01-01T00:00:00Z"]);
    // And trouble is told apart from a difference.
    let said = ends(&heald, 2, &["replay", "--plugin", "rules=nowhere.wasm"]);
    assert!(said.contains("nowhere.wasm"), "{said}");
    let note = rival("rules", &guest("action-note"));
    let said = ends(&heald, 2, &["replay", "--plugin", &note]);
    assert!(said.contains("neither a detector nor a policy"), "{said}");
}

#[test]
fn a_component_that_was_replaced_is_explained_with_what_ran_then() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("judge.wasm");
    std::fs::copy(guest("policy-zealot"), &file).unwrap();
    let judge = format!(
        "[[plugin]]\nname = \"judge\"\ncomponent = \"{}\"\n[healing]\npolicies = [\"judge\"]\n",
        file.display()
    );
    let mut heald = start(&format!("{judge}{}", victim("web")));
    let first = until(PATIENCE, "it runs", || lives(&heald, "web"), |lives| !lives.is_empty())[0].0;
    kill(first);
    let incident = heald.incident(PATIENCE, "web", "it is resolved", |incident| incident["stage"] == "resolved");
    let id = incident["id"].as_str().unwrap();
    heald.stop();
    // Another file has that name by now: heald has kept the one that decided.
    std::fs::copy(guest("policy-trap"), &file).unwrap();
    let said = ends(&heald, 0, &["explain", id]);
    assert!(said.contains("by judge@") && said.contains("the same, bit for bit"), "{said}");
    std::fs::remove_dir_all(heald.path("heald.components")).unwrap();
    let said = ends(&heald, 2, &["explain", id]);
    assert!(said.contains("cannot be asked: its component") && said.contains("is gone"), "{said}");
}
