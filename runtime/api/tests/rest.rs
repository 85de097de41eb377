//! The REST API over a real socket, question by question.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]

mod support;

use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use heald_api::{Phase, ROUTES, ServerConfig};
use heald_model::{Breaker, Desired, Health, Moment, Stage};
use serde_json::{Value, json};
use support::*;

#[tokio::test]
async fn the_card_says_what_this_is() {
    let face = face().await;
    let card = face.get("/").await;
    assert_eq!(card.status, 200);
    let card = card.json();
    assert_eq!(card["service"], "Orchestrator");
    assert_eq!(card["version"], "0.1.0");
    assert_eq!(card["status"], "running");
    assert_eq!(card["endpoints"]["health"], "/health");
    assert_eq!(card["endpoints"]["health_status"], "/health/status");
}

#[tokio::test]
async fn every_older_client_finds_its_word_for_well() {
    let face = face().await;
    let answer = face.get("/health").await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!((&body["status"], &body["service"]), (&json!("ok"), &json!("orchestrator")));
    assert_eq!((&body["health"], &body["state"]), (&json!("healthy"), &json!("UP")));
    assert_eq!((&body["nodes"], &body["workloads"]), (&json!(1), &json!(3)));
    assert_eq!((&body["database"], &body["agent_running"]), (&json!("connected"), &json!(true)));
    assert!(body["timestamp"].is_string() && body["version"].is_string() && body["uptime"].is_number());
    assert!(!answer.text.contains(": "), "compact: {}", answer.text);

    face.database.store(false, Ordering::SeqCst);
    face.phase.send(Phase::Starting).unwrap();
    let body = face.get("/health").await.json();
    assert_eq!((&body["database"], &body["nodes"]), (&json!("disconnected"), &json!(0)));
    assert_eq!(body["agent_running"], false);
    assert_eq!(body["status"], "ok", "alive all the same");
}

#[tokio::test]
async fn safe_mode_is_shown_with_why_and_until_when() {
    let face = face().await;
    assert_eq!(face.get("/health").await.json()["safe_mode"], Value::Null);
    assert_eq!(face.get("/health/status").await.json()["safe_mode"], Value::Null);
    let until = Moment::from_nanos(1_795_341_600_000_000_000);
    let period = heald_api::SafeMode { why: "it died 3 times".into(), until, times: 2, ending: false };
    face.safe_mode.send_replace(Some(period.clone()));
    let expected = json!({
        "why": "it died 3 times", "until": "2026-11-22T10:00:00.000000+00:00", "times": 2, "plugins": "not used",
    });
    let body = face.get("/health").await.json();
    assert_eq!((&body["health"], &body["safe_mode"]), (&json!("degraded"), &expected));
    let body = face.get("/health/status").await.json();
    assert_eq!(body["safe_mode"], expected);
    assert_ne!(body["overall_health"], "healthy");
    face.safe_mode.send_replace(Some(heald_api::SafeMode { ending: true, ..period }));
    assert_eq!(face.get("/health").await.json()["safe_mode"]["plugins"], "coming back");
}

#[tokio::test]
async fn a_silent_keeper_is_shown_and_heald_is_not_ready() {
    let face = face().await;
    assert_eq!(face.get("/health").await.json()["keeper"], "connected");
    face.keeper_silent.store(true, Ordering::SeqCst);
    let answer = face.get("/health/ready").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (503, &json!("keeper-silent")));
    let body = face.get("/health").await.json();
    assert!(body["keeper"].as_str().unwrap().contains("silent for 4 s"), "{body}");
    assert_eq!((&body["health"], &body["status"]), (&json!("degraded"), &json!("ok")));
}

#[tokio::test]
async fn readiness_follows_the_phase() {
    let face = face().await;
    assert_eq!(face.get("/health/ready").await.status, 200);
    for (phase, word) in [(Phase::Starting, "starting"), (Phase::Draining, "draining")] {
        face.phase.send(phase).unwrap();
        let answer = face.get("/health/ready").await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json()["status"], word);
        assert!(answer.json()["error"].is_string() && answer.json()["detail"].is_string());
        assert_eq!(face.get("/health/live").await.status, 200);
    }
}

