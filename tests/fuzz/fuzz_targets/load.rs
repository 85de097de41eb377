//! Bytes that claim to be a component: looked at, verified, signed, loaded and, if that went well, configured and called.
#![no_main]

use std::sync::OnceLock;

use heald_engine::ports::{Detector, Policy};
use heald_fuzz::{bounds, shown, stage};
use heald_host::{Plugin, SecretKey, Trust, digest, inspect, sign, signatures, verify};
use libfuzzer_sys::fuzz_target;
use serde_json::Map;

fuzz_target!(|bytes: &[u8]| {
    let looked = inspect(bytes);
    if let Ok(looked) = &looked {
        serde_json::to_string(looked).expect("what was seen can be shown");
        assert_eq!(looked.digest, digest(bytes));
    }
    let valid = signatures(bytes).iter().filter(|signature| signature.valid).count();
    signed(bytes, looked.is_ok(), valid);
    match stage::host().load_bytes(&stage::table("fuzzed.wasm"), bytes) {
        Ok(plugin) => {
            assert!(looked.is_ok(), "what loads can be looked at");
            called(&plugin);
        }
        Err(error) => drop(error.to_string()),
    }
});

/// Signing adds a signature and nothing else.
fn signed(bytes: &[u8], is_component: bool, before: usize) {
    static KEY: OnceLock<SecretKey> = OnceLock::new();
    let key = KEY.get_or_init(|| SecretKey::generate().expect("a key"));
    let trust = Trust { require_signed: true, keys: vec![key.public()] };
    assert!(verify(bytes, &trust).is_err(), "nobody else has the key");
    let signed = sign(bytes, key);
    assert_eq!(signed.is_ok(), is_component);
    if let Ok(signed) = signed {
        assert_eq!(digest(&signed), digest(bytes));
        let after = signatures(&signed);
        assert_eq!(after.iter().filter(|signature| signature.valid).count(), before + 1);
        // One that does not match makes the whole file suspect, whoever else vouches for it.
        assert_eq!(verify(&signed, &trust).is_ok(), after.iter().all(|signature| signature.valid));
    }
}

fn called(plugin: &Plugin) {
    stage::wait(async {
        if let Ok(detector) = plugin.detector(&Map::new()).await {
            match detector.evaluate(&shown::observation(None)).await {
                Ok(said) => bounds::verdict(&said),
                Err(fault) => bounds::fault(&fault),
            }
        }
        if let Ok(policy) = plugin.policy(&Map::new()).await {
            match policy.decide(&shown::question(None)).await {
                Ok(said) => bounds::answer(&said),
                Err(fault) => bounds::fault(&fault),
            }
        }
    });
}
