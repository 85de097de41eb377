//! What a file is can be told without running or compiling it, whatever is wrong with it.

use heald_host::{HostError, Interface, SecretKey, SectionError, inspect, sign};
use serde_json::json;

use crate::guests::{component, host, object, table};
use crate::surgery::{grown, saying, without};

fn problems(bytes: &[u8]) -> String {
    inspect(bytes).unwrap().problems.join("\n")
}

#[test]
fn a_plugin_is_told_whole() {
    let bytes = component("detect-threshold");
    let seen = inspect(bytes).unwrap();
    assert_eq!((seen.name.as_str(), seen.version.as_str()), ("detect-threshold", "0.1.0"));
    assert_eq!(seen.roles, ["detector"]);
    assert!(!seen.summary.is_empty());
    assert!(seen.schema["title"] == "detect-threshold", "{}", seen.schema);
    assert!(seen.capabilities.is_empty() && seen.problems.is_empty(), "{seen:?}");
    let detect = Interface {
        name: "heald:plugin/detect".into(),
        version: Some("0.1.0".into()),
        functions: ["configure", "describe", "evaluate"].map(str::to_owned).into(),
    };
    assert_eq!(seen.exports, [detect]);
    let imports: Vec<_> = seen.imports.iter().map(|import| import.name.as_str()).collect();
    assert_eq!(imports, ["heald:plugin/types", "heald:plugin/log"]);
    assert!(!seen.imports[1].functions.is_empty());
    assert_eq!(seen.sizes.file, bytes.len() as u64);
    let parts = seen.sizes.code + seen.sizes.data + seen.sizes.custom;
    assert!(seen.sizes.code > 1_000 && parts < seen.sizes.file && seen.sizes.modules > 0, "{:?}", seen.sizes);
    assert_eq!(seen.digest, heald_host::digest(bytes));
    let told = serde_json::to_value(&seen).unwrap();
    assert_eq!(told["exports"][0]["functions"][2], "evaluate");
}

#[test]
fn its_signatures_are_told_whoever_made_them() {
    let (one, two) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
    let mut bytes = sign(&sign(component("detector-good"), &one).unwrap(), &two).unwrap();
    let seen = inspect(&bytes).unwrap();
    let keys: Vec<_> = seen.signatures.iter().map(|signature| (signature.key.unwrap(), signature.valid)).collect();
    assert_eq!(keys, [(one.public(), true), (two.public(), true)]);
    assert!(seen.problems.is_empty());
    let told = serde_json::to_value(&seen).unwrap();
    assert_eq!(told["signatures"][0], json!({"key": one.public().to_string(), "valid": true}));
    let last = component("detector-good").len() - 1;
    bytes[last] ^= 1;
    assert!(problems(&bytes).contains(&format!("its signature by {}", two.public())));
}

#[test]
fn what_made_it_is_told_if_it_says_so() {
    let producers = b"\x02\x08language\x01\x04Rust\x00\x0cprocessed-by\x01\x05rustc\x061.95.0";
    let said = [component("detector-good"), &crate::surgery::custom("producers", producers)].concat();
    let seen = inspect(&said).unwrap();
    let has = |field: &str, name: &str, version: &str| {
        seen.producers
            .iter()
            .any(|made| (made.field.as_str(), made.name.as_str(), made.version.as_str()) == (field, name, version))
    };
    assert!(has("language", "Rust", "") && has("processed-by", "rustc", "1.95.0"), "{:?}", seen.producers);
    let nonsense = [component("detector-good"), &crate::surgery::custom("producers", b"\xff\xff")].concat();
    assert!(inspect(&nonsense).unwrap().problems.is_empty(), "nobody needs it");
}

#[test]
fn one_that_breaks_the_contract_is_told_like_any_other() {
    let seen = inspect(component("detector-future")).unwrap();
    assert_eq!(seen.exports[0].version.as_deref(), Some("0.9.0"));
    assert!(seen.roles.is_empty());
    assert!(seen.problems[0].contains("update heald"), "{:?}", seen.problems);
    let seen = inspect(component("wrong-world")).unwrap();
    assert_eq!(seen.exports[0].name, "stranger:thing/greet");
    assert!(seen.problems[0].contains("it is no plug-in"), "{:?}", seen.problems);
    let seen = inspect(component("detector-greedy")).unwrap();
    assert_eq!(seen.capabilities, ["kv", "process", "process-control"]);
    // Nothing but the bytes of a section says that a component of this kind would be compiled.
    let broken = [b"\0asm\x0d\0\x01\0".as_slice(), &[7, 1, 0xff]].concat();
    assert!(problems(&broken).contains("it is no valid component"));
    assert!(matches!(inspect(b"#!/bin/sh"), Err(SectionError::NotComponent(_))));
}

