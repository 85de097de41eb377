//! Plug-ins and the catalog over a real socket: shown as heald knows them, moved as an operator orders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::Method;
use heald_control::{Divergence, PluginMode, PluginState, PluginStatus};
use heald_model::{Experience, Mode, PluginRef, Source};
use serde_json::{Value, json};
use support::*;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn plugins_are_shown_as_programs_read_them_back() {
    let face = face().await;
    let body = face.get("/api/plugins").await.json();
    assert_eq!(body["count"], 3);
    let names: Vec<&str> = body["plugins"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["broken", "rules", "threshold"]);
    assert_eq!((&body["plugins"][0]["state"], &body["plugins"][0]["loaded"]), (&json!("failed"), &Value::Null));

    let body = face.get("/api/plugins/threshold").await.json();
    assert_eq!(body, body_of(&face, "threshold"));
    assert_eq!(body["counters"]["faults"], json!({"trap": 2, "made-up": 1}));
    assert_eq!(body["last_fault"], json!({"cause": "trap", "detail": "unreachable"}));
    assert_eq!(body["quarantine"][0]["service"], "writer");
    let read: PluginStatus = serde_json::from_value(body).unwrap();
    assert_eq!((read.state, read.mode), (PluginState::Running, PluginMode::Active));
}

fn body_of(face: &Face, name: &str) -> Value {
    json!(face.shelf.plugins.lock().unwrap()[name])
}

#[tokio::test]
async fn a_shadow_shows_how_it_compares() {
    let face = face().await;
    let body = face.get("/api/plugins/rules/divergence").await.json();
    assert_eq!((&body["disagreement"], &body["mode"]), (&json!(0.25), &json!("shadow")));
    assert_eq!((&body["instead_of"], &body["agreement"]["would_have_acted"]), (&json!("threshold"), &json!(2)));
    assert_eq!(body["differences"][0]["would"], "restart");
    assert_eq!(body["services"]["writer"]["compared"], 8);
    let read: Divergence = serde_json::from_value(body).unwrap();
    assert_eq!(read.plugin.version, "0.1.0");
    let active = face.get("/api/plugins/threshold/divergence").await;
    assert_eq!(active.status, 409);
    assert_eq!(active.json()["error"], "threshold is active: it is compared with nothing");
}

