//! The small formats: what a file says of itself, sections, signatures, keys, hosts, and the parts of a `[[plugin]]` table. The first
//! byte says which.
#![no_main]

use heald_fuzz::section::{HEADER, custom};
use heald_fuzz::stage;
use heald_host::{
    CanaryConfig, Endpoint, Grant, HostPort, LimitsConfig, Metadata, PluginConfig, PluginsConfig, PublicKey, SecretKey,
    Suggested, Trust, digest, inspect, sign, signatures, verify,
};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Map;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match (which % 9, std::str::from_utf8(bytes)) {
        (0, _) => sections(bytes),
        (1, _) => said(bytes),
        (2, _) => vouched(bytes),
        (3, Ok(text)) => public(text),
        (4, Ok(text)) => secret(text),
        (5, Ok(text)) => endpoint(text),
        (6, Ok(text)) => configured(text),
        (7, Ok(text)) => {
            same::<Grant>(text);
            same::<PluginsConfig>(text);
        }
        (_, Ok(text)) => {
            same::<LimitsConfig>(text);
            same::<CanaryConfig>(text);
            same::<Suggested>(text);
        }
        _ => {}
    }
});

/// Sections, whatever they are.
fn sections(bytes: &[u8]) {
    let file = [HEADER, bytes].concat();
    drop(Metadata::of(&file));
    drop(inspect(&file));
    signatures(&file);
}

/// What a file says of itself.
fn said(bytes: &[u8]) {
    let file = [HEADER, &custom("heald:plugin", bytes)].concat();
    if let Ok(Some(said)) = Metadata::of(&file) {
        let again = serde_json::to_vec(&said).expect("metadata can be written");
        let file = [HEADER, &custom("heald:plugin", &again)].concat();
        assert_eq!(Metadata::of(&file).expect("and read"), Some(said));
    }
    inspect(&file).expect("that it is a component is all that is asked");
}

/// Who is said to vouch for a file. Nobody does: there is no key.
fn vouched(bytes: &[u8]) {
    let file = [HEADER, &custom("heald:signature", bytes)].concat();
    assert_eq!(digest(&file), digest(HEADER), "a signature is not part of what it signs");
    let valid = signatures(&file).iter().any(|signature| signature.valid);
    assert!(!valid || verify(&file, &Trust::default()).is_ok());
}

fn public(text: &str) {
    for key in [text.parse::<PublicKey>(), PublicKey::from_pem(text)].into_iter().flatten() {
        assert_eq!(key.to_string().parse::<PublicKey>().expect("its text"), key);
        assert_eq!(PublicKey::from_pem(&key.to_pem()).expect("its PEM"), key);
    }
}

fn secret(text: &str) {
    if let Ok(key) = SecretKey::from_pem(text) {
        let signed = sign(HEADER, &key).expect("a component");
        let trust = Trust { require_signed: true, keys: vec![key.public()] };
        assert_eq!(verify(&signed, &trust).expect("it signed"), Some(key.public()));
    }
}

fn endpoint(text: &str) {
    if let Ok(origin) = text.parse::<HostPort>() {
        assert_eq!(origin.to_string().parse::<HostPort>().expect("as it is written"), origin);
    }
    drop(text.parse::<Endpoint>());
    // Secrets are not written, so one that has some cannot be read back.
    if !text.contains("headers") {
        same::<Endpoint>(text);
    }
}

/// A whole table, for a plug-in that is built in: what it says of limits, grants and configuration is used.
fn configured(text: &str) {
    let Ok(mut table) = serde_json::from_str::<PluginConfig>(text) else { return };
    same::<PluginConfig>(text);
    let (config, mut grant) = (std::mem::take(&mut table.config), std::mem::take(&mut table.grant));
    // What is on this machine is not to be found out.
    grant.files = None;
    let table = PluginConfig { component: "builtin:detect-threshold".to_owned(), grant, config: Map::new(), ..table };
    if let Ok(plugin) = stage::host().load(&table) {
        drop(stage::wait(plugin.detector(&config)));
    }
}

/// What can be read can be written, and reads back the same. What was written may not be readable where secrets were in it.
fn same<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(text: &str) {
    if let Ok(value) = serde_json::from_str::<T>(text) {
        let written = serde_json::to_string(&value).expect("it can be written");
        if !written.contains("headers") {
            assert_eq!(serde_json::from_str::<T>(&written).expect("it can be read"), value, "{written}");
        }
    }
}
