//! The commands, as a person runs them.

use heald_harness::{Heald, gone, until};

use crate::setup::{PATIENCE, lives, start, victim};

fn says(heald: &Heald, arguments: &[&str]) -> String {
    let output = heald.ask(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn the_life_of_an_operator() {
    let heald = start(&victim("web"));
    let (pid, _) = until(PATIENCE, "it runs", || lives(&heald, "web"), |lives| !lives.is_empty())[0];
    assert!(says(&heald, &["status"]).contains("healthy"));
    assert!(says(&heald, &["services"]).contains("web"));
    says(&heald, &["act", "restart", "--service", "web"]);
    let second = until(PATIENCE, "a second life", || lives(&heald, "web"), |lives| lives.len() == 2)[1].0;
    assert!(gone(pid));
    // Paused: a death is seen and not healed.
    says(&heald, &["pause", "web"]);
    heald_harness::kill(second);
    let held = heald.incident(PATIENCE, "web", "it is held", |incident| incident["held"]["rule"] == "paused");
    assert_eq!(lives(&heald, "web").len(), 2);
    let story = says(&heald, &["why", held["id"].as_str().unwrap()]);
    assert!(story.contains("paused") && story.contains("service-down"), "{story}");
    says(&heald, &["resume", "web"]);
    until(PATIENCE, "a third life", || lives(&heald, "web").len(), |count| *count == 3);
    heald.incident(PATIENCE, "web", "it is resolved", |incident| incident["stage"] == "resolved");
    assert!(says(&heald, &["incidents"]).contains("service-down"));
    // Stopped is no fault, and stays so over heald's own restart.
    says(&heald, &["stop", "web"]);
    let third = lives(&heald, "web")[2].0;
    until(PATIENCE, "it is stopped", || gone(third), |gone| *gone);
    assert!(heald.incidents("web").iter().all(|incident| incident["stage"] == "resolved"));
    says(&heald, &["start", "web"]);
    until(PATIENCE, "a fourth life", || lives(&heald, "web").len(), |count| *count == 4);
}

#[test]
fn an_unknown_action_is_refused_and_logged() {
    let heald = start(&victim("web"));
    let output = heald.ask(&["act", "FROBNICATE", "--service", "web"]);
    assert!(!output.status.success() && output.status.code() != Some(101));
    assert_eq!(heald.call("GET", "/health", None).status, 200);
    assert!(heald.log().contains("Unknown action received: FROBNICATE"), "{}", heald.log());
}

#[test]
fn orchestrate_restarts_a_named_service() {
    let heald = start(&victim("web"));
    until(PATIENCE, "it runs", || lives(&heald, "web").len(), |count| *count == 1);
    let body = r#"{"service":"web","metrics":{"cpu":99,"memory":1,"error_rate":0}}"#;
    let answer = heald.call("POST", "/orchestrate", Some(body)).json();
    assert_eq!(answer["action_taken"], "RESTART", "{answer}");
    until(PATIENCE, "a second life", || lives(&heald, "web").len(), |count| *count == 2);
}

#[test]
fn decide_needs_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let decide = |arguments: &[&str]| {
        let output = std::process::Command::new(crate::setup::HEALD)
            .arg("decide")
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(decide(&["--metrics", r#"{"cpu":99}"#]).contains("RESTART"));
    assert!(decide(&["--metrics", r#"{"cpu":10,"memory":10}"#]).contains("NO_ACTION"));
    let table = [
        (r#"{"status":"UP","cpu":20,"memory":91}"#, "clear_cache", "Memory usage is critically high"),
        (r#"{"status":"UP","cpu":90,"memory":91}"#, "clear_cache", "Memory usage is critically high"),
        (r#"{"status":"ERROR","cpu":1,"memory":1}"#, "restart_service", "Service health is DOWN or unreachable"),
        (r#"{"status":"UP","cpu":81,"memory":1}"#, "throttle_requests", "CPU usage is critically high"),
        (r#"{"status":"UP","cpu":80,"memory":80}"#, "no_action", "System operating within safe limits"),
    ];
    for (metrics, action, reason) in table {
        let text = decide(&["--policy", "llm-style", "--json", "--metrics", metrics]);
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["action"], action, "{metrics}: {text}");
        assert_eq!(answer["reason"], reason, "{metrics}: {text}");
    }
}

#[test]
fn nobody_at_the_address_is_said_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(crate::setup::HEALD)
        .args(["status", "--port", "1"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.1:1"));
}

#[test]
fn an_order_is_seen_through_although_whoever_asked_goes_away() {
    let heald = start(
        r#"
[[service]]
name = "slow"
[service.process]
command = ["sh", "-c", "echo $$ 0 >> @DIR@/slow.lives; trap 'sleep 1; exit 0' TERM; while :; do sleep 0.05; done"]
"#,
    );
    until(PATIENCE, "it runs", || lives(&heald, "slow").len(), |count| *count == 1);
    // Asks, and hangs up long before the process has stopped.
    let mut stream = std::net::TcpStream::connect(heald.address()).unwrap();
    let ask = b"POST /api/services/slow/restart HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n";
    std::io::Write::write_all(&mut stream, ask).unwrap();
    until(PATIENCE, "it was asked", || heald.log(), |log| log.contains("restart slow"));
    drop(stream);
    until(PATIENCE, "a second life", || lives(&heald, "slow").len(), |count| *count == 2);
    until(PATIENCE, "it is settled", || heald.ask(&["restart", "slow"]).status.success(), |done| *done);
}

#[test]
fn a_stop_right_behind_a_restart_stops() {
    let heald = start(&victim("web"));
    until(PATIENCE, "it runs", || lives(&heald, "web").len(), |count| *count == 1);
    assert!(heald.ask(&["restart", "web"]).status.success());
    let output = heald.ask(&["stop", "web"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let second = lives(&heald, "web")[1].0;
    until(PATIENCE, "it is stopped", || gone(second), |gone| *gone);
}
