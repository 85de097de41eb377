//! What a call heard of the host is in its answer, and a replay hears the same and changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use heald_engine::ports::{Detector, Policy};
use heald_host::Grant;
use heald_model::FaultCause;
use heald_model::HostCall;
use heald_model::{Blob, Verdict};
use serde_json::json;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::asking::{ask, asking, asks, call, heard, named, script};
use crate::guests::{component, host, object, plugin, question, table};

#[tokio::test]
async fn a_replay_hears_what_the_call_heard_and_changes_nothing() {
    let plugin = asks(host(), "replay-kv");
    let steps = json!([
        {"get": "key"}, {"set": ["key", "1", null]}, {"swap": ["key", "1", "2"]}, {"keys": ["", null, 9]},
        {"get": "no key"}, "children",
    ]);
    let detector = asking(&plugin, steps).await;
    let input = call("web", 1_000);
    let said = detector.evaluate(&input).await.unwrap();
    let calls: Vec<_> = said.heard.iter().map(|heard| heard.call.as_str()).collect();
    assert_eq!(calls, ["kv.get", "kv.set", "kv.swap", "kv.keys", "kv.get", "process.children"]);
    assert_eq!(said.heard[0].asked, json!({"key": "key"}));
    assert_eq!(said.heard[0].answer, json!({"ok": null}));
    assert_eq!(said.heard[4].answer["error"]["kind"], "bad-input");

    // As the journal keeps it, and in another world by then.
    let kept: Verdict = serde_json::from_str(&serde_json::to_string(&said).unwrap()).unwrap();
    ask(&plugin, json!([{"set": ["key", "later", null]}, {"set": ["other", "later", null]}])).await;
    let before = plugin.stats();
    for _ in 0..100 {
        assert_eq!(detector.replay(&input, &kept.heard).await.as_ref(), Ok(&said));
    }
    assert_eq!(plugin.stats(), before, "a replay costs nobody anything");
    assert_eq!(ask(&plugin, json!([{"get": "key"}, {"keys": ["", null, 9]}])).await, ["later", "key,other"]);
}

#[tokio::test]
async fn a_decision_is_replayed_as_well() {
    let plugin = asks(host(), "replay-policy");
    let policy = plugin.policy(&script(json!([{"get": "key"}, {"set": ["key", "1", null]}]))).await.unwrap();
    let first = policy.decide(&question("web")).await.unwrap();
    assert_eq!((first.decision.reason.as_str(), first.heard.len()), ("nothing; done", 2));
    let second = policy.decide(&question("web")).await.unwrap();
    assert_eq!(second.decision.reason, "1; done");
    assert_eq!(policy.replay(&question("web"), &first.heard).await.as_ref(), Ok(&first));
    assert_eq!(policy.replay(&question("web"), &second.heard).await.as_ref(), Ok(&second));
}

