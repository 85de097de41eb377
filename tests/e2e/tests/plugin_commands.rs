//! What authors and operators do with plug-ins on the command line: exit codes, standard output and standard error.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use heald_harness::until;
use serde_json::Value;

use crate::setup::{HEALD, PATIENCE, guest, lives, start, victim};

fn heald(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(HEALD);
    command.args(arguments).current_dir(folder).env_remove("HEALD_URL").env_remove("HEALD_API_KEY");
    command.output().unwrap()
}

/// Standard output of a command that does what it is asked.
fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = heald(folder, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Standard output and error of one that cannot, or finds that it is not so.
fn refused(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = heald(folder, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}\n{text}{error}");
    (text, error)
}

#[test]
fn an_author_tests_and_measures() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::copy(guest("detector-good"), at.join("busy.wasm")).unwrap();
    fs::create_dir(at.join("scenarios")).unwrap();
    let scenario = "\
[[sample]]
repeat = 600
cpu = { ramp = [0, 100] }
[[sample.expect]]
finding = \"high-cpu\"
first = [\"8m\", \"9m\"]
";
    fs::write(at.join("scenarios/ramp.toml"), scenario).unwrap();
    // 90 of 100 is at 539 s.
    let said = done(at, &["plugin", "test", "busy.wasm"]);
    assert_eq!(said, "passed  scenarios/ramp.toml (detector): 600 calls, 1 of 1 expectation met\n");
    let (said, _) = refused(at, &["plugin", "test", "busy.wasm", "--config", r#"{"limit": 20}"#]);
    assert!(said.starts_with("FAILED  scenarios/ramp.toml"), "{said}");
    assert!(said.contains("line 4, at 2m") && said.contains("said      high-cpu of http"), "{said}");
    let (said, _) = refused(at, &["plugin", "test", "busy.wasm", "--config", r#"{"limit": 20}"#, "--json"]);
    let judged: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&judged[0]["passed"], &judged[0]["expectations"][0]["line"]), (&false.into(), &4.into()), "{said}");
    fs::write(at.join("wrong.toml"), "[[sample]]\nrepaet = 3\n").unwrap();
    let (_, error) = refused(at, &["plugin", "test", "busy.wasm", "wrong.toml"]);
    assert!(error.contains("wrong.toml") && error.contains("line 2") && error.contains("repaet"), "{error}");

    let said = done(at, &["plugin", "bench", "busy.wasm", "--calls", "50", "--budget", "p99=10s", "--json"]);
    let measured: Value = serde_json::from_str(&said).unwrap();
    assert!(measured["roles"][0]["warm"]["p99_ns"].as_u64().unwrap() > 0, "{said}");
    let (said, _) = refused(at, &["plugin", "bench", "busy.wasm", "--calls", "50", "--budget", "p99=1ns"]);
    assert!(said.contains("OVER BUDGET  p99 is "), "{said}");
}

#[test]
fn a_plugin_that_traps_in_a_scenario_is_no_pass() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("one.toml"), "[[sample]]\n").unwrap();
    let trap = guest("detector-trap");
    let (said, _) = refused(folder.path(), &["plugin", "test", trap.to_str().unwrap(), "one.toml"]);
    assert!(said.contains("expected  an answer") && said.contains("said      a fault: trap"), "{said}");
}

#[test]
fn who_signs_is_verified_and_what_was_changed_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::copy(guest("detector-good"), at.join("p.wasm")).unwrap();
    let said = done(at, &["plugin", "sign", "p.wasm", "--key", "k.pem", "--new-key"]);
    let key = said.lines().find_map(|line| line.strip_prefix("key     ")).unwrap().to_owned();
    assert!(done(at, &["plugin", "verify", "p.wasm", "--key", &key]).contains(&key));
    // As an operator trusts it.
    fs::write(at.join("heald.toml"), format!("[plugins]\ntrusted_keys = [\"{key}\"]\n")).unwrap();
    done(at, &["plugin", "verify", "p.wasm"]);
    let seen: Value = serde_json::from_str(&done(at, &["plugin", "inspect", "p.wasm", "--json"])).unwrap();
    assert_eq!((&seen["signatures"][0]["key"], &seen["roles"][0]), (&Value::from(key.as_str()), &"detector".into()));
    let mut bytes = fs::read(at.join("p.wasm")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(at.join("p.wasm"), bytes).unwrap();
    let (_, error) = refused(at, &["plugin", "verify", "p.wasm", "--key", &key]);
    assert!(error.contains("changed or damaged"), "{error}");
    let (said, _) = refused(at, &["plugin", "verify", "p.wasm", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["verified"], false);
}

#[test]
fn an_operator_sees_to_the_plugins_of_a_running_heald() {
    let heald = start(&victim("web"));
    until(PATIENCE, "it runs", || lives(&heald, "web").len(), |count| *count == 1);
    let ask = |arguments: &[&str]| {
        let output = heald.ask(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
    };
    let row = |name: &str| {
        let (listed, text) = ask(&["plugin", "list"]);
        assert!(listed && text.starts_with("PLUG-IN"), "{text}");
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}")).to_owned()
    };
    assert!(row("availability").contains("running  active"), "{}", row("availability"));
    until(
        PATIENCE,
        "it was asked",
        || ask(&["plugin", "show", "availability"]).1,
        |text| text.contains("services    web") && !text.contains("calls       0,"),
    );
    let (disabled, text) = ask(&["plugin", "disable", "availability"]);
    assert!(disabled && text.contains("availability is disabled"), "{text}");
    assert!(row("availability").contains("disabled"), "{}", row("availability"));
    let (enabled, text) = ask(&["plugin", "enable", "availability"]);
    assert!(enabled && text.contains("is enabled"), "{text}");
    assert!(row("availability").contains("running"), "{}", row("availability"));
    let (reloaded, text) = ask(&["plugin", "reload", "availability"]);
    assert!(reloaded && text.contains("availability is reloaded"), "{text}");
    for words in [
        &["plugin", "show", "nothing"][..],
        &["plugin", "promote", "availability"],
        &["plugin", "revoke", "availability", "fire"],
        &["plugin", "divergence", "availability"],
    ] {
        let (done, text) = ask(words);
        assert!(!done && text.starts_with("heald: "), "{words:?}: {text}");
    }
}
