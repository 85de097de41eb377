//! Processes that die are running again at once, and the incident tells the whole story.

use std::time::Duration;

use heald_harness::{gone, kill, until, within};
use serde_json::Value;

use crate::setup::{PATIENCE, lives, start, victim};

fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn kinds(incident: &Value) -> Vec<&str> {
    incident["timeline"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

/// Waits until a process has been up long enough for its restart to be immediate.
fn age(heald: &heald_harness::Heald, name: &str) -> u32 {
    let (pid, began) = until(PATIENCE, "it runs", || lives(heald, name), |lives| !lives.is_empty())[0];
    within(PATIENCE, "it is a second old", || (monotonic() > began + 1_100_000_000).then_some(()));
    pid
}

#[test]
fn a_killed_process_runs_again_and_its_incident_tells_how() {
    let heald = start(&victim("web"));
    let pid = age(&heald, "web");
    kill(pid);
    let second = until(PATIENCE, "a second life", || lives(&heald, "web"), |lives| lives.len() == 2)[1].0;
    assert_ne!(pid, second);
    let incident = heald.incident(PATIENCE, "web", "it is resolved", |incident| incident["stage"] == "resolved");
    let kinds = kinds(&incident);
    let story = ["finding", "decision", "permit", "intent", "receipt", "proof", "outcome"];
    let places: Vec<Option<usize>> = story.iter().map(|kind| kinds.iter().position(|known| known == kind)).collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{kinds:?}");
    let decision = incident["timeline"].as_array().unwrap().iter().find(|event| event["kind"] == "decision").unwrap();
    let source = decision["source"].as_str().unwrap();
    let (name, digest) = source.split_once('@').expect("the decision names plug-in and digest");
    assert_eq!(name, "rules");
    assert!(digest.len() >= 12 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{source}");
    assert_eq!(heald.pid_of("web"), Some(second));
    // One id joins the lines of the story in the log, too.
    let id = incident["id"].as_str().unwrap();
    let lines: Vec<String> = heald.log().lines().filter(|line| line.contains(id)).map(str::to_owned).collect();
    for kind in ["finding", "decision", "intent", "outcome"] {
        assert!(lines.iter().any(|line| line.contains(&format!("\"message\":\"{kind}: "))), "{kind}: {lines:#?}");
    }
}

#[test]
fn twenty_killed_at_once_are_all_back() {
    let names: Vec<String> = (0..20).map(|i| format!("s{i}")).collect();
    let config: String = names.iter().map(|name| victim(name)).collect();
    let heald = start(&config);
    let pids: Vec<u32> = names.iter().map(|name| age(&heald, name)).collect();
    let began = monotonic();
    pids.iter().for_each(|pid| kill(*pid));
    let seconds: Vec<u64> = names
        .iter()
        .map(|name| until(PATIENCE, "a second life", || lives(&heald, name), |lives| lives.len() >= 2)[1].1)
        .collect();
    println!("all twenty back after {:.1} ms", (seconds.iter().max().unwrap() - began) as f64 / 1e6);
    for name in &names {
        heald.incident(PATIENCE, name, "it is resolved", |incident| incident["stage"] == "resolved");
        assert_eq!(lives(&heald, name).len(), 2, "{name} was started more than once");
    }
    assert!(pids.iter().all(|pid| gone(*pid)));
}

#[test]
fn with_a_budget_of_five_never_more_than_five_are_in_healing() {
    let names: Vec<String> = (0..20).map(|i| format!("s{i}")).collect();
    let services: String = names.iter().map(|name| victim(name)).collect();
    let heald = start(&format!("[healing.budget]\nrestore = 5\n{services}"));
    let pids: Vec<u32> = names.iter().map(|name| age(&heald, name)).collect();
    pids.iter().for_each(|pid| kill(*pid));
    for name in &names {
        heald.incident(PATIENCE, name, "it is resolved", |incident| incident["stage"] == "resolved");
        assert_eq!(lives(&heald, name).len(), 2, "{name}");
    }
    // From the record: an action holds its place from its intent to its outcome.
    let mut healing = 0_i32;
    let mut most = 0;
    let mut waited = 0;
    for row in crate::setup::rows(&heald) {
        match row["record"]["kind"].as_str().unwrap() {
            "intended" => healing += 1,
            "settled" => healing -= 1,
            "ruled" if row["record"]["ruling"]["wait"]["rule"] == "budget" => waited += 1,
            _ => {}
        }
        most = most.max(healing);
    }
    assert_eq!((most, healing), (5, 0));
    assert!(waited > 0, "nobody had to wait for a place");
}

#[test]
fn a_process_that_does_not_stay_up_is_restarted_ever_more_slowly() {
    let victim = crate::setup::VICTIM;
    let heald = start(&format!(
        r#"
[healing.start_limit]
count = 2
within = "5m"
[[service]]
name = "loop"
[service.process]
command = ["{victim}", "@DIR@/loop.lives", "exit", "50", "3"]
"#
    ));
    let incident = heald.incident(PATIENCE, "loop", "people are told", |incident| incident["stage"] == "escalated");
    let text = incident["timeline"].to_string();
    assert!(text.contains("back-off") && text.contains("start-limit"), "{text}");
    let count = lives(&heald, "loop").len();
    assert!((3..=5).contains(&count), "{count} lives");
    // An operator's reset lets it be tried again.
    assert!(heald.ask(&["reset", "loop"]).status.success());
    until(PATIENCE, "another try", || lives(&heald, "loop").len(), |now| *now > count);
}

#[test]
fn a_dependent_waits_for_its_dependency() {
    let (victim, dir) = (crate::setup::VICTIM, "@DIR@");
    let heald = start(&format!(
        r#"
[[service]]
name = "db"
[service.process]
command = ["sh", "-c", "test -e {dir}/db.allowed && exec {victim} {dir}/db.lives; exit 1"]
[[service]]
name = "web"
depends_on = ["db"]
[service.process]
command = ["{victim}", "{dir}/web.lives"]
"#
    ));
    let web = age(&heald, "web");
    heald.incident(PATIENCE, "db", "db is down", |incident| incident["stage"] != "resolved");
    kill(web);
    let held = heald.incident(PATIENCE, "web", "it is held", |incident| incident["held"]["rule"] == "dependency");
    assert!(held["parent"].is_string(), "the cause is named: {held}");
    assert_eq!(lives(&heald, "web").len(), 1);
    std::fs::write(heald.path("db.allowed"), "").unwrap();
    assert!(heald.ask(&["reset", "db"]).status.success());
    until(Duration::from_secs(90), "web is back once db is", || lives(&heald, "web").len(), |lives| *lives == 2);
    assert!(!lives(&heald, "db").is_empty());
}

#[test]
fn what_is_not_to_run_again_is_left_alone() {
    let victim = crate::setup::VICTIM;
    let port = heald_harness::free_port();
    let heald = start(&format!(
        r#"
[[service]]
name = "job"
startup = "1s"
[service.process]
command = ["{victim}", "@DIR@/job.lives", "exit", "0", "1"]
restart = "never"
[[service.probe]]
kind = "tcp"
address = "127.0.0.1:{port}"
period = "100ms"
"#
    ));
    let incident = heald.incident(PATIENCE, "job", "it is refused", |incident| incident["held"]["rule"] == "finished");
    assert_eq!(lives(&heald, "job").len(), 1, "{incident}");
}
