//! Plug-ins that spin, trap, flood or eat memory: the service is healed all the same, and the fault is an incident about the
//! plug-in.

use heald_harness::{Heald, kill, until, within};

use crate::setup::{PATIENCE, guest, lives, start, victim};

fn heal_beside(detector: Option<&str>, policy: Option<&str>) -> Heald {
    let mut config = String::new();
    let mut plugin = |name: &str| {
        let path = guest(name);
        // An unoptimised heald is slow to hand out memory: the limit that is to be met is that of memory.
        let limits = if name.ends_with("bomb") { "limits = { cpu = \"5s\" }\n" } else { "" };
        config.push_str(&format!("[[plugin]]\nname = \"{name}\"\ncomponent = \"{}\"\n{limits}", path.display()));
        format!("\"{name}\"")
    };
    let detectors = detector.map(&mut plugin).unwrap_or_default();
    let policies = policy.map(&mut plugin).unwrap_or_default();
    let healing = format!("[healing]\ndetectors = [{detectors}]\npolicies = [{policies}]\n");
    let heald = start(&format!("{config}{healing}{}", victim("web")));
    let (pid, _) = until(PATIENCE, "it runs", || lives(&heald, "web"), |lives| !lives.is_empty())[0];
    within(PATIENCE, "it is a second old", || {
        let status = heald.get("/health/status");
        (status["services"]["web"]["health"] == "healthy").then_some(())
    });
    kill(pid);
    until(PATIENCE, "a second life", || lives(&heald, "web").len(), |count| *count == 2);
    heald
}

fn is_told(heald: &Heald, plugin: &str, cause: &str) {
    let service = format!("plugin:{plugin}");
    let incident = heald
        .incident(PATIENCE, &service, "the fault is an incident", |incident| incident["condition"] == "plugin-fault");
    let text = incident["timeline"].to_string();
    assert!(text.contains(cause), "{cause} is named: {text}");
}

fn native_rules_answered(heald: &Heald) {
    let incident = heald.incident(PATIENCE, "web", "it is resolved", |incident| incident["stage"] == "resolved");
    let text = incident["timeline"].to_string();
    assert!(text.contains("\"native\""), "the native rules answered: {text}");
}

#[test]
fn a_detector_that_spins() {
    let heald = heal_beside(Some("detector-spin"), None);
    native_rules_answered(&heald);
    is_told(&heald, "detector-spin", "cpu-budget");
}

#[test]
fn a_detector_that_traps() {
    let heald = heal_beside(Some("detector-trap"), None);
    native_rules_answered(&heald);
    is_told(&heald, "detector-trap", "trap");
}

#[test]
fn a_detector_that_eats_memory() {
    let heald = heal_beside(Some("detector-bomb"), None);
    native_rules_answered(&heald);
    is_told(&heald, "detector-bomb", "memory");
}

#[test]
fn a_detector_that_floods() {
    let heald = heal_beside(Some("detector-flood-output"), None);
    native_rules_answered(&heald);
    is_told(&heald, "detector-flood-output", "");
}

#[test]
fn a_policy_that_spins() {
    let heald = heal_beside(None, Some("policy-spin"));
    native_rules_answered(&heald);
    is_told(&heald, "policy-spin", "cpu-budget");
}

#[test]
fn a_policy_that_traps_three_times_is_rested() {
    let heald = heal_beside(None, Some("policy-trap"));
    native_rules_answered(&heald);
    is_told(&heald, "policy-trap", "trap");
}

#[test]
fn a_plugin_file_that_is_no_component_leaves_the_rest_running() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("junk.wasm");
    std::fs::write(&file, b"\0asm this is not a component").unwrap();
    let heald = start(&format!(
        "[[plugin]]\nname = \"junk\"\ncomponent = \"{}\"\n[healing]\ndetectors = [\"availability\", \"junk\"]\n{}",
        file.display(),
        victim("web")
    ));
    is_told(&heald, "junk", "junk.wasm");
    let (pid, _) = until(PATIENCE, "it runs", || lives(&heald, "web"), |lives| !lives.is_empty())[0];
    kill(pid);
    until(PATIENCE, "a second life", || lives(&heald, "web").len(), |count| *count == 2);
}

#[test]
fn a_detector_that_refuses_its_configuration_is_stood_in_for() {
    let refused = "[service.config.availability]\nno_such_setting = 1\n";
    let heald = start(&format!("{}{refused}", victim("web")));
    let (pid, _) = until(PATIENCE, "it runs", || lives(&heald, "web"), |lives| !lives.is_empty())[0];
    is_told(&heald, "availability", "no_such_setting");
    kill(pid);
    until(PATIENCE, "a second life", || lives(&heald, "web").len(), |count| *count == 2);
    native_rules_answered(&heald);
}
