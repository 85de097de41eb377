//! Hostile guests: each is stopped, the fault is of the right kind and on the right plug-in's account, and meanwhile the same plug-in
//! answers for other services and under another configuration, and other plug-ins answer.

use std::sync::Arc;
use std::time::Duration;

use heald_engine::ports::Detector;
use heald_host::{Grant, Host, Plugin, PluginConfig, PluginDetector};
use heald_model::Verdict;
use heald_model::{Fault, FaultCause};
use serde_json::{Value, json};

use crate::asking::{asking, asks, call, heard};
use crate::guests::{component, host, object, observation, plugin, table};

struct Hostile {
    guest: &'static str,
    config: Value,
    cause: FaultCause,
    /// What its fault must say.
    word: &'static str,
}

fn hostile(guest: &'static str, config: Value, cause: FaultCause, word: &'static str) -> Hostile {
    Hostile { guest, config, cause, word }
}

fn all() -> Vec<Hostile> {
    use FaultCause::{BadOutput, CpuBudget, Deadline, HostBudget, Memory, Stack, Trap};
    vec![
        hostile("detector-spin", json!({}), CpuBudget, "processor time"),
        hostile("detector-park", json!({}), Deadline, "500ms"),
        hostile("detector-trap", json!({}), Trap, "fell over its own feet"),
        hostile("detector-recurse", json!({}), Stack, "stack"),
        hostile("detector-bomb", json!({}), Memory, "bytes of memory"),
        hostile("detector-table", json!({}), Memory, "elements; the limit is 20000"),
        hostile("detector-flood-output", json!({"count": 5_000}), HostBudget, "more bytes"),
        hostile("detector-flood-log", json!({}), HostBudget, "times"),
        hostile("detector-alias", json!({"what": "log", "count": 2_000, "bytes": 1 << 20}), HostBudget, "more bytes"),
        hostile(
            "detector-alias",
            json!({"what": "findings", "count": 2_000, "bytes": 1 << 20}),
            HostBudget,
            "more bytes",
        ),
        hostile("detector-nan", json!({}), BadOutput, "NaN"),
        hostile("detector-nan", json!({"what": "negative"}), BadOutput, "-0.1"),
        hostile("detector-nan", json!({"what": "huge"}), BadOutput, "17976931348623157"),
        hostile("detector-grow-state", json!({"bytes": 70_000}), BadOutput, "70000 bytes"),
    ]
}

fn settled(guest: &'static str) -> PluginConfig {
    let mut table = table(guest);
    match guest {
        "detector-park" => {
            table.grant = Grant { clock: true, ..Grant::default() };
            table.limits.wall = Some(Duration::from_millis(500));
        }
        "detector-spin" => {}
        // On a busy machine a guest may run out of processor time before it has done its worst.
        _ => table.limits.cpu = Some(Duration::from_secs(5)),
    }
    table
}

/// The component; of the one that cannot say what it means in Rust, with that said.
fn bytes(guest: &str) -> Vec<u8> {
    let mut bytes = component(guest).to_vec();
    if guest == "detector-table" {
        // local.get 0; i32.const 0x5eed1234; i32.xor
        const MARK: [u8; 9] = [0x20, 0, 0x41, 0xb4, 0xa4, 0xb4, 0xf7, 0x05, 0x73];
        // nop; nop; ref.null func; local.get 0; table.grow 0
        const GROW: [u8; 9] = [0x01, 0x01, 0xd0, 0x70, 0x20, 0, 0xfc, 0x0f, 0];
        let places: Vec<_> = (0..bytes.len() - MARK.len()).filter(|at| bytes[*at..].starts_with(&MARK)).collect();
        assert_eq!(places.len(), 1, "the mark is there once");
        bytes[places[0]..places[0] + GROW.len()].copy_from_slice(&GROW);
    }
    bytes
}

async fn configured(plugin: &Plugin, config: &Value, service: &str) -> Arc<PluginDetector> {
    let mut config = object(config.clone());
    config.insert("service".into(), json!(service));
    plugin.detector(&config).await.unwrap()
}

