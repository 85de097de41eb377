//! The `[breaker]` table of a service: its settings and their rules.

use std::fmt;
use std::time::Duration;

use heald_model::time::text;
use serde::{Deserialize, Serialize};

/// When a circuit opens, for how long, and what closes it again.
///
/// A fixed open time is `open = "60s"`, `open_max = "60s"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// False: the circuit only counts and never opens.
    pub enabled: bool,
    /// How many failures in a row open the circuit.
    pub failure_threshold: u32,
    /// How many successes in a row close a half-open circuit.
    pub success_threshold: u32,
    /// How long the circuit stays open the first time.
    #[serde(with = "text")]
    pub open: Duration,
    /// The longest time that the circuit stays open.
    #[serde(with = "text")]
    pub open_max: Duration,
    /// The factor by which the open time grows with each opening without a closing in between.
    pub growth: f64,
    /// The share (0 to 1) of the grown part of the open time that chance may take away. The first opening and a fixed
    /// open time have no grown part, so they are exact.
    pub jitter: f64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_threshold: 5,
            success_threshold: 2,
            open: Duration::from_secs(1),
            open_max: Duration::from_secs(60),
            growth: 2.0,
            jitter: 0.1,
        }
    }
}

/// A setting of the breaker that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerProblem {
    /// The field.
    pub field: &'static str,
    /// What is allowed.
    pub message: String,
}

impl fmt::Display for BreakerProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl BreakerConfig {
    /// Every setting that is wrong; empty if there is none.
    pub fn validate(&self) -> Vec<BreakerProblem> {
        let rules = [
            ("failure_threshold", self.failure_threshold >= 1, "must be at least 1"),
            ("success_threshold", self.success_threshold >= 1, "must be at least 1"),
            ("open", !self.open.is_zero(), "must be longer than 0s"),
            ("open_max", self.open_max >= self.open, "must be at least as long as open"),
            ("growth", self.growth.is_finite() && self.growth >= 1.0, "must be a number from 1 up"),
            ("jitter", (0.0..=1.0).contains(&self.jitter), "must be a number from 0 to 1"),
        ];
        rules
            .into_iter()
            .filter(|(_, kept, _)| !kept)
            .map(|(field, _, message)| BreakerProblem { field, message: message.to_owned() })
            .collect()
    }

    /// How long the circuit stays open at its `nth` opening in a row (from 0). `roll` is a random number.
    pub(crate) fn open_for(&self, nth: u32, roll: u64) -> Duration {
        let first = self.open.as_secs_f64();
        let longest = self.open_max.max(self.open).as_secs_f64();
        let grown = (first * self.growth.max(1.0).powi(i32::try_from(nth).unwrap_or(i32::MAX))).min(longest);
        // 53 bits of the random number, because a double has no more.
        let share = (roll >> 11) as f64 / (1_u64 << 53) as f64;
        let jittered = first + (grown - first) * (1.0 - self.jitter.clamp(0.0, 1.0) * share);
        Duration::try_from_secs_f64(jittered).unwrap_or(self.open_max)
    }
}
