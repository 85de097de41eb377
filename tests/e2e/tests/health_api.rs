//! The health monitor's interface, on the example configuration of the three services it once watched.

use std::path::PathBuf;
use std::time::Duration;

use heald_harness::{Heald, Launch, Mode, Stub, free_port, request_with, until};
use serde_json::Value;

use crate::setup::{HEALD, PATIENCE};

struct Three {
    heald: Heald,
    ports: [u16; 3],
}

/// heald on the example file, which takes the addresses from the environment.
fn three(env: &[(&str, &str)]) -> Three {
    let ports = [free_port(), free_port(), free_port()];
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples/health-monitor.toml");
    let urls = ports.map(|port| format!("http://127.0.0.1:{port}/health"));
    let mut all = vec![("WRITER_URL", urls[0].as_str()), ("RESEARCH_URL", &urls[1]), ("BACKEND_URL", &urls[2])];
    all.extend(env.iter().filter(|(name, _)| *name != "WRITER_URL"));
    if let Some(own) = env.iter().find(|(name, _)| *name == "WRITER_URL") {
        all[0] = *own;
    }
    let config = format!(
        "{}\n[keeper]\nstate_dir = \"@DIR@/keeper\"\n[store]\npath = \"@DIR@/heald.db\"\n",
        std::fs::read_to_string(&example).unwrap_or_else(|error| panic!("{}: {error}", example.display()))
    );
    // The example leaves the address to HOST and PORT.
    let env = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut launch = Launch { binary: PathBuf::from(HEALD), config, env };
    launch.env.push(("HEALTH_CHECK_INTERVAL".to_owned(), "600".to_owned()));
    let overridden = all.iter().any(|(name, _)| *name == "HEALTH_CHECK_INTERVAL");
    if overridden {
        launch.env.pop();
    }
    Three { heald: Heald::start(launch), ports }
}

