//! Bad input of every kind gets a clear error and leaves the rest running.

use std::process::Command;

use heald_harness::until;

use crate::setup::{HEALD, PATIENCE, lives, start, victim};

fn check(config: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heald.toml");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(HEALD).args(["config", "check"]).arg(&file).current_dir(folder.path()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

#[test]
fn a_configuration_is_checked_whole_with_file_line_and_what_is_allowed() {
    let (ok, text) = check("[healing]\nmode = \"bold\"\n");
    assert!(!ok && text.contains("heald.toml:2") && text.contains("observe") && text.contains("approve"), "{text}");
    let (ok, text) =
        check("[[service]]\nname = \"a\"\ndepends_on = [\"b\"]\n[[service]]\nname = \"b\"\ndepends_on = [\"a\"]\n");
    assert!(!ok && text.contains("heald.toml:3") && text.contains("a → b → a"), "{text}");
    let (ok, text) = check("[[service]]\nname = \"a\"\n[[service]]\nname = \"a\"\n");
    assert!(!ok && text.contains("heald.toml:4") && text.contains("unique"), "{text}");
    let (ok, text) = check("[[service]]\nname = \"a\"\nlimit = 3\n");
    assert!(!ok && text.contains("limit") && text.contains("depends_on"), "unknown fields name the known ones: {text}");
    let (ok, text) = check("[[plugin]]\nname = \"threshold\"\n[plugin.config]\ncpu = \"much\"\n");
    assert!(!ok && text.contains("heald.toml:") && text.contains("threshold"), "the plug-in refuses it: {text}");
    let (ok, text) = check("[[service]]\nname = \"a\"\n");
    assert!(ok, "{text}");
}

#[test]
fn a_bad_configuration_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heald.toml");
    std::fs::write(&file, "[healing]\nmode = \"bold\"\n").unwrap();
    let output = Command::new(HEALD).args(["run", "--config"]).arg(&file).current_dir(folder.path()).output().unwrap();
    assert!(!output.status.success());
    assert!(!folder.path().join("heald.db").exists());
}

#[test]
fn a_corrupt_database_is_set_aside_and_healing_goes_on() {
    let mut heald = start(&victim("web"));
    until(PATIENCE, "it runs", || lives(&heald, "web").len(), |count| *count == 1);
    heald.stop();
    std::fs::write(heald.path("heald.db"), b"this was a database once").unwrap();
    for rest in ["heald.db-wal", "heald.db-shm"] {
        let _ = std::fs::remove_file(heald.path(rest));
    }
    heald.start_again();
    let aside = std::fs::read_dir(heald.dir())
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("heald.db.corrupt"))
        .expect("it is set aside under a new name");
    assert_eq!(std::fs::read(heald.path(&aside)).unwrap(), b"this was a database once");
    let pid = until(PATIENCE, "it runs", || heald.pid_of("web"), Option::is_some).unwrap();
    heald_harness::kill(pid);
    until(PATIENCE, "it is healed", || heald.pid_of("web"), |now| now.is_some_and(|now| now != pid));
}

#[test]
fn an_unreadable_desired_state_means_halted_until_resumed() {
    let mut heald = start(&victim("web"));
    until(PATIENCE, "it runs", || lives(&heald, "web").len(), |count| *count == 1);
    assert!(heald.ask(&["stop", "web"]).status.success());
    heald.stop();
    let wishes = std::fs::read_dir(heald.dir())
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("desired")))
        .expect("the desired state has a file of its own");
    std::fs::write(&wishes, b"{ what").unwrap();
    heald.start_again();
    assert!(heald.log().contains("all healing is halted"), "it is said loudly:\n{}", heald.log());
    assert_eq!(std::fs::read(&wishes).unwrap(), b"{ what", "it is not overwritten");
    assert_eq!(heald.get("/api/halt")["halted"], true);
    heald.incident(PATIENCE, "web", "it is held", |incident| incident["held"]["rule"] == "halted");
    assert_eq!(lives(&heald, "web").len(), 1, "what may be meant to be stopped is not started");
    assert!(heald.ask(&["resume", "--all"]).status.success());
    until(PATIENCE, "what is not known to be stopped is to run", || lives(&heald, "web").len(), |count| *count == 2);
    assert_eq!(heald.get("/api/halt")["halted"], false);
}
