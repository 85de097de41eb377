//! The memory that all services of a plug-in share: who sees it, how long it lasts, and what is too much.

use heald_engine::ports::Detector;
use heald_host::{Grant, HostError, SetupError};
use serde_json::json;

use crate::asking::{ask, asking, asks, call, everything, heard, named, script};
use crate::guests::{component, host};

#[tokio::test]
async fn services_and_configurations_of_one_plugin_share_it_and_others_do_not() {
    let plugin = asks(host(), "kv-shared");
    let writer = asking(&plugin, json!([{"set": ["key", "from web", null]}])).await;
    let reader = asking(&plugin, json!([{"get": "key"}])).await;
    assert_eq!(heard(&reader.evaluate(&call("api", 1_000)).await.unwrap()), ["nothing"]);
    assert_eq!(heard(&writer.evaluate(&call("web", 1_000)).await.unwrap()), ["done"]);
    assert_eq!(heard(&reader.evaluate(&call("api", 1_000)).await.unwrap()), ["from web"]);
    assert_eq!(ask(&asks(host(), "kv-stranger"), json!([{"get": "key"}])).await, ["nothing"]);
}

#[tokio::test]
async fn it_is_kept_over_reloads() {
    let plugin = asks(host(), "kv-reloaded");
    ask(&plugin, json!([{"set": ["key", "before", null]}])).await;
    drop(plugin);
    assert_eq!(ask(&asks(host(), "kv-reloaded"), json!([{"get": "key"}])).await, ["before"]);
}

#[tokio::test]
async fn time_is_that_of_the_calls() {
    let plugin = asks(host(), "kv-time");
    let writer = asking(&plugin, json!([{"set": ["key", "value", 5_000]}])).await;
    let reader = asking(&plugin, json!([{"get": "key"}, {"keys": ["", null, 9]}])).await;
    writer.evaluate(&call("web", 1_000_000)).await.unwrap();
    assert_eq!(heard(&reader.evaluate(&call("api", 1_004_999)).await.unwrap()), ["value", "key"]);
    assert_eq!(heard(&reader.evaluate(&call("api", 1_005_000)).await.unwrap()), ["nothing", ""]);
}

#[tokio::test]
async fn every_function_answers_and_what_breaks_a_rule_is_a_value() {
    let steps = json!([
        {"swap": ["b", null, "1"]},
        {"swap": ["b", null, "2"]},
        {"swap": ["b", "1", "3"]},
        {"set": ["a", "x", null]},
        {"keys": ["", null, 9]},
        {"keys": ["", "a", 9]},
        {"swap": ["b", "3", null]},
        {"get": "b"},
        {"get": "no key"},
        {"fill": [2, 70_000]},
    ]);
    let heard = ask(&asks(host(), "kv-functions"), steps).await;
    assert_eq!(heard[..8], ["true", "false", "true", "done", "a,b", "b", "true", "nothing"]);
    assert!(heard[8].contains("a key is 1 to 128 characters"), "{heard:?}");
    assert!(heard[9].starts_with("0 kept, then ") && heard[9].contains("70000 bytes"), "{heard:?}");
}

#[tokio::test]
async fn nothing_is_heard_while_it_is_set_up() {
    let mut config = script(json!([{"get": "key"}, "children", {"restart": null}]));
    config.insert("at_once".into(), json!(true));
    let error = asks(host(), "kv-setup").detector(&config).await.err().unwrap();
    let HostError::Setup(SetupError::Config { problems, .. }) = &error else { panic!("{error:?}") };
    for part in ["kv is there in a call", "process is there in a call", "`perform` and `undo` only"] {
        assert!(problems[0].message.contains(part), "{error}");
    }
}

#[test]
fn what_is_not_granted_is_not_linked_and_the_line_to_add_is_named() {
    for (grant, import, line) in [
        (Grant { kv: false, ..everything() }, "heald:plugin/kv@0.1.0", "`grant.kv = true`"),
        (Grant { process: false, ..everything() }, "heald:plugin/process@0.1.0", "`grant.process = true`"),
        (
            Grant { process_control: false, ..everything() },
            "heald:plugin/process-control@0.1.0",
            "`grant.process_control = true`",
        ),
    ] {
        let mut table = named("kv-refused");
        table.grant = grant;
        let error = host().load_bytes(&table, component("asks")).err().unwrap();
        let HostError::Imports { refused, .. } = &error else { panic!("{error:?}") };
        assert_eq!(refused.len(), 1, "{error}");
        assert!(refused[0].contains(import) && refused[0].contains(line), "{error}");
    }
}
