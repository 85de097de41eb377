//! Is the service there?
//!
//! Each probe's verdicts are counted as the kubelet counts them: `failure-threshold` failures in a row make a change for the
//! worse, `success-threshold` successes one for the better. What the change is called depends on the probe's role:
//!
//! | role | condition | severity |
//! |---|---|---|
//! | liveness | `service-down` | critical |
//! | readiness | `not-ready` | warning |
//! | startup | `startup-failed`, until then `starting` | critical, info |
//! | metrics | none, unless the process is gone: `service-down` | critical |
//!
//! A process that exited, was killed or is missing needs no counting: that is a fact. A service that answers 200 and calls
//! itself `DOWN` is down; one that calls itself `DEGRADED` is `degraded` (warning).
//!
//! `flapping` (warning) is a matter of its own: not how long it fails but how often it changes. See [`flap`].
//!
//! Every finding of a failure has the fact `cause` (`refused`, `unreachable`, `dns`, `tls`, `timeout`, `status`, `body`, `exit`,
//! `signal`, `missing`, ...): who has to end the process can tell from it whether waiting for a polite end makes sense.
//!
//! It does not ask what the trouble costs or who depends on the service; it only says what the probes prove.
#![deny(unsafe_code)]

mod config;
pub mod flap;
mod watch;

use heald_plugin::{About, Detector, Error, Json, Observation, Problem, Verdict};

pub use config::{Config, Flapping, Words};
pub use watch::{Memory, Watch};

/// The configured detector.
#[derive(Debug)]
pub struct Availability {
    config: Config,
}

impl Detector for Availability {
    type Config = Config;
    type State = Json<Memory>;

    fn new(config: Config) -> Result<Self, Vec<Problem>> {
        config.check().map(|config| Self { config })
    }

    fn about(&self) -> About {
        About::conditions(["degraded", "flapping", "not-ready", "service-down", "starting", "startup-failed"])
            .window(flap::VERDICTS)
    }

    fn evaluate(&self, seen: &Observation, memory: &mut Json<Memory>) -> Result<Verdict, Error> {
        let mut found = Vec::new();
        let mut kept = Memory::default();
        for series in &seen.series {
            let key = series.key();
            let known = memory.remove(&key);
            let unseen = series.unseen(known.is_some());
            let mut watch = known.unwrap_or_default();
            for sample in unseen {
                watch.look(sample, series, &self.config);
            }
            found.extend(watch.findings(series));
            kept.insert(key, watch);
        }
        // Series that are gone are forgotten with their findings.
        memory.0 = kept;
        Ok(Verdict::most_severe(found))
    }
}

heald_plugin::detector!(Availability, config: include_str!("../config.schema.json"), cpu_ms: 5, memory_mib: 16);