#[tokio::test]
async fn orders_change_a_plugin_and_answer_with_what_it_is_then() {
    let face = face().await;
    let ann = r#"{"by":"ann"}"#;
    let disabled = face.post("/api/plugins/threshold/disable", ann).await;
    assert_eq!(disabled.status, 200);
    assert_eq!((&disabled.json()["state"], &disabled.json()["why"]), (&json!("disabled"), &json!("disabled by ann")));
    assert_eq!(face.get("/api/plugins/threshold").await.json(), disabled.json());
    assert_eq!(face.post("/api/plugins/threshold/enable", "").await.json()["state"], "running");
    assert_eq!(face.post("/api/plugins/rules/promote", ann).await.json()["mode"], "active");
    assert_eq!(face.post("/api/plugins/broken/reload", ann).await.json()["loaded"]["version"], "0.2.0");
    let body = face.post("/api/plugins/rules/revoke", r#"{"capability":"kv","by":"ann"}"#).await.json();
    assert_eq!((&body["granted"], &body["revoked"]), (&json!([]), &json!(["kv"])));
    let said = face.shelf.said.lock().unwrap().clone();
    assert_eq!(
        said,
        [
            "disable threshold ann",
            "enable threshold api",
            "promote rules ann",
            "reload broken ann",
            "revoke kv rules ann"
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_full() {
    let face = face().await;
    let why =
        "rules.wasm: asks for heald:plugin@0.2.0, this heald speaks 0.1.0\n- facts: list<fact>\n+ facts: list<note>";
    *face.shelf.refusal.lock().unwrap() = Some(why.into());
    let verbs = json!(["reload", "enable", "disable", "promote", "revoke"]);
    let names = json!(["broken", "rules", "threshold"]);
    let cases = [
        (Method::GET, "/api/plugins/nobody", "", 404, "known", names.clone()),
        (Method::GET, "/api/plugins/nobody/divergence", "", 404, "known", names.clone()),
        (Method::POST, "/api/plugins/nobody/reload", "", 404, "known", names),
        (Method::POST, "/api/plugins/rules/explode", "", 404, "known", verbs),
        (Method::POST, "/api/plugins/rules/reload", "", 422, "error", json!(why)),
        (Method::POST, "/api/plugins/threshold/promote", "", 409, "error", json!("it is active already")),
        (
            Method::POST,
            "/api/plugins/threshold/revoke",
            r#"{"capability":"http"}"#,
            409,
            "detail",
            json!("http was never granted"),
        ),
        (Method::POST, "/api/plugins/threshold/revoke", "", 400, "more", Value::Null),
        (Method::POST, "/api/plugins/threshold/disable", r#"{"capability":"kv"}"#, 400, "more", Value::Null),
        (Method::POST, "/api/plugins/threshold/disable", r#"{"who":"ann"}"#, 400, "more", Value::Null),
        (Method::POST, "/api/plugins/threshold/disable", "[]", 400, "more", Value::Null),
        (Method::POST, "/api/plugins", "", 405, "more", Value::Null),
        (Method::GET, "/api/plugins/threshold/disable", "", 405, "more", Value::Null),
        (Method::POST, "/api/plugins/threshold/divergence", "", 405, "more", Value::Null),
        (Method::GET, "/api/plugins/%ff", "", 400, "more", Value::Null),
    ];
    for (method, path, body, status, field, value) in cases {
        let answer = face.ask(method.clone(), path, body, &[]).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text);
        let body = answer.json();
        assert!(body["error"].is_string() && body["detail"].is_string(), "{method} {path}");
        assert_eq!(body[field], value, "{method} {path}");
    }
    assert!(face.shelf.said.lock().unwrap().is_empty(), "nothing was done");
    face.shelf.mute.store(true, Ordering::SeqCst);
    let unheard = face.post("/api/plugins/threshold/disable", "").await;
    assert_eq!(unheard.status, 503);
    assert!(unheard.json()["error"].as_str().unwrap().contains("disk full"));
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_undo_half_a_reload() {
    let face = face().await;
    face.shelf.slow.store(true, Ordering::SeqCst);
    let mut caller = tokio::net::TcpStream::connect(face.address).await.unwrap();
    let order = "POST /api/plugins/threshold/reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    caller.write_all(order.as_bytes()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), face.shelf.begun.notified()).await.expect("it never began");
    drop(caller);
    // One question later the server has seen the end of the connection.
    assert_eq!(face.get("/health").await.status, 200);
    face.shelf.go.notify_one();
    eventually("reloaded", || !face.shelf.said.lock().unwrap().is_empty()).await;
}

#[tokio::test]
async fn the_catalog_joins_what_was_learned_with_what_is_on_offer() {
    let face = face().await;
    let purge = PluginRef { name: "purge".into(), version: "1.0.0".into(), digest: "cd".repeat(32) };
    face.heald.offered.lock().unwrap().push(("backend".into(), offer("purge", Source::Plugin(purge))));
    face.heald.learned.lock().unwrap().extend([
        experience("service-down", "restart", Some("writer")),
        experience("memory-pressure", "scale-up", None),
        Experience { alpha: 1.0, beta: 3.0, ..experience("service-down", "clear-cache", None) },
    ]);
    let body = face.get("/api/catalog").await.json();
    let lines = body["catalog"].as_array().unwrap();
    assert_eq!(body["count"], lines.len());
    let told: Vec<_> = lines.iter().map(|l| (&l["issue"], &l["action"], &l["service"], &l["services"])).collect();
    let null = Value::Null;
    assert_eq!(
        told,
        [
            (&json!("MEMORY_PRESSURE"), &json!("scale-up"), &null, &json!([])),
            (&json!("SERVICE_DOWN"), &json!("restart"), &null, &json!(["backend", "writer"])),
            (&json!("SERVICE_DOWN"), &json!("restart"), &json!("writer"), &json!(["writer"])),
            (&json!("SERVICE_DOWN"), &json!("clear-cache"), &null, &json!([])),
            (&null, &json!("notify"), &null, &json!(["writer"])),
            (&null, &json!("purge"), &null, &json!(["backend"])),
        ]
    );
    let restart = &lines[1];
    for (field, expected) in [
        ("confidence", json!(0.8)),
        ("chance", json!(0.8)),
        ("tries", json!(8)),
        ("successes", json!(7)),
        ("auto", json!(true)),
        ("description", json!("does restart")),
        ("parameters", json!({"type": "object"})),
        ("source", json!("native")),
        ("plugin", Value::Null),
        ("signature", json!("service-down")),
        ("recovery_seconds", json!(1.5)),
    ] {
        assert_eq!(restart[field], expected, "{field}");
    }
    let gone = &lines[0];
    assert_eq!(
        (&gone["auto"], &gone["source"], &gone["description"]),
        (&json!(false), &null, &null),
        "nobody offers it"
    );
    let purge = &lines[5];
    assert_eq!((&purge["source"], &purge["plugin"]), (&json!("purge@cdcdcdcdcdcd"), &json!("purge")));
    assert_eq!((&purge["confidence"], &purge["tries"], &purge["auto"]), (&null, &json!(0), &json!(true)));

    *face.heald.mode.lock().unwrap() = Mode::Approve;
    let body = face.get("/api/catalog").await.json();
    let auto: Vec<bool> = body["catalog"].as_array().unwrap().iter().map(|l| l["auto"].as_bool().unwrap()).collect();
    assert_eq!(auto, [false, false, false, false, true, false], "only a message needs no leave");
}
