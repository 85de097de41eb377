//! Limits on metrics.
//!
//! A rule names a metric and the limit it must not pass: strictly greater is a finding, equal is none. `cpu`, `memory`,
//! `error_rate`, `latency_ms` and `status` are every probe's; any other name is a custom metric. A bare number is the short
//! form; a list is several steps of one metric, of which the most severe that holds is reported:
//!
//! ```json
//! {
//!   "cpu": 90,
//!   "memory": [ 90, { "limit": 95, "severity": "critical" } ],
//!   "latency_ms": { "limit": 1500, "for": 3, "clear_below": 1200 },
//!   "tls_left_seconds": { "below": 604800, "condition": "certificate-expires" }
//! }
//! ```
//!
//! It knows no trends and no baselines: a limit is the operator's word, and crossing it is a fact. What a probe did not
//! measure neither starts a finding nor ends one; a new incarnation of the process starts with a clean slate.
#![deny(unsafe_code)]

mod config;
mod watch;

use heald_plugin::{About, Detector, Error, Json, Observation, Problem, Verdict};

pub use config::{Config, Rule, Step};
pub use watch::{Memory, Watch};

/// The configured detector.
#[derive(Debug)]
pub struct Threshold {
    rules: Vec<Rule>,
}

impl Detector for Threshold {
    type Config = Config;
    type State = Json<Memory>;

    fn new(config: Config) -> Result<Self, Vec<Problem>> {
        config.check().map(|rules| Self { rules })
    }

    fn about(&self) -> About {
        let mut conditions: Vec<_> = self.rules.iter().flat_map(Rule::conditions).collect();
        conditions.sort_unstable();
        conditions.dedup();
        About::conditions(conditions).window(self.rules.iter().map(Rule::window).max().unwrap_or(1))
    }

    fn evaluate(&self, seen: &Observation, memory: &mut Json<Memory>) -> Result<Verdict, Error> {
        let mut found = Vec::new();
        let mut kept = Memory::default();
        for series in &seen.series {
            let key = series.key();
            let mut watch = memory.remove(&key).unwrap_or_default();
            watch.look(series, &self.rules);
            found.extend(watch.findings(series, &self.rules));
            if !watch.is_blank() {
                kept.insert(key, watch);
            }
        }
        // Series that are gone are forgotten with their findings.
        memory.0 = kept;
        Ok(Verdict::most_severe(found))
    }
}

heald_plugin::detector!(Threshold, config: include_str!("../config.schema.json"), cpu_ms: 5, memory_mib: 16);