#[tokio::test]
async fn what_asks_otherwise_than_the_record_has_strayed() {
    let plugin = asks(host(), "replay-strayed");
    let input = call("web", 1_000);
    let said = asking(&plugin, json!([{"get": "a"}, {"get": "b"}])).await.evaluate(&input).await.unwrap();
    for (steps, part) in [
        (json!([{"get": "a"}, {"get": "c"}]), r#"kv.get {"key":"c"} where the record has kv.get {"key":"b"}"#),
        (json!([{"set": ["a", "", null]}]), r#"where the record has kv.get {"key":"a"}"#),
        (json!([{"get": "a"}, {"get": "b"}, "children"]), "process.children where the record has nothing more"),
    ] {
        let fault = asking(&plugin, steps).await.replay(&input, &said.heard).await.unwrap_err();
        assert_eq!(fault.cause, FaultCause::BadOutput);
        assert!(fault.detail.contains(part), "{fault}");
    }
    let fewer = asking(&plugin, json!([{"get": "a"}])).await.replay(&input, &said.heard).await.unwrap();
    assert_eq!(fewer.heard, said.heard[..1], "what was heard is what it asked for");
    assert_eq!(plugin.stats().faults, Default::default());
    let broken = [HostCall { answer: json!({"ok": 7}), ..said.heard[0].clone() }];
    let fault = asking(&plugin, json!([{"get": "a"}])).await.replay(&input, &broken).await.unwrap_err();
    assert!(fault.detail.contains("cannot be read"), "{fault}");
}

#[tokio::test]
async fn a_call_that_was_asked_twice_is_one_record() {
    let plugin = asks(host(), "replay-twice");
    let mut config = script(json!([{"get": "key"}, {"set": ["key", "1", null]}]));
    config.insert("disowns".into(), json!(true));
    let detector = plugin.detector(&config).await.unwrap();
    let mut input = call("web", 1_000);
    input.state = Some(Blob(b"of another build".to_vec()));
    let said = detector.evaluate(&input).await.unwrap();
    assert_eq!(heard(&said), ["1", "done"], "the second time it finds what it left the first time");
    assert_eq!((said.heard.len(), plugin.stats().calls), (4, 2));
    assert_eq!(detector.replay(&input, &said.heard).await, Ok(said));
}

#[tokio::test]
async fn a_record_that_is_not_whole_says_so() {
    let plugin = asks(host(), "replay-cut");
    let steps: Vec<_> = (0..10).flat_map(|n| [json!({"fill": [n * 2, 60_000]})]).collect();
    let detector = asking(&plugin, json!(steps)).await;
    let said = detector.evaluate(&call("web", 1_000)).await.unwrap();
    let kept: usize = said.heard.iter().map(|heard| heard.asked.to_string().len()).sum();
    assert!(kept < 300 << 10, "{kept} bytes");
    assert_eq!(said.heard.last().unwrap().call, "...");
    let fault = detector.replay(&call("web", 1_000), &said.heard).await.unwrap_err();
    assert!(fault.detail.contains("where the record ends"), "{fault}");
}

#[tokio::test]
async fn calls_and_replays_leave_nothing_for_each_other() {
    let detector = asking(&asks(host(), "replay-apart"), json!(["count"])).await;
    let input = call("web", 1_000);
    for n in ["1", "2"] {
        assert_eq!(heard(&detector.evaluate(&input).await.unwrap()), [n]);
    }
    assert_eq!(heard(&detector.replay(&input, &[]).await.unwrap()), ["1"]);
    assert_eq!(heard(&detector.evaluate(&input).await.unwrap()), ["3"]);

    let detector = asking(&asks(host(), "replay-words"), json!(["trap-twice", {"log": "words of before"}])).await;
    detector.evaluate(&input).await.unwrap();
    let fault = detector.evaluate(&input).await.unwrap_err();
    assert_eq!(fault.cause, FaultCause::Trap);
    assert!(!fault.detail.contains("words of before"), "{fault}");
}

#[tokio::test]
async fn equal_configurations_have_one_digest_and_are_told_whole() {
    let plugin = plugin("detector-good");
    let one = plugin.detector(&object(json!({"limit": 50, "bytes": 8}))).await.unwrap();
    let other = plugin.detector(&object(json!({"bytes": 8, "limit": 51}))).await.unwrap();
    assert_eq!(&*one.settings().text, r#"{"bytes":8,"limit":50}"#);
    assert_eq!(one.settings().digest.len(), 64);
    assert_ne!(one.settings().digest, other.settings().digest);
    let policy = crate::guests::policy("policy-trap", json!({})).await;
    assert_eq!(&*policy.settings().text, r#"{"service":"bad"}"#);
}

#[tokio::test]
async fn what_sees_more_than_its_input_is_not_replayed() {
    let sealed = host().load_bytes(&table("detector-park"), component("detector-park")).unwrap();
    let config = object(json!({"service": "bad"}));
    let detector = sealed.detector(&config).await.unwrap();
    assert!(detector.replayable());
    assert!(detector.replay(&call("web", 1_000), &[]).await.is_ok());
    let mut table = named("replay-not");
    table.grant = Grant { clock: true, ..Grant::default() };
    let detector = host().load_bytes(&table, component("detector-park")).unwrap().detector(&config).await.unwrap();
    assert!(!detector.replayable());
    let fault = detector.replay(&call("web", 1_000), &[]).await.unwrap_err();
    assert_eq!(fault.cause, FaultCause::Refused);
    assert!(fault.detail.contains("granted clock"), "{fault}");
}

/// Counts the lines of plug-ins.
#[derive(Clone, Default)]
struct Lines(Arc<AtomicUsize>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "heald::plugin"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_replay_says_nothing_in_the_log() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let detector = asking(&asks(host(), "replay-quiet"), json!([{"log": "a line"}])).await;
    detector.evaluate(&call("web", 1_000)).await.unwrap();
    assert_eq!(lines.0.load(Ordering::Relaxed), 1);
    detector.replay(&call("web", 1_000), &[]).await.unwrap();
    assert_eq!(lines.0.load(Ordering::Relaxed), 1);
}