#[test]
fn what_it_says_and_what_it_is_must_agree_here_and_when_it_is_loaded() {
    let greedy = component("detector-greedy");
    let said = |capabilities: &[&str], roles: &[&str]| {
        let said = json!({"name": "x", "version": "1.0.0", "roles": roles, "capabilities": capabilities});
        saying(greedy, &said.to_string())
    };
    for (bytes, words) in [
        (said(&["log", "kv"], &["detector"]), "it imports process, process-control and does not say so"),
        (
            said(&["log", "kv", "process", "process-control", "http"], &["detector"]),
            "it says it wants http and does not import it",
        ),
        (said(&["kv", "process", "process-control"], &["policy"]), "it says it is a policy and exports a detector"),
        (saying(greedy, "{\"name\": 7}"), "its section heald:plugin cannot be read"),
    ] {
        assert!(problems(&bytes).contains(words), "{}", problems(&bytes));
        let error = host().load_bytes(&table("greedy"), &bytes).err().unwrap();
        assert!(matches!(error, HostError::Contract { .. }) && error.to_string().contains(words), "{error}");
    }
    // Who says nothing asks for what it imports.
    let silent = inspect(&without(greedy, "heald:plugin")).unwrap();
    assert_eq!(silent.capabilities, ["kv", "process", "process-control"]);
    assert_eq!((silent.name.as_str(), silent.schema.is_null()), ("", true));
}

#[tokio::test]
async fn a_wasi_guest_that_asks_for_nothing_loads_with_nothing() {
    // Its standard library imports files, clocks and randomness; nothing was granted.
    let bytes = saying(component("action-reach"), r#"{"name": "reach", "roles": ["action"], "capabilities": ["log"]}"#);
    let plugin = host().load_bytes(&table("reach"), &bytes).unwrap();
    assert!(plugin.requested().iter().all(|word| word == "clock" || word == "random"), "{:?}", plugin.requested());
    assert_eq!(plugin.granted(), Vec::<String>::new());
    plugin.actions(&object(json!({}))).await.unwrap();
    // Granting files to who did not ask for them gives none: the directory is not even looked for.
    let mut table = table("reach");
    table.grant = serde_json::from_value(json!({"files": ["/does/not/exist"], "clock": true})).unwrap();
    let plugin = host().load_bytes(&table, &bytes).unwrap();
    assert_eq!(plugin.granted(), ["clock"]);
    plugin.actions(&object(json!({}))).await.unwrap();
    // One that does ask is told what is missing.
    let asking = host().load_bytes(&crate::guests::table("reach"), component("action-reach"));
    assert!(asking.err().unwrap().to_string().contains("grant.files = ["));
}

#[test]
fn no_prefix_and_no_flipped_bit_of_a_component_brings_anybody_down() {
    let whole = component("wrong-world");
    for end in 0..whole.len() {
        let cut = &whole[..end];
        assert!(host().load_bytes(&table("cut"), cut).is_err(), "{end}");
        if let Ok(seen) = inspect(cut) {
            assert!(!seen.problems.is_empty() || seen.exports.is_empty(), "{end}: {seen:?}");
        }
    }
    // One bit in every fifth byte; compiling takes longer, so some of them are enough to see that loading survives what can be told.
    let mut told = 0;
    for at in (0..whole.len()).step_by(5) {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 1 << (at % 8);
        told += usize::from(inspect(&flipped).is_ok());
        if at % 400 == 0 {
            let _ = host().load_bytes(&table("flipped"), &flipped);
        }
    }
    assert!(told > whole.len() / 10, "most flips leave a file that can be told of: {told}");
    assert!(inspect(&grown(whole, 3 << 20)).is_ok());
}
