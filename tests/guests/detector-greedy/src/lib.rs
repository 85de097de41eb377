//! A detector that wants what nobody granted it: it imports `kv`, `process` and `process-control`, and orders a restart from
//! within `evaluate`, where even a granted `process-control` has to deny it. What came of it is in the finding's evidence.
#![deny(unsafe_code)]

use heald_plugin::process::{self, control};
use heald_plugin::{About, Detector, Error, Finding, Observation, Problem, Severity, Verdict, kv};

/// See the crate.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Greedy {}

impl Detector for Greedy {
    type Config = Self;
    type State = ();

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn about(&self) -> About {
        About::conditions(["greed"])
    }

    fn evaluate(&self, _: &Observation, (): &mut ()) -> Result<Verdict, Error> {
        let finding = Finding::new("greed", Severity::Info, "it tried everything")
            .with("kv", format!("{:?}", kv::set("key", b"value")))
            .with("process", format!("{:?}", process::children().map(|children| children.len())))
            .with("process-control", format!("{:?}", control::restart(None)));
        Ok(vec![finding].into())
    }
}

heald_plugin::detector!(Greedy, capabilities: &["log", "kv", "process", "process-control"]);
