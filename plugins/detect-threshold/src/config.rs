//! What the operator writes, and what is refused of it.

use std::collections::BTreeMap;
use std::fmt;

use heald_plugin::{Problem, Severity};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// More samples in a row than anyone means; it bounds the window that is asked for.
const LONGEST_RUN: u32 = 1_000;
/// Without state, so much of the past tells whether a finding between its two limits was there before.
const HYSTERESIS_WINDOW: u32 = 30;

/// Metric name to its limits.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Config(BTreeMap<String, Steps>);

/// The limits of one metric.
#[derive(Debug)]
pub struct Rule {
    /// The metric.
    pub metric: String,
    /// At least one.
    pub steps: Vec<Step>,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Strictly more than this is too much.
    #[serde(default)]
    pub limit: Option<f64>,
    /// Strictly less than this is too little. Either this or `limit`.
    #[serde(default)]
    pub below: Option<f64>,
    /// How bad it is.
    #[serde(default = "error")]
    pub severity: Severity,
    /// The finding's condition; the usual name of the metric's trouble by default.
    #[serde(default)]
    pub condition: Option<String>,
    /// So many samples in a row must be beyond it.
    #[serde(default = "once", rename = "for")]
    pub run: u32,
    /// With `limit`: once found, it stays until the value is below this.
    #[serde(default)]
    pub clear_below: Option<f64>,
    /// With `below`: once found, it stays until the value is above this.
    #[serde(default)]
    pub clear_above: Option<f64>,
}

fn error() -> Severity {
    Severity::Error
}

fn once() -> u32 {
    1
}

impl Config {
    /// Every problem there is, or the rules.
    pub fn check(self) -> Result<Vec<Rule>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut rules = Vec::new();
        for (metric, Steps(steps)) in self.0 {
            let at = format!("/{}", metric.replace('~', "~0").replace('/', "~1"));
            if steps.is_empty() {
                problems.push(Problem::at(&at, "at least one limit is needed"));
            }
            problems.extend(steps.iter().flat_map(Step::problems).map(|message| Problem::at(&at, message)));
            rules.push(Rule { metric, steps });
        }
        if problems.is_empty() { Ok(rules) } else { Err(problems) }
    }
}

impl Rule {
    /// The condition that crossing this step is.
    pub fn condition(&self, step: &Step) -> String {
        if let Some(condition) = &step.condition {
            return condition.clone();
        }
        match (self.metric.as_str(), step.below) {
            (metric, Some(_)) => format!("low-{}", metric.replace('_', "-")),
            ("memory", None) => "memory-pressure".to_owned(),
            ("latency_ms", None) => "high-latency".to_owned(),
            // cpu and error_rate too: high-cpu, high-error-rate.
            (metric, None) => format!("high-{}", metric.replace('_', "-")),
        }
    }

    pub(crate) fn conditions(&self) -> impl Iterator<Item = String> {
        self.steps.iter().map(|step| self.condition(step))
    }

    pub(crate) fn window(&self) -> u32 {
        let needed = |step: &Step| match step.clear_below.or(step.clear_above) {
            Some(_) => step.run.max(HYSTERESIS_WINDOW),
            None => step.run,
        };
        self.steps.iter().map(needed).max().unwrap_or(1)
    }
}

impl Step {
    fn at(limit: f64) -> Self {
        Self {
            limit: Some(limit),
            below: None,
            severity: error(),
            condition: None,
            run: once(),
            clear_below: None,
            clear_above: None,
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        match (self.limit, self.below) {
            (Some(_), Some(_)) => problems.push("either `limit` or `below`, not both".to_owned()),
            (None, None) => problems.push("`limit` or `below` is needed".to_owned()),
            (Some(limit), None) => {
                if self.clear_above.is_some() {
                    problems.push("`clear_above` goes with `below`, here it is `clear_below`".to_owned());
                }
                if self.clear_below.is_some_and(|clear| clear > limit) {
                    problems.push("`clear_below` must not be above `limit`".to_owned());
                }
            }
            (None, Some(below)) => {
                if self.clear_below.is_some() {
                    problems.push("`clear_below` goes with `limit`, here it is `clear_above`".to_owned());
                }
                if self.clear_above.is_some_and(|clear| clear < below) {
                    problems.push("`clear_above` must not be under `below`".to_owned());
                }
            }
        }
        if !(1..=LONGEST_RUN).contains(&self.run) {
            problems.push(format!("`for` must be 1 to {LONGEST_RUN} samples"));
        }
        let kebab = |text: &String| {
            !text.is_empty()
                && text.chars().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '-')
        };
        if self.condition.as_ref().is_some_and(|condition| !kebab(condition)) {
            problems.push("`condition` must be lower-case words with dashes".to_owned());
        }
        problems
    }
}

/// A number, an object, or a list of these.
#[derive(Debug)]
struct Steps(Vec<Step>);

impl<'de> Deserialize<'de> for Steps {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(AnyForm)
    }
}

/// Not an untagged enum: that would lose the place of an error within.
struct AnyForm;

impl<'de> Visitor<'de> for AnyForm {
    type Value = Steps;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("a limit, an object with `limit` or `below`, or a list of these")
    }
    fn visit_f64<E: Error>(self, limit: f64) -> Result<Steps, E> {
        Ok(Steps(vec![Step::at(limit)]))
    }
    fn visit_u64<E: Error>(self, limit: u64) -> Result<Steps, E> {
        self.visit_f64(limit as f64)
    }
    fn visit_i64<E: Error>(self, limit: i64) -> Result<Steps, E> {
        self.visit_f64(limit as f64)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Steps, A::Error> {
        Step::deserialize(MapAccessDeserializer::new(map)).map(|step| Steps(vec![step]))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Steps, A::Error> {
        let each = Vec::<Steps>::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(Steps(each.into_iter().flat_map(|steps| steps.0).collect()))
    }
}
