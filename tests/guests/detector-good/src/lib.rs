//! A detector that behaves, for benches: a look at the newest sample, and `bytes` (1 KiB) of state in and out.
#![deny(unsafe_code)]

use heald_plugin::{About, Detector, Error, Finding, Observation, Problem, Severity, Verdict};

/// See the crate.
#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Good {
    /// Beyond this `cpu` is a finding.
    limit: f64,
    /// How much it remembers.
    bytes: usize,
}

impl Default for Good {
    fn default() -> Self {
        Self { limit: 90.0, bytes: 1 << 10 }
    }
}

impl Detector for Good {
    type Config = Self;
    type State = Vec<u8>;

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn about(&self) -> About {
        About::conditions(["high-cpu"])
    }

    fn evaluate(&self, seen: &Observation, state: &mut Vec<u8>) -> Result<Verdict, Error> {
        state.resize(self.bytes, 0);
        // The state is used, or an optimiser might see that it is not: the first byte counts the calls.
        if let Some(calls) = state.first_mut() {
            *calls = calls.wrapping_add(1);
        }
        let busy = seen.series.iter().filter_map(|series| {
            let cpu = series.newest_value("cpu").filter(|cpu| *cpu > self.limit)?;
            let message = format!("cpu is {cpu} %");
            Some(
                Finding::new("high-cpu", Severity::Error, message)
                    .about(series.subject())
                    .crossed("cpu", cpu, self.limit),
            )
        });
        Ok(busy.collect())
    }
}

heald_plugin::detector!(Good, cpu_ms: 5);
