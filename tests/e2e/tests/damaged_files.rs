//! Files that heald reads are cut short, are no regular files, or are removed: nothing is let in that was kept out, nothing is held up,
//! and what is over is told as over.

use std::path::Path;
use std::time::Duration;

use heald_harness::{Heald, until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::setup::{guest, lives, start, victim};

/// It only ends a hang.
const PATIENCE: Duration = Duration::from_secs(60);

fn plugin(heald: &Heald, name: &str) -> Value {
    heald.get(&format!("/api/plugins/{name}"))
}

fn becomes(heald: &Heald, name: &str, state: &str) -> Value {
    until(PATIENCE, state, || plugin(heald, name), |plugin| plugin["state"] == state)
}

fn order(heald: &Heald, name: &str, verb: &str) {
    let answer = heald.call("POST", &format!("/api/plugins/{name}/{verb}"), Some("{}"));
    assert_eq!(answer.status, 200, "{verb} {name}: {}", answer.text);
}

/// Waits for an incident about a plug-in at that stage.
fn incident(heald: &Heald, name: &str, stage: &str) -> Value {
    heald.incident(PATIENCE, &format!("plugin:{name}"), stage, |incident| incident["stage"] == stage)
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn watching(folder: &tempfile::TempDir) -> String {
    format!("[plugins]\nfolder = \"{}\"\n{}", folder.path().display(), victim("web"))
}

#[test]
fn a_truncated_file_of_decisions_lets_no_disabled_plugin_in() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(guest("action-note"), folder.path().join("noter.wasm")).unwrap();
    std::fs::copy(guest("detector-good"), folder.path().join("watcher.wasm")).unwrap();
    let mut heald = start(&watching(&folder));
    for name in ["noter", "watcher", "rules"] {
        becomes(&heald, name, "running");
    }
    order(&heald, "noter", "disable");
    order(&heald, "rules", "disable");
    heald.stop();
    let decisions = heald.path("heald.plugins.json");
    std::fs::write(&decisions, "").unwrap();
    heald.start_again();

    // Nobody knows what was decided: what is not built in stays out, and so does what the journal saw disabled.
    for name in ["noter", "watcher", "rules"] {
        let kept_out = plugin(&heald, name);
        assert_eq!(kept_out["state"], "failed", "{kept_out}");
        assert!(kept_out["why"].as_str().unwrap().contains(&format!("heald plugin enable {name}")), "{kept_out}");
        incident(&heald, name, "opened");
    }
    assert_eq!(plugin(&heald, "availability")["state"], "running");
    incident(&heald, "heald.plugins.json", "opened");
    assert!(heald.log().contains("the decisions about plug-ins in"), "{}", heald.log());
    assert_eq!(std::fs::read_to_string(&decisions).unwrap(), "", "looking changes nothing");
    assert_eq!(heald.call("POST", "/api/plugins/watcher/reload", Some("{}")).status, 422, "this decides nothing");

    // A decision holds for one plug-in, and over a restart.
    order(&heald, "watcher", "enable");
    assert_eq!(plugin(&heald, "watcher")["state"], "running");
    incident(&heald, "watcher", "resolved");
    incident(&heald, "heald.plugins.json", "resolved");
    let names = std::fs::read_dir(heald.dir()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("heald.plugins.json.unreadable-")).count(), 1);
    heald.stop();
    heald.start_again();
    assert_eq!(becomes(&heald, "watcher", "running")["name"], "watcher");
    assert_eq!(plugin(&heald, "noter")["state"], "failed");
    assert_eq!(plugin(&heald, "rules")["state"], "failed");
}

#[test]
fn the_incident_of_a_broken_plugin_ends_with_the_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let mut heald = start(&watching(&folder));
    for name in ["removed", "disabled", "away"] {
        std::fs::write(folder.path().join(format!("{name}.wasm")), b"\0asm junk").unwrap();
        incident(&heald, name, "opened");
    }
    std::fs::remove_file(folder.path().join("removed.wasm")).unwrap();
    let over = incident(&heald, "removed", "resolved");
    assert!(over["timeline"].to_string().contains("the plug-in was removed"), "{over}");
    order(&heald, "disabled", "disable");
    let over = incident(&heald, "disabled", "resolved");
    assert!(over["timeline"].to_string().contains("the plug-in is disabled"), "{over}");
    // Removed while heald is away; and the disabled one is no news at the next start.
    heald.stop();
    std::fs::remove_file(folder.path().join("away.wasm")).unwrap();
    heald.start_again();
    incident(&heald, "away", "resolved");
    assert_eq!(incident(&heald, "disabled", "resolved")["reopened"], 0);
}

#[test]
fn a_fifo_and_a_device_in_the_folder_hold_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::copy(guest("detector-good"), file("watcher.wasm")).unwrap();
    fifo(&file("watcher.toml"));
    fifo(&file("pipe.wasm"));
    std::os::unix::fs::symlink("/dev/zero", file("zero.wasm")).unwrap();
    std::fs::File::create(file("huge.wasm")).unwrap().set_len(20 << 30).unwrap();
    let heald = start(&watching(&folder));
    until(PATIENCE, "it runs", || lives(&heald, "web").len(), |lives| *lives == 1);
    for (name, why) in
        [("watcher", "it is a FIFO"), ("pipe", "regular file"), ("zero", "regular file"), ("huge", "too large")]
    {
        let refused = becomes(&heald, name, "failed");
        assert!(refused["why"].as_str().unwrap().contains(why), "{refused}");
        incident(&heald, name, "opened");
    }
    // While it runs, too; and what is repaired is taken.
    std::fs::copy(guest("detector-good"), file("late.wasm")).unwrap();
    becomes(&heald, "late", "running");
    fifo(&file("late.toml"));
    until(
        PATIENCE,
        "it is refused",
        || plugin(&heald, "late"),
        |late| late["why"].to_string().contains("it is a FIFO"),
    );
    std::fs::remove_file(file("watcher.toml")).unwrap();
    becomes(&heald, "watcher", "running");
    incident(&heald, "watcher", "resolved");
}

#[test]
fn a_file_of_desired_states_that_is_a_fifo_is_unreadable_and_heald_starts() {
    let mut heald = start(&victim("web"));
    heald.stop();
    fifo(&heald.path("heald.desired.json"));
    heald.start_again();
    assert!(heald.log().contains("it is a FIFO, not a regular file"), "{}", heald.log());
}