#[tokio::test]
async fn status_shows_every_services_checks() {
    let face = face().await;
    let body = face.get("/health/status").await.json();
    assert_eq!(body["overall_health"], "unhealthy", "before the first check");
    let writer = &body["services"]["writer"];
    assert_eq!(
        *writer,
        json!({"health": "unknown", "last_check": null, "response_time_ms": null, "error_message": null,
            "consecutive_failures": 0, "total_checks": 0, "successful_checks": 0, "uptime_percentage": 0.0,
            "circuit_breaker_state": "closed"})
    );
    face.heald.pulse("writer", |pulse| {
        pulse.health = Health::Healthy;
        pulse.last_check = Some(Moment::from_nanos(1_795_341_600_123_456_789));
        pulse.response_time = Some(Duration::from_nanos(1_234_567));
        pulse.total_checks = 120;
        pulse.successful_checks = 118;
    });
    face.heald.pulse("backend", |pulse| {
        pulse.health = Health::CircuitOpen;
        pulse.error = Some("Circuit open due to 5 consecutive failures".into());
        pulse.consecutive_failures = 5;
        pulse.breaker = Breaker::Open;
    });
    let body = face.get("/health/status").await.json();
    assert_eq!(body["overall_health"], "degraded");
    let writer = &body["services"]["writer"];
    assert_eq!(writer["uptime_percentage"], 98.33);
    assert_eq!(writer["response_time_ms"], 1.235);
    assert_eq!(writer["last_check"], "2026-11-22T10:00:00.123456");
    let stamp = body["timestamp"].as_str().unwrap();
    assert_eq!((stamp.len(), &stamp[10..11], &stamp[19..20]), (26, "T", "."), "{stamp}");
    let backend = &body["services"]["backend"];
    assert_eq!((&backend["health"], &backend["circuit_breaker_state"]), (&json!("circuit_open"), &json!("open")));
    assert_eq!(backend["error_message"], "Circuit open due to 5 consecutive failures");
    for name in SERVICES {
        face.heald.pulse(name, |pulse| pulse.health = Health::Healthy);
    }
    assert_eq!(face.get("/health/status").await.json()["overall_health"], "healthy");
}

#[tokio::test]
async fn a_trigger_answers_after_the_checks() {
    let face = face().await;
    let body = face.post("/health/trigger", "").await.json();
    assert_eq!(face.heald.triggered.load(Ordering::SeqCst), 1);
    assert_eq!(body["services"]["writer"]["total_checks"], 1);
    assert!(body["timestamp"].is_string() && body["overall_health"].is_string());
}

#[tokio::test]
async fn orchestrate_needs_no_body_and_measures_the_machine() {
    let face = face().await;
    face.heald.host.lock().unwrap().clear();
    let heald = Arc::clone(&face.heald);
    let later = tokio::spawn(async move {
        // The first measurement comes while the request waits for it.
        tokio::time::sleep(Duration::from_millis(60)).await;
        heald.host.lock().unwrap().extend([("cpu".to_owned(), 12.3), ("memory".to_owned(), 45.6)]);
    });
    let answer = face.post("/orchestrate", "").await;
    later.await.unwrap();
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["metrics"], json!({"cpu": 12, "memory": 46, "error_rate": 0}));
    assert!(body["metrics"]["cpu"].is_i64());
    assert_eq!((&body["failure_detected"], &body["action_taken"]), (&json!(false), &json!("NO_ACTION")));
    let (profile, metrics) = face.heald.asked.lock().unwrap()[0].clone();
    assert_eq!((profile.as_str(), metrics.values["memory"]), ("orchestrate", 46.0));
    let refused = face.get("/orchestrate").await;
    assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn orchestrate_judges_the_metrics_it_is_sent() {
    let face = face().await;
    let cases = [
        (json!({"cpu": 80, "memory": 80, "error_rate": 5}), false, "NO_ACTION"),
        (json!({"cpu": 80, "memory": 80, "error_rate": 6}), true, "NO_ACTION"),
        (json!({"cpu": 86, "memory": 1, "error_rate": 0}), true, "RESTART"),
        (json!({"cpu": 85, "memory": 1, "error_rate": 0}), true, "NO_ACTION"),
        (json!({"cpu": 1, "memory": 1, "error_rate": 0, "disk": 81}), false, "RESTART"),
    ];
    for (metrics, detected, action) in cases {
        let body = face.post("/orchestrate", &json!({"metrics": metrics}).to_string()).await.json();
        assert_eq!((&body["failure_detected"], &body["action_taken"]), (&json!(detected), &json!(action)), "{metrics}");
        assert_eq!(body["metrics"], metrics);
        assert_eq!(body["executed"], false, "nobody was named");
    }
    assert!((face.heald.asked.lock().unwrap()[1].1.values["error_rate"] - 0.06).abs() < 1e-9, "a ratio inside");
    assert!(face.heald.orders.lock().unwrap().is_empty());
}

