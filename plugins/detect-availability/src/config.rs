//! What the operator may write; all of it has a default.

use heald_plugin::{Problem, Sample};
use serde::Deserialize;

/// See the crate.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the service's own word means.
    pub words: Words,
    /// When a service is flapping.
    pub flapping: Flapping,
}

/// What the service says of itself (the JSON body's `status`, gRPC's serving status), upper or lower case alike.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Words {
    /// Down, whatever the status code says.
    pub down: Vec<String>,
    /// Not well, and not down.
    pub degraded: Vec<String>,
    /// If not empty: any word that is in none of the lists is down.
    pub up: Vec<String>,
    /// No word at all is down, of a probe that saw a status code: one that only connects cannot hear any.
    pub required: bool,
}

/// The two marks of flapping, in percent of the verdicts that changed. `begin = 0` never finds it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flapping {
    /// It flaps from here on.
    pub begin: f64,
    /// It is over below this.
    pub end: f64,
}

impl Default for Words {
    fn default() -> Self {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        Self {
            // Spring's, gRPC's, and what health endpoints are commonly seen to say.
            down: words(&[
                "down",
                "out_of_service",
                "not_serving",
                "unhealthy",
                "offline",
                "error",
                "fail",
                "failed",
                "critical",
            ]),
            degraded: words(&["degraded", "warn", "warning"]),
            up: Vec::new(),
            required: false,
        }
    }
}

impl Default for Flapping {
    fn default() -> Self {
        Self { begin: 50.0, end: 25.0 }
    }
}

/// What a word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Fine,
    Degraded,
    Down,
}

impl Words {
    pub(crate) fn meaning(&self, sample: &Sample) -> Meaning {
        let Some(word) = sample.reported.as_deref() else {
            return if self.required && sample.status.is_some() { Meaning::Down } else { Meaning::Fine };
        };
        let is_in = |list: &[String]| list.iter().any(|each| each.eq_ignore_ascii_case(word));
        if is_in(&self.degraded) {
            Meaning::Degraded
        } else if is_in(&self.down) || !(self.up.is_empty() || is_in(&self.up)) {
            Meaning::Down
        } else {
            Meaning::Fine
        }
    }
}

impl Config {
    pub(crate) fn check(self) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let Flapping { begin, end } = self.flapping;
        if !(0.0..=100.0).contains(&begin) {
            problems.push(Problem::at("/flapping/begin", "must be 0 to 100 percent"));
        }
        if begin > 0.0 && !(0.0..=begin).contains(&end) {
            problems.push(Problem::at("/flapping/end", "must be 0 up to `begin`"));
        }
        for word in &self.words.up {
            if self.words.down.iter().chain(&self.words.degraded).any(|each| each.eq_ignore_ascii_case(word)) {
                problems.push(Problem::at("/words/up", format!("{word:?} is also in another list")));
            }
        }
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }
}
