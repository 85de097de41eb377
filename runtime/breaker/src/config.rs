//! The `[breaker]` table of a service: its settings and their rules.

use std::fmt;
use std::time::Duration;

use heald_model::time::text;
use serde::{Deserialize, Serialize};

/// The longest open time where nothing else is said.
const LONGEST: Duration = Duration::from_secs(60);

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
    /// The longest time that the circuit stays open. None, written `"auto"`: a minute, or what whoever makes the circuit knows to be
    /// better ([`BreakerConfig::or_longest`]).
    #[serde(with = "auto")]
    pub open_max: Option<Duration>,
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
            open_max: None,
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
            ("open_max", self.open_max.is_none_or(|longest| longest >= self.open), "must be at least as long as open"),
            ("growth", self.growth.is_finite() && self.growth >= 1.0, "must be a number from 1 up"),
            ("jitter", (0.0..=1.0).contains(&self.jitter), "must be a number from 0 to 1"),
        ];
        rules
            .into_iter()
            .filter(|(_, kept, _)| !kept)
            .map(|(field, _, message)| BreakerProblem { field, message: message.to_owned() })
            .collect()
    }

    /// The same settings with this longest open time, if they name none.
    #[must_use]
    pub fn or_longest(self, longest: Duration) -> Self {
        Self { open_max: self.open_max.or(Some(longest.max(self.open))), ..self }
    }

    /// How long the circuit stays open at its `nth` opening in a row (from 0). `roll` is a random number.
    pub(crate) fn open_for(&self, nth: u32, roll: u64) -> Duration {
        let first = self.open.as_secs_f64();
        let longest = self.open_max.unwrap_or(LONGEST).max(self.open);
        let grown =
            (first * self.growth.max(1.0).powi(i32::try_from(nth).unwrap_or(i32::MAX))).min(longest.as_secs_f64());
        // 53 bits of the random number, because a double has no more.
        let share = (roll >> 11) as f64 / (1_u64 << 53) as f64;
        let jittered = first + (grown - first) * (1.0 - self.jitter.clamp(0.0, 1.0) * share);
        Duration::try_from_secs_f64(jittered).unwrap_or(longest)
    }
}

/// A duration as text, or `auto`.
mod auto {
    use std::time::Duration;

    use heald_model::time::text;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    const AUTO: &str = "auto";

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Seconds(f64),
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        match Written::deserialize(from)? {
            Written::Text(word) if word == AUTO => Ok(None),
            Written::Text(word) => text::parse(&word).map(Some).map_err(D::Error::custom),
            Written::Seconds(number) => text::parse(&number.to_string()).map(Some).map_err(D::Error::custom),
        }
    }

    #[allow(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(longest: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&longest.map_or_else(|| AUTO.to_owned(), text::format))
    }
}