fn found_nothing(verdict: Result<Verdict, Fault>, whose: &str) {
    assert_eq!(verdict.unwrap_or_else(|fault| panic!("{whose}: {fault}")).findings, [], "{whose}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_stopped_and_blamed_and_nobody_else_is_bothered() {
    let good = plugin("detector-good");
    let bystander = good.detector(&object(json!({}))).await.unwrap();
    for Hostile { guest, config, cause, word } in all() {
        let plugin = host().load_bytes(&settled(guest), &bytes(guest)).unwrap();
        let bad = configured(&plugin, &config, "bad").await;
        let other = configured(&plugin, &config, "somebody else").await;
        let calls = {
            let bad = bad.clone();
            tokio::spawn(async move {
                let mut faults = Vec::new();
                for _ in 0..3 {
                    faults.push(bad.evaluate(&call("bad", 1_000)).await.unwrap_err());
                }
                faults
            })
        };
        for n in 0..100 {
            found_nothing(bad.evaluate(&call(&format!("web-{n}"), 1_000)).await, guest);
            found_nothing(other.evaluate(&call("bad", 1_000)).await, guest);
            found_nothing(bystander.evaluate(&observation("web", 1.0)).await, "the bystander");
        }
        for fault in calls.await.unwrap() {
            assert_eq!(fault.cause, cause, "{guest}: {fault}");
            assert!(fault.detail.contains(word), "{guest}: {fault}");
        }
        assert_eq!(bad.plugin().name.as_str(), guest);
        assert_eq!(plugin.stats().faults, [(cause, 3)].into(), "{guest}");
        found_nothing(bad.evaluate(&call("web", 1_000)).await, guest);
    }
    assert_eq!(good.stats().faults, Default::default());
}

#[tokio::test]
async fn a_flood_into_kv_stays_a_value_and_takes_no_more_than_its_quota() {
    let plugin = asks(host(), "hostile-kv");
    let told = asking(&plugin, json!([{"fill": [1_900, 1]}])).await.evaluate(&call("web", 1_000)).await.unwrap();
    let told = &heard(&told)[0];
    assert!(told.starts_with("1024 kept, then") && told.contains("OverQuota(\"1024 keys are the most\")"), "{told}");
    // More host calls than are allowed, and more bytes than one call may hand over.
    let large = json!({"fill": [60, 60_000]});
    for (steps, word) in [
        (json!([{"fill": [1_024, 1]}, {"fill": [1_024, 1]}]), "more than 2000 times"),
        (json!([large, large, large]), "more than 8388608 bytes"),
    ] {
        let greedy = asks(host(), &format!("hostile-kv {word}"));
        let fault = asking(&greedy, steps).await.evaluate(&call("web", 1_000)).await.unwrap_err();
        assert_eq!(fault.cause, FaultCause::HostBudget, "{fault}");
        assert!(fault.detail.contains(word), "{fault}");
    }
    assert_eq!(plugin.stats().faults, Default::default());
}

#[tokio::test]
async fn what_it_did_is_on_its_account() {
    let plugin = host().load_bytes(&settled("detector-bomb"), component("detector-bomb")).unwrap();
    let detector = configured(&plugin, &json!({}), "bad").await;
    detector.evaluate(&call("web", 1_000)).await.unwrap();
    let small = plugin.stats();
    assert!(small.peak_memory > 0 && small.peak_memory < 4 << 20, "{small:?}");
    detector.evaluate(&call("bad", 1_000)).await.unwrap_err();
    let large = plugin.stats().peak_memory;
    assert!(large > 32 << 20 && large <= 64 << 20, "{large}");

    let plugin = asks(host(), "hostile-account");
    let detector = asking(&plugin, json!([{"set": ["key", "12345", null]}, {"get": "key"}])).await;
    let said = detector.evaluate(&call("web", 1_000)).await.unwrap();
    let finding = &said.findings[0];
    let answer = finding.condition.len() + finding.message.len() + "0done112345".len();
    let stats = plugin.stats();
    assert_eq!(stats.host_calls, 2);
    assert_eq!(stats.bytes_out, u64::try_from("key12345".len() + "key".len() + answer).unwrap());
}

#[tokio::test]
async fn what_is_granted_to_look_touches_nothing() {
    let mut table = table("detector-greedy");
    table.grant = crate::asking::everything();
    let plugin = Host::start(&[]).unwrap().load_bytes(&table, component("detector-greedy")).unwrap();
    let verdict = plugin.detector(&object(json!({}))).await.unwrap().evaluate(&call("web", 1_000)).await.unwrap();
    let told = heard(&verdict);
    assert_eq!(told[0], "Ok(())");
    assert!(told[2].contains("Denied"), "{told:?}");
}