impl Three {
    fn trigger(&self) -> Value {
        let answer = self.heald.call("POST", "/health/trigger", None);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    fn backend(&self) -> Value {
        self.trigger()["services"]["backend"].clone()
    }
}

#[test]
fn status_has_every_field_of_every_service() {
    let three = three(&[]);
    let status = three.heald.get("/health/status");
    assert!(status["timestamp"].is_string() && status["overall_health"].is_string());
    for name in ["writer", "research", "backend"] {
        let service = status["services"][name].as_object().unwrap_or_else(|| panic!("{name}: {status}"));
        for field in [
            "health",
            "last_check",
            "response_time_ms",
            "error_message",
            "consecutive_failures",
            "total_checks",
            "successful_checks",
            "uptime_percentage",
            "circuit_breaker_state",
        ] {
            assert!(service.contains_key(field), "{name} has no {field}: {status}");
        }
    }
    let card = three.heald.get("/");
    assert_eq!(card["service"], "Orchestrator");
    assert_eq!(card["status"], "running");
    assert_eq!(card["endpoints"]["health_status"], "/health/status");
    let health = three.heald.get("/health");
    assert_eq!((&health["status"], &health["service"]), (&"ok".into(), &"orchestrator".into()));
}

#[test]
fn the_circuit_opens_at_the_fifth_failure_suspends_and_comes_back_by_two_successes() {
    let three = three(&[("CIRCUIT_BREAKER_TIMEOUT", "1")]);
    let _writer = Stub::on(three.ports[0], Mode::Status(200));
    let backend = Stub::on(three.ports[2], Mode::Status(500));
    // The check at start-up found nobody listening, and counted.
    let seen = three.heald.get("/health/status")["services"]["backend"]["consecutive_failures"].as_u64().unwrap();
    for _ in seen + 1..5 {
        assert_eq!(three.backend()["circuit_breaker_state"], "closed");
    }
    assert_eq!(three.backend()["circuit_breaker_state"], "open");
    let hits = backend.hits();
    let skipped = three.backend();
    assert_eq!(skipped["health"], "circuit_open");
    assert_eq!(skipped["error_message"], "Circuit open due to 5 consecutive failures");
    assert_eq!(backend.hits(), hits, "an open circuit lets no request through");
    assert_eq!(three.heald.get("/health/status")["services"]["writer"]["circuit_breaker_state"], "closed");
    // A failure while half-open goes back to open.
    until(PATIENCE, "a trial", || (three.backend(), backend.hits()), |(_, now)| *now > hits);
    assert_eq!(three.heald.get("/health/status")["services"]["backend"]["circuit_breaker_state"], "open");
    backend.set(Mode::Status(200));
    let half = until(PATIENCE, "half-open", || three.backend(), |backend| backend["health"] == "healthy");
    assert_eq!(half["circuit_breaker_state"], "half_open");
    assert_eq!(three.backend()["circuit_breaker_state"], "closed");
    let log = three.heald.log();
    for line in ["backend: closed -> open", "backend: open -> half_open", "backend: half_open -> closed"] {
        assert!(log.contains(line), "{line} is logged:\n{log}");
    }
}

#[test]
fn each_fault_has_its_words() {
    let three = three(&[("HEALTH_CHECK_TIMEOUT", "1")]);
    let port = three.ports[2];
    assert_eq!(three.backend()["error_message"], format!("Connection refused on port {port}"));
    {
        let _stub = Stub::on(port, Mode::Hang);
        assert_eq!(three.backend()["error_message"], "Timeout after 1.0s");
    }
    let _stub = Stub::on(port, Mode::Status(503));
    let backend = three.backend();
    assert_eq!((&backend["health"], &backend["error_message"]), (&"unhealthy".into(), &"HTTP 503".into()));
    let log = three.heald.log();
    assert!(log.contains(&format!("backend: Connection refused on port {port}")), "{log}");
    assert!(log.contains("backend: Timeout after 1.0s"), "{log}");
}

#[test]
fn hanging_targets_take_one_timeout_together() {
    let three = three(&[("HEALTH_CHECK_TIMEOUT", "2")]);
    let _stubs = three.ports.map(|port| Stub::on(port, Mode::Hang));
    let began = std::time::Instant::now();
    three.trigger();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_900) && took < Duration::from_millis(3_900), "{took:?}");
}

#[test]
fn overall_health_uptime_and_response_time() {
    let three = three(&[]);
    let first = Stub::on(three.ports[0], Mode::Status(200));
    let others = [Stub::on(three.ports[1], Mode::Status(200)), Stub::on(three.ports[2], Mode::Status(200))];
    let all = three.trigger();
    assert_eq!(all["overall_health"], "healthy", "{all}");
    let writer = &all["services"]["writer"];
    assert!(writer["response_time_ms"].as_f64().unwrap() < 25.0, "{writer}");
    let share = 100.0 * writer["successful_checks"].as_f64().unwrap() / writer["total_checks"].as_f64().unwrap();
    assert!((writer["uptime_percentage"].as_f64().unwrap() - share).abs() < 0.01, "{writer}");
    drop(first);
    assert_eq!(three.trigger()["overall_health"], "degraded");
    drop(others);
    assert_eq!(three.trigger()["overall_health"], "unhealthy");
    let log = three.heald.log();
    assert_eq!(log.matches("writer: healthy -> unhealthy").count(), 1, "{log}");
}

#[test]
fn checks_go_on_by_themselves_and_a_bad_address_troubles_nobody_else() {
    let three = three(&[("HEALTH_CHECK_INTERVAL", "0.2"), ("WRITER_URL", "not-a-url")]);
    let _stub = Stub::on(three.ports[1], Mode::Status(200));
    let count = |name: &str| three.heald.get("/health/status")["services"][name]["total_checks"].as_u64().unwrap();
    let before = count("research");
    three.trigger();
    until(PATIENCE, "checks go on", || count("research"), |now| *now >= before + 4);
    let writer = &three.heald.get("/health/status")["services"]["writer"];
    assert_ne!(writer["health"], "healthy");
    assert!(writer["error_message"].is_string(), "{writer}");
}

