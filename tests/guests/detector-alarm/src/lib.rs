//! A detector that finds every service down, always: what a shadow must be able to say without any effect.
#![deny(unsafe_code)]

use heald_plugin::{About, Detector, Error, Finding, Observation, Problem, Severity, Verdict};

/// See the crate.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Alarm {}

impl Detector for Alarm {
    type Config = Self;
    type State = ();

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn about(&self) -> About {
        About::conditions(["service-down"])
    }

    fn evaluate(&self, _: &Observation, (): &mut ()) -> Result<Verdict, Error> {
        Ok([Finding::new("service-down", Severity::Critical, "it must be down")].into_iter().collect())
    }
}

heald_plugin::detector!(Alarm, cpu_ms: 5);
