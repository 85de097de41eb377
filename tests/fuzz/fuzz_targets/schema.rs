//! A plug-in's word about itself, and a configuration for it: two lines of JSON. The plug-in is a good one with another section put
//! in, so that its schema is held against the configuration as it would be in a running heald.
#![no_main]

use std::sync::OnceLock;

use heald_fuzz::{bounds, stage};
use heald_host::{HostError, SetupError};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let (said, config) = text.split_once('\n').unwrap_or((text, "{}"));
    let (Ok(Value::Object(said)), Ok(Value::Object(config))) =
        (serde_json::from_str(said), serde_json::from_str(config))
    else {
        return;
    };
    static TINY: OnceLock<Vec<u8>> = OnceLock::new();
    let tiny = TINY.get_or_init(|| stage::guest("tiny"));
    let said = serde_json::to_vec(&Value::Object(said)).expect("JSON");
    let Ok(plugin) = stage::host().load_bytes(&stage::table("tiny.wasm"), &heald_fuzz::section::with(tiny, &said))
    else {
        return;
    };
    match stage::wait(plugin.detector(&config)) {
        Ok(_) => {}
        Err(HostError::Setup(SetupError::Config { problems, .. })) => assert!((1..=10).contains(&problems.len())),
        Err(HostError::Setup(SetupError::Fault { fault, .. })) => bounds::fault(&fault),
        Err(error) => panic!("{error}"),
    }
});
