//! A grant that is taken back: at once, from instances at work too, and from nobody else.

use std::time::{Duration, Instant};

use heald_engine::ports::Detector;
use heald_host::{ActionFailure, Capability, Directory, Grant, Plugin, Task};
use heald_model::{FaultCause, IntentId, Moment};
use serde_json::json;
use uuid::Uuid;

use crate::asking::{ask, asking, asks, call, heard, named};
use crate::guests::{component, host, object, service, table};

#[tokio::test]
async fn what_is_taken_back_is_denied_from_the_next_question_on() {
    let (plugin, other) = (asks(host(), "revoked-kv"), asks(host(), "revoked-not"));
    let detector = asking(&plugin, json!([{"set": ["key", "1", null]}, {"get": "key"}, "children"])).await;
    assert_eq!(heard(&detector.evaluate(&call("web", 1_000)).await.unwrap())[..2], ["done", "1"]);
    assert!(plugin.revoke(Capability::Kv));
    assert!(!plugin.revoke(Capability::Kv) && !plugin.revoke(Capability::Http), "it does not have these");
    let told = heard(&detector.evaluate(&call("web", 1_000)).await.unwrap());
    assert!(told[..2].iter().all(|told| told.contains("the grant of kv was revoked")), "{told:?}");
    assert!(told[2].contains("runs no processes"), "the rest is as it was: {told:?}");
    assert_eq!(plugin.stats().instances, 1, "the instance is as good as ever");
    assert_eq!(
        (plugin.revoked(), plugin.granted()),
        (vec![Capability::Kv], vec!["process".into(), "process-control".into()])
    );
    assert_eq!(ask(&other, json!([{"set": ["key", "1", null]}])).await, ["done"]);

    assert!(plugin.revoke(Capability::Process));
    let told = heard(&detector.evaluate(&call("web", 1_000)).await.unwrap());
    assert!(told[2].contains("the grant of process was revoked"), "{told:?}");

    let again = asks(host(), "revoked-kv");
    assert_eq!(ask(&again, json!([{"get": "key"}])).await, ["1"], "granted anew, it finds what it had");
}

#[tokio::test]
async fn directories_are_gone_with_the_grant() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "an entry").unwrap();
    let mut table = table("action-reach");
    let directory = Directory { host: folder.path().to_owned(), guest: "/cache".into(), write: true };
    table.grant = Grant { files: Some(vec![directory]), ..Grant::default() };
    let plugin = host().load_bytes(&table, component("action-reach")).unwrap();
    let actions = plugin.actions(&object(json!({}))).await.unwrap();
    let (service, read) = (service("web"), json!({"deed": "read", "path": "/cache/a"}));
    let task = Task {
        now: Moment::from_millis(1_000),
        seed: 7,
        attempt: IntentId(Uuid::from_u128(5)),
        service: &service,
        incident: None,
        action: "reach",
        parameters: &read,
    };
    assert_eq!(actions.perform(&task).await.unwrap().summary, "an entry");
    assert!(plugin.revoke(Capability::Files));
    let failure = actions.perform(&task).await.unwrap_err();
    assert!(matches!(&failure, ActionFailure::Fault(fault) if fault.cause == FaultCause::Refused), "{failure}");
}

fn sleeper(name: &str) -> Plugin {
    let mut table = named(name);
    table.grant = Grant { clock: true, ..Grant::default() };
    host().load_bytes(&table, component("detector-park")).unwrap()
}

#[tokio::test]
async fn a_call_under_way_is_stopped_when_what_it_was_made_with_is_taken() {
    let plugin = sleeper("revoked-sleeper");
    let detector = plugin.detector(&object(json!({"service": "bad"}))).await.unwrap();
    let began = Instant::now();
    let asleep = {
        let detector = detector.clone();
        tokio::spawn(async move { detector.evaluate(&call("bad", 1_000)).await })
    };
    // Until it sleeps: it hands the thread back only then.
    tokio::task::yield_now().await;
    assert!(!asleep.is_finished());
    assert!(plugin.revoke(Capability::Clock));
    let fault = asleep.await.unwrap().unwrap_err();
    assert_eq!(fault.cause, FaultCause::Refused, "{fault}");
    assert!(fault.detail.contains("revoked"), "{fault}");
    assert!(began.elapsed() < Duration::from_secs(10), "its deadline is at 20 s");
}

#[tokio::test]
async fn warm_instances_are_made_anew_without_it() {
    let plugin = sleeper("revoked-warm");
    let detector = plugin.detector(&object(json!({"service": "bad"}))).await.unwrap();
    for _ in 0..3 {
        detector.evaluate(&call("web", 1_000)).await.unwrap();
    }
    assert_eq!(plugin.stats().instances, 1);
    assert!(!detector.replayable());
    plugin.revoke(Capability::Clock);
    for _ in 0..3 {
        detector.evaluate(&call("web", 1_000)).await.unwrap();
    }
    assert_eq!(plugin.stats().instances, 2);
    assert!(detector.replayable(), "its clock now shows what the record has");
}