#[test]
fn the_threshold_of_the_circuit_comes_from_the_environment() {
    let three = three(&[("CIRCUIT_BREAKER_THRESHOLD", "2")]);
    let _stub = Stub::on(three.ports[2], Mode::Status(500));
    until(PATIENCE, "it opens", || three.backend(), |backend| backend["circuit_breaker_state"] == "open");
    assert_eq!(three.backend()["error_message"], "Circuit open due to 2 consecutive failures");
}

#[test]
fn misuse_gets_a_json_answer_with_both_words() {
    let heald = three(&[]).heald;
    let missing = heald.call("GET", "/nope", None);
    assert_eq!(missing.status, 404);
    assert!(missing.json()["error"].is_string() && missing.json()["detail"] == "Not Found", "{}", missing.text);
    let method = heald.call("GET", "/orchestrate", None);
    assert_eq!(method.status, 405);
    assert!(method.headers.contains("\r\nallow:"), "{}", method.headers);
    assert_eq!(method.json()["detail"], "Method Not Allowed");
    for body in [r#"{"metrics":{"cpu":"x"}}"#, "{", "[]", r#"{"metrics":7}"#] {
        let answer = heald.call("POST", "/orchestrate", Some(body));
        assert!((400..500).contains(&answer.status), "{body}: {}", answer.status);
        assert!(answer.json()["error"].is_string(), "{body}: {}", answer.text);
    }
    let preflight = "origin: http://localhost:3000\r\naccess-control-request-method: GET\r\n";
    let answer = request_with(heald.address(), "OPTIONS", "/health/status", preflight, "").unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.headers.contains("access-control-allow-origin"), "{}", answer.headers);
}

#[test]
fn orchestrate_detects_and_decides_by_its_tables() {
    let heald = three(&[]).heald;
    let ask = |body: &str| heald.call("POST", "/orchestrate", Some(body)).json();
    let own = heald.call("POST", "/orchestrate", None).json();
    for metric in ["cpu", "memory", "error_rate"] {
        assert!(own["metrics"][metric].is_number(), "{own}");
    }
    let cases = [
        (r#"{"metrics":{"cpu":80,"memory":80,"error_rate":5}}"#, false, "NO_ACTION"),
        (r#"{"metrics":{"cpu":80,"memory":80,"error_rate":6}}"#, true, "NO_ACTION"),
        (r#"{"metrics":{"cpu":86,"memory":1,"error_rate":0}}"#, true, "RESTART"),
        (r#"{"metrics":{"cpu":85,"memory":1,"error_rate":0}}"#, true, "NO_ACTION"),
        (r#"{"metrics":{"cpu":1,"memory":86,"error_rate":0}}"#, true, "RESTART"),
        (r#"{"metrics":{"cpu":1,"memory":1,"error_rate":0}}"#, false, "NO_ACTION"),
    ];
    for (body, detected, action) in cases {
        let answer = ask(body);
        assert_eq!(answer["failure_detected"], detected, "{body}: {answer}");
        assert_eq!(answer["action_taken"], action, "{body}: {answer}");
    }
    assert!(heald.log().contains("\"message\":\"No action required\""), "{}", heald.log());
}

#[test]
fn the_log_is_one_json_object_a_line() {
    let mut three = three(&[]);
    three.trigger();
    three.heald.stop();
    let log = three.heald.log();
    assert!(!log.contains('\u{1b}'), "no colour where there is no terminal");
    for line in log.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "logger", "message"] {
            assert!(object[key].is_string(), "{key}: {line}");
        }
        let level = object["level"].as_str().unwrap();
        assert!(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"].contains(&level), "{line}");
    }
    assert!(log.contains("Health monitoring started") && log.contains("Health monitoring stopped"));
}
