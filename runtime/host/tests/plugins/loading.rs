//! What cannot be loaded says why, in words that an operator can act on; no bytes whatever bring the host down.

use std::error::Error as _;

use heald_engine::ports::Detector;
use heald_host::{Directory, DirectoryError, Embedded, Host, HostError, LimitsConfig, Plugin, SetupError};
use serde_json::json;

use crate::guests::{component, host, object, observation, plugin, table};

fn refused(name: &str, bytes: &[u8]) -> HostError {
    host().load_bytes(&table(name), bytes).err().unwrap_or_else(|| panic!("{name} was loaded"))
}

#[test]
fn what_is_no_component_is_called_by_its_name() {
    let core = [b"\0asm\x01\0\0\0".as_slice(), &[0; 8]].concat();
    let precompiled = heald_host::precompile(component("detector-good")).unwrap();
    for (bytes, word) in [
        (b"".as_slice(), "empty"),
        (b"#!/bin/sh", "no WebAssembly"),
        (b"\0asm", "no WebAssembly"),
        (&core, "core module"),
        (&precompiled, "machine code"),
        (b"\0asm\x0f\0\x01\0", "not"),
    ] {
        let error = refused("thing", bytes).to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn truncated_and_flipped_bytes_are_refused_or_harmless() {
    let whole = component("detector-good");
    for length in (0..whole.len()).step_by(whole.len() / 100 + 1) {
        assert!(matches!(
            refused("truncated", &whole[..length]),
            HostError::Engine(_) | HostError::Section(_) | HostError::Contract { .. }
        ));
    }
    // A flipped bit may hit a comment, a constant or the code itself; then it is another plug-in, and as sealed as any.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut loaded = 0;
    for n in 0..12 {
        let mut bytes = whole.to_vec();
        let at = (n * 7_919 + 11) % bytes.len();
        bytes[at] ^= 1 << (n % 8);
        let Ok(plugin) = host().load_bytes(&table("flipped"), &bytes) else { continue };
        let Ok(detector) = runtime.block_on(plugin.detector(&object(json!({})))) else { continue };
        loaded += 1;
        let _ = runtime.block_on(detector.evaluate(&observation("web", 97.0)));
    }
    assert!(loaded > 0, "none of them came as far as being called");
    let good = runtime.block_on(plugin("detector-good").detector(&object(json!({"bytes": 3})))).unwrap();
    assert!(runtime.block_on(good.evaluate(&observation("web", 97.0))).is_ok());
}

#[test]
fn another_world_is_told_apart_from_another_version() {
    let error = refused("wrong-world", component("wrong-world")).to_string();
    assert!(error.contains("it exports stranger:thing/greet@1.0.0"), "{error}");
    assert!(error.contains("wanted is one of heald:plugin/detect@0.1.0"), "{error}");
    let error = refused("detector-future", component("detector-future")).to_string();
    assert!(error.contains("heald:plugin/detect@0.9.0, which is not spoken here"), "{error}");
    assert!(error.contains("update heald, or build it with an SDK for heald:plugin@0.1.0"), "{error}");
}

#[test]
fn what_was_not_granted_is_named_with_what_would_grant_it() {
    let error = refused("greedy", component("detector-greedy")).to_string();
    for part in
        ["`greedy`", "heald:plugin/kv@0.1.0", "heald:plugin/process@0.1.0", "heald:plugin/process-control@0.1.0"]
    {
        assert!(error.contains(part), "{error}");
    }
    let error = refused("cleaner", component("act-clear-cache")).to_string();
    for part in ["`cleaner`", "wasi:filesystem/types@0.2", "grant.files = ["] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("wasi:cli"), "only what is refused is named: {error}");
}

#[tokio::test]
async fn a_granted_directory_must_be_there_and_have_a_place_of_its_own() {
    let mut table = table("action-reach");
    let missing = Directory { host: "/does/not/exist".into(), guest: "/cache".into(), write: true };
    table.grant.files = Some(vec![missing.clone()]);
    let plugin = host().load_bytes(&table, component("action-reach")).unwrap();
    let error = plugin.actions(&object(json!({}))).await.err().unwrap();
    assert_eq!(error.to_string(), "the granted directory /does/not/exist cannot be opened");
    assert!(error.source().is_some());
    table.grant.files = Some(vec![missing.clone(), missing]);
    let error = host().load_bytes(&table, component("action-reach")).err().unwrap();
    assert!(matches!(error, HostError::Directory(DirectoryError::SamePath { .. })), "{error}");
}

#[tokio::test]
async fn a_configuration_is_judged_by_the_schema_and_by_the_plugin() {
    let plugin = plugin("detect-threshold");
    // The schema can tell.
    let error = plugin.detector(&object(json!({"cpu": {"limit": 90, "severity": "bad"}}))).await.err().unwrap();
    let HostError::Setup(SetupError::Config { problems, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(problems[0].at, "/cpu/severity");
    assert!(error.to_string().contains("\"critical\""), "{error}");
    // Only the plug-in can: there is no number that is above 9 and below 5.
    let error = plugin
        .detector(&object(json!({"cpu": {"limit": 5, "clear_below": 9}})))
        .await
        .err()
        .expect("clearing above the limit makes no sense");
    let HostError::Setup(SetupError::Config { problems, .. }) = &error else { panic!("{error:?}") };
    assert!(problems[0].at.starts_with("/cpu"), "{error}");
}

#[test]
fn a_file_is_read_and_a_missing_one_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = table("good");
    table.component = folder.path().join("good.wasm").display().to_string();
    let error = host().load(&table).err().unwrap().to_string();
    assert!(error.contains("good.wasm"), "{error}");
    std::fs::write(&table.component, component("detector-good")).unwrap();
    let plugin = host().load(&table).unwrap();
    assert_eq!(plugin.metadata().name, "detector-good");
    assert_eq!(plugin.reference().version, "0.1.0");
    assert_eq!(plugin.reference().digest.len(), 64);
    table.component = "builtin:nothing".into();
    assert!(host().load(&table).err().unwrap().to_string().contains("no plug-in `nothing` is built in"));
}

/// What `builtin:good` means, in a host that carries these bytes.
#[allow(unsafe_code)]
fn carried(component: &'static [u8], precompiled: &'static [u8]) -> Plugin {
    // SAFETY: the callers give what `precompile` returned, or nothing that could be executed.
    let builtin = unsafe { Embedded::new("good", "d1e5", component, precompiled) };
    let mut table = table("good");
    table.component = "builtin:good".into();
    Host::start(&[builtin]).unwrap().load(&table).unwrap()
}

async fn finds(plugin: &Plugin) -> usize {
    let detector = plugin.detector(&object(json!({}))).await.unwrap();
    detector.evaluate(&observation("web", 97.0)).await.unwrap().findings.len()
}

#[tokio::test]
async fn a_builtin_runs_what_was_precompiled() {
    let precompiled = heald_host::precompile(component("detector-good")).unwrap().leak();
    // The component beside it is an empty one: what runs can only be the machine code.
    let plugin = carried(b"\0asm\x0d\0\x01\0", precompiled);
    assert_eq!(plugin.reference().digest, "d1e5");
    assert_eq!(finds(&plugin).await, 1);
}

#[tokio::test]
async fn a_builtin_whose_machine_code_does_not_fit_is_compiled_anew() {
    let plugin = carried(component("detector-good"), b"for another engine");
    assert_eq!(plugin.metadata().name, "detector-good");
    assert_eq!(finds(&plugin).await, 1);
}

#[test]
fn too_little_memory_is_told_when_it_is_set_up() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut table = table("good");
    table.limits = LimitsConfig { memory_mib: Some(0), ..LimitsConfig::default() };
    let plugin = host().load_bytes(&table, component("detector-good")).unwrap();
    let error = runtime.block_on(plugin.detector(&object(json!({})))).err().unwrap();
    let HostError::Setup(SetupError::Fault { fault, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(fault.cause, heald_model::FaultCause::Memory, "{fault}");
}