#[tokio::test]
async fn orchestrate_carries_its_decision_out_on_a_named_service() {
    let face = face().await;
    let ask = r#"{"service":"writer","metrics":{"cpu":99,"memory":1,"error_rate":0}}"#;
    let body = face.post("/orchestrate", ask).await.json();
    assert_eq!((&body["action_taken"], &body["executed"]), (&json!("RESTART"), &json!(true)));
    let orders = face.heald.orders.lock().unwrap().clone();
    assert_eq!((orders[0].service.as_str(), orders[0].action.as_str()), ("writer", "restart"));
    let calm = r#"{"service":"writer","metrics":{"cpu":9,"memory":1,"error_rate":0}}"#;
    assert_eq!(face.post("/orchestrate", calm).await.json()["action_taken"], "NO_ACTION");
    assert_eq!(face.heald.orders.lock().unwrap().len(), 1, "nothing changes");
    assert_eq!(face.post("/orchestrate", &ask.replace("writer", "nobody")).await.status, 404);
    face.heald.withheld.store(true, Ordering::SeqCst);
    let refused = face.post("/orchestrate", ask).await;
    assert_eq!((refused.status.as_u16(), refused.json()["rule"].clone()), (409, json!("cooldown")));
}

#[tokio::test]
async fn misuse_gets_a_controlled_answer() {
    let face = face().await;
    let big = format!(r#"{{"metrics":{{}},"x":"{}"}}"#, "x".repeat(300_000));
    let cases = [
        (Method::GET, "/nope", "", 404, Some("Not Found")),
        (Method::GET, "/api/nope", "", 404, Some("Not Found")),
        (Method::DELETE, "/health", "", 405, Some("Method Not Allowed")),
        (Method::POST, "/health", "", 405, Some("Method Not Allowed")),
        (Method::POST, "/orchestrate", r#"{"metrics":{"cpu":"x"}}"#, 400, None),
        (Method::POST, "/orchestrate", r#"{"metrics":{"cpu":-1}}"#, 400, None),
        (Method::POST, "/orchestrate", r#"{"metrics":7}"#, 400, None),
        (Method::POST, "/orchestrate", "{", 400, None),
        (Method::POST, "/orchestrate", "[]", 400, None),
        (Method::POST, "/orchestrate", "\u{0}", 400, None),
        (Method::POST, "/orchestrate", &big, 413, None),
        (Method::POST, "/api/actions", "", 400, None),
        (Method::POST, "/api/actions", r#"{"service":"writer","action":"restart","parametres":{}}"#, 400, None),
        (Method::POST, "/api/actions", r#"{"service":"writer","action":"restart","parameters":[]}"#, 400, None),
        (Method::GET, "/api/incidents?limit=abc", "", 400, None),
        (Method::GET, "/api/incidents?limit=-1", "", 400, None),
        (Method::GET, "/api/incidents?status=sad", "", 400, None),
        (Method::GET, "/api/incidents/nonsense", "", 404, Some("Not Found")),
        (Method::GET, "/api/incidents/00000000-0000-0000-0000-000000000000", "", 404, Some("Not Found")),
        (Method::GET, "/api/actions?limit=1e9", "", 400, None),
        (Method::GET, "/api/services/nobody", "", 404, Some("Not Found")),
        (Method::POST, "/api/services/nobody/pause", "", 404, Some("Not Found")),
        (Method::POST, "/api/services/writer/explode", "", 404, Some("Not Found")),
        (Method::POST, "/api/services/writer/pause", r#"{"by":7}"#, 400, None),
        (
            Method::POST,
            "/api/actions",
            r#"{"service":"writer","action":"restart","parameters":{"wanted":"x"}}"#,
            400,
            None,
        ),
        (Method::POST, "/api/services/backend/approve", "", 409, None),
        (Method::POST, "/api/services/writer/pause", "[]", 400, None),
        (Method::POST, "/api/services/writer/pause", r#"{"who":"ann"}"#, 400, None),
        (Method::POST, "/api/services/writer/pause", r#""ann""#, 400, None),
        (Method::POST, "/api/halt", "[]", 400, None),
        (Method::POST, "/api/halt", r#"{"halted":false}"#, 400, None),
        (Method::POST, "/api/resume", "null", 400, None),
        (Method::POST, "/orchestrate", r#"{"metric":{"cpu":1}}"#, 400, None),
        (Method::POST, "/orchestrate", r#"[{"cpu":1},"writer"]"#, 400, None),
        (Method::POST, "/health/trigger", "{", 400, None),
        (Method::POST, "/health/trigger", "7", 400, None),
        (Method::POST, "/health/trigger", r#"{"service":"writer"}"#, 400, None),
        (Method::GET, "/api/incidents/%ff", "", 400, None),
        (Method::GET, "/api/services/%ff", "", 400, None),
        (Method::POST, "/api/services/%ff/pause", "", 400, None),
        (Method::GET, "/events?after=x", "", 400, None),
    ];
    for (method, path, body, status, detail) in cases {
        let answer = face.ask(method.clone(), path, body, &[]).await;
        let what = format!("{method} {path} {}: {}", &body[..body.len().min(60)], answer.text);
        assert_eq!(answer.status, status, "{what}");
        let body = answer.json();
        assert!(!body["error"].as_str().unwrap().is_empty(), "{what}");
        for rust in ["struct", "f64", "u32", "u64", "eserialize"] {
            assert!(!answer.text.contains(rust), "a word of heald's source: {what}");
        }
        assert!(!body["detail"].as_str().unwrap().is_empty(), "{what}");
        if let Some(detail) = detail {
            assert_eq!(body["detail"], detail, "{what}");
        }
        assert!(answer.header("content-type").unwrap().starts_with("application/json"), "{what}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{what}");
    }
    assert_eq!(face.get("/health").await.status, 200);
    assert!(!face.heald.halted.load(Ordering::SeqCst) && face.heald.wishes.lock().unwrap().is_empty());
    assert_eq!(face.heald.triggered.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_that_is_made_to_point_here_is_not_answered_to() {
    let named = ServerConfig { cors_origins: vec!["https://ops.example.com".into()], ..ServerConfig::default() };
    let face = face_with(named.clone()).await;
    for (host, status) in [("localhost:8003", 200), ("ops.example.com", 200), ("evil.example:8003", 403)] {
        for (method, path) in [(Method::GET, "/health"), (Method::POST, "/api/resume")] {
            let answer = face.ask(method, path, "", &[("host", host)]).await;
            assert_eq!(answer.status, status, "{host}{path}");
            assert!(
                status == 200 || answer.json()["detail"].as_str().unwrap().contains("host name"),
                "{}",
                answer.text
            );
        }
    }
    let open = face_with(ServerConfig { insecure_bind: true, ..named }).await;
    assert_eq!(open.ask(Method::GET, "/health", "", &[("host", "evil.example:8003")]).await.status, 200);
}

#[tokio::test]
async fn what_is_stopped_on_purpose_does_not_spoil_the_overall_health() {
    let face = face().await;
    for name in ["writer", "backend"] {
        face.heald.pulse(name, |pulse| pulse.health = Health::Healthy);
    }
    assert_eq!(face.get("/health/status").await.json()["overall_health"], "degraded");
    face.post("/api/services/research/stop", "").await;
    let body = face.get("/health/status").await.json();
    assert_eq!(body["overall_health"], "healthy");
    assert_eq!(body["services"]["research"]["health"], "unknown", "it is still shown");
    face.post("/api/services/research/start", "").await;
    assert_eq!(face.get("/health/status").await.json()["overall_health"], "degraded");
}

#[tokio::test]
async fn a_panic_inside_is_answered_and_shows_nothing_of_the_inside() {
    let face = face().await;
    face.heald.broken.store(true, Ordering::SeqCst);
    let answer = face.get("/api/services").await;
    assert_eq!(answer.status, 500);
    assert!(answer.json()["error"].is_string() && !answer.text.contains("inside of heald"), "{}", answer.text);
    let answer = face.get("/api/incidents").await;
    assert_eq!(answer.status, 503);
    assert!(answer.json()["error"].as_str().unwrap().contains("journal"));
    face.heald.broken.store(false, Ordering::SeqCst);
    assert_eq!(face.get("/api/services").await.status, 200);
}

#[tokio::test]
async fn incidents_are_listed_in_both_vocabularies() {
    let face = face().await;
    for n in 0..60 {
        let stage = if n % 2 == 0 { Stage::Resolved } else { Stage::Escalated };
        face.heald.incidents.lock().unwrap().push(incident(n, ["writer", "backend"][n as usize % 2], stage));
    }
    let body = face.get("/api/incidents").await.json();
    assert_eq!(body["incidents"].as_array().unwrap().len(), 50);
    assert_eq!(body["pagination"], json!({"total": 60, "limit": 50, "offset": 0, "has_more": true}));
    let newest = &body["incidents"][0];
    for (field, expected) in [
        ("service_id", json!("backend")),
        ("service", json!("backend")),
        ("issue", json!("SERVICE_DOWN")),
        ("condition", json!("service-down")),
        ("severity", json!("high")),
        ("level", json!("error")),
        ("status", json!("failed")),
        ("stage", json!("escalated")),
        ("open", json!(true)),
        ("detected_at", json!("2026-11-22T10:00:00.000059+00:00")),
        ("resolved_at", Value::Null),
        ("message", json!("HTTP 503")),
        ("metrics_snapshot", json!({"failures": 3.0})),
    ] {
        assert_eq!(newest[field], expected, "{field}");
    }
    assert_eq!(newest["id"], newest["incident_id"]);
    assert_eq!(newest["actions"][0]["action"], "clear_cache");
    assert_eq!(newest["actions"][0]["success"], true);
    assert!(newest["actions"][0]["timestamp"].is_string() && newest["actions"][0]["result"].is_string());
    assert_eq!(body["incidents"][1]["status"], "resolved");
    assert_eq!(body["incidents"][1]["resolved_at"], "2026-11-22T10:00:00.000058+00:00");
    let mut ids: Vec<String> =
        body["incidents"].as_array().unwrap().iter().map(|i| i["incident_id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 50);

    let totals = [
        ("/api/incidents?limit=1", 60, 1),
        ("/api/incidents?limit=9999", 60, 500),
        ("/api/incidents?status=resolved&limit=5", 30, 5),
        ("/api/incidents?status=failed&limit=5", 30, 5),
        ("/api/incidents?open=true&limit=5", 30, 5),
        ("/api/incidents?status=open&service=backend&limit=5", 30, 5),
        ("/api/incidents?open=true&service_id=writer&limit=5", 0, 5),
    ];
    for (path, total, limit) in totals {
        let page = face.get(path).await.json()["pagination"].clone();
        assert_eq!((&page["total"], &page["limit"]), (&json!(total), &json!(limit)), "{path}");
    }
    let last = face.get("/api/incidents?offset=55&limit=5").await.json();
    assert_eq!(last["pagination"]["has_more"], false);
}

#[tokio::test]
async fn one_incident_comes_with_its_whole_timeline() {
    let face = face().await;
    let known = incident(4, "writer", Stage::Resolved);
    face.heald.incidents.lock().unwrap().push(known.clone());
    let body = face.get(&format!("/api/incidents/{}", known.id)).await.json();
    let kinds: Vec<&str> = body["timeline"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["finding", "intent", "receipt", "outcome", "stage"]);
    assert_eq!(body["timeline"][0]["at"], "2026-11-22T10:00:00.000004+00:00");
    assert_eq!(body["attempts"][0]["receipt"]["facts"], json!({"files": 3.0}));
    assert_eq!(body["attempts"][0]["ending"], "healed");
    assert_eq!(body["concerns"][0]["evidence"], json!({"failures": 3.0, "cause": "status"}));
}

#[tokio::test]
async fn actions_tell_what_was_done_and_how_it_went() {
    let face = face().await;
    face.heald.incidents.lock().unwrap().push(incident(1, "writer", Stage::Resolved));
    let body = face.get("/api/actions?limit=1").await.json();
    assert_eq!(body["pagination"], json!({"total": 1, "limit": 1, "offset": 0, "has_more": false}));
    let action = &body["actions"][0];
    for (field, expected) in [
        ("service_id", json!("writer")),
        ("issue", json!("SERVICE_DOWN")),
        ("action", json!("clear-cache")),
        ("success", json!(true)),
        ("result", json!("emptied")),
        ("timestamp", json!("1970-01-01T00:00:01.000000+00:00")),
        ("ending", json!("healed")),
        ("source", json!("operator me")),
    ] {
        assert_eq!(action[field], expected, "{field}");
    }
    assert!(action["before_metrics"].is_object() && action["after_metrics"].is_object());
    assert_eq!(face.get("/api/actions?limit=5000").await.json()["pagination"]["limit"], 1000);
}

#[tokio::test]
async fn orders_go_to_the_guard_and_its_word_comes_back() {
    let face = face().await;
    let done = face.post("/api/actions", r#"{"service":"writer","action":"RESTART","by":"ann\u0007"}"#).await;
    assert_eq!(done.status, 200);
    assert_eq!(done.json()["summary"], "restarted as pid 43");
    assert_eq!(done.json()["action"], "restart");
    assert_eq!(face.heald.orders.lock().unwrap()[0].by, "ann");
    let unknown = face.post("/api/actions", r#"{"service":"writer","action":"FROBNICATE"}"#).await;
    assert_eq!(unknown.status, 400);
    assert_eq!(unknown.json()["error"], "Unknown action received: FROBNICATE");
    assert_eq!(unknown.json()["offered"], json!(["restart", "clear-cache"]));
    let homeless = face.post("/api/actions", r#"{"action":"FROBNICATE"}"#).await;
    assert_eq!((homeless.status.as_u16(), &homeless.json()["error"]), (400, &unknown.json()["error"]));
    let whose = face.post("/api/actions", r#"{"action":"restart"}"#).await;
    assert!(whose.status == 400 && whose.json()["error"].as_str().unwrap().contains("service"));
    let nobody = face.post("/api/actions", r#"{"service_id":"nobody","action":"restart"}"#).await;
    assert_eq!(nobody.status, 404);
    let nothing = face.post("/api/actions", r#"{"service":"writer","action":"NO_ACTION"}"#).await;
    assert_eq!((nothing.status.as_u16(), face.heald.orders.lock().unwrap().len()), (200, 1));
    face.heald.withheld.store(true, Ordering::SeqCst);
    let withheld = face.post("/api/actions", r#"{"service":"writer","action":"restart"}"#).await;
    assert_eq!(withheld.status, 409);
    let body = withheld.json();
    assert_eq!((&body["rule"], &body["reason"]), (&json!("cooldown"), &json!("restarted 3 s ago")));
}

#[tokio::test]
async fn services_are_shown_and_wishes_are_passed_on() {
    let face = face().await;
    face.heald.pulse("writer", |pulse| pulse.health = Health::Unhealthy);
    let body = face.get("/api/services").await.json();
    let writer = &body["services"][0];
    assert_eq!((&writer["name"], &writer["health"]), (&json!("writer"), &json!("unhealthy")));
    assert_eq!((&writer["breaker"], &writer["desired"]), (&json!("half_open"), &json!("running")));
    assert_eq!(writer["processes"][0]["pid"], 42);
    assert_eq!(face.get("/api/services/writer").await.json(), *writer);

    for (verb, desired) in [("pause", "paused"), ("stop", "stopped"), ("resume", "running"), ("start", "running")] {
        let answer = face.post(&format!("/api/services/writer/{verb}"), r#"{"by":"ann"}"#).await;
        assert_eq!((answer.status.as_u16(), answer.json()["desired"].clone()), (200, json!(desired)));
    }
    let wishes = face.heald.wishes.lock().unwrap().clone();
    let words: Vec<Desired> = wishes.iter().map(|wish| wish.1).collect();
    assert_eq!(words, [Desired::Paused, Desired::Stopped, Desired::Running, Desired::Running]);
    assert!(wishes.iter().all(|wish| wish.2 == "ann"));
    assert_eq!(face.post("/api/services/writer/restart", "").await.json()["action"], "restart");
    assert_eq!(face.post("/api/services/writer/reset", "").await.json()["reset"], true);
    assert_eq!(face.post("/api/services/writer/approve", "").await.json()["approved"], true);
    assert_eq!(*face.heald.said.lock().unwrap(), ["reset writer api", "approve writer api"]);

    assert_eq!(face.post("/api/halt", "").await.json(), json!({"halted": true}));
    assert_eq!(face.get("/api/halt").await.json(), json!({"halted": true}));
    assert_eq!(face.get("/health").await.json()["agent_running"], false);
    assert_eq!(face.post("/api/resume", "").await.json(), json!({"halted": false}));
}

#[tokio::test]
async fn browsers_are_told_which_pages_may_call() {
    let config = ServerConfig { cors_origins: vec!["https://ops.example.com".into()], ..ServerConfig::default() };
    let face = face_with(config).await;
    let method = ("access-control-request-method", "GET");
    for origin in ["http://localhost:3000", "https://ops.example.com"] {
        let answer = face.ask(Method::OPTIONS, "/health/status", "", &[("origin", origin), method]).await;
        assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, Some(origin)));
        assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
        let answer = face.ask(Method::GET, "/health", "", &[("origin", origin)]).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(face.ask(Method::POST, "/api/halt", "", &[("origin", origin)]).await.status, 200);
    }
    let evil = ("origin", "https://evil.example");
    let answer = face.ask(Method::OPTIONS, "/api/halt", "", &[evil, method]).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (403, None));
    let answer = face.ask(Method::GET, "/health", "", &[evil]).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, None));
    face.post("/api/resume", "").await;
    let answer = face.ask(Method::POST, "/api/halt", "", &[evil, ("content-type", "text/plain")]).await;
    assert_eq!(answer.status, 403, "another site's page cannot stop the healing");
    assert_eq!(face.get("/api/halt").await.json(), json!({"halted": false}));
}

#[tokio::test]
async fn every_listed_route_exists() {
    let face = face().await;
    for route in ROUTES {
        let (name, verb) = if route.path.contains("plugins") { ("rules", "reload") } else { ("writer", "pause") };
        let path = route.path.replace("{name}", name).replace("{verb}", verb).replace("{id}", "x");
        let method: Method = route.method.parse().unwrap();
        let answer = face.send(method, &path, "", &[]).await;
        assert!(answer.status() != 405, "{route:?}");
        assert!(answer.status() != 404 || route.path.contains("{id}"), "{route:?}");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn decisions_are_logged() {
    let log = Log::default();
    let its = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || its.clone()).finish();
    // This test's runtime has one thread, so what the server logs is logged here.
    let _guard = tracing::subscriber::set_default(subscriber);
    let face = face().await;
    face.post("/orchestrate", r#"{"metrics":{"cpu":1,"memory":1,"error_rate":0}}"#).await;
    face.post("/orchestrate", r#"{"metrics":{"cpu":99,"memory":1,"error_rate":0}}"#).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains(r#""message":"No action required""#), "{text}");
    assert!(text.contains(r#""message":"Action required""#), "{text}");
}
