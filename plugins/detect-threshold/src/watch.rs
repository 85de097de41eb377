//! What is remembered of one series: how long each limit has been passed, and whether that is a finding by now.

use std::collections::BTreeMap;

use heald_plugin::{Finding, Sample, Series};
use serde::{Deserialize, Serialize};

use crate::config::{Rule, Step};

/// So many samples without the metric, and an old finding about it is no longer believed. One or two gaps are ordinary: a
/// probe that times out measures nothing.
const GAP: u32 = 3;

/// Series to what is remembered of it.
pub type Memory = BTreeMap<String, Watch>;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Which life of the process it saw last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    life: Option<u64>,
    /// Which steps are beyond their limit, by metric and the step's place.
    marks: BTreeMap<String, BTreeMap<usize, Mark>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    /// Samples in a row beyond the limit.
    run: u32,
    /// It is a finding.
    found: bool,
    /// What was measured last.
    last: f64,
    /// Samples since.
    gap: u32,
}

impl Watch {
    /// Takes in what it has not seen of a series.
    pub fn look(&mut self, series: &Series, rules: &[Rule]) {
        for sample in series.unseen(!self.is_blank()) {
            if sample.incarnation.is_some() && self.life != sample.incarnation {
                // Another process: what the one before did says nothing of it.
                self.marks.clear();
                self.life = sample.incarnation;
            }
            for rule in rules {
                self.look_at(series, sample, rule);
            }
        }
    }

    fn look_at(&mut self, series: &Series, sample: &Sample, rule: &Rule) {
        let value = series.value(sample, &rule.metric);
        if value.is_none() && !self.marks.contains_key(&rule.metric) {
            return;
        }
        let marks = self.marks.entry(rule.metric.clone()).or_default();
        for (place, step) in rule.steps.iter().enumerate() {
            let next = marks.remove(&place).unwrap_or_default().after(value, step);
            if next.run > 0 || next.found {
                marks.insert(place, next);
            }
        }
        if marks.is_empty() {
            self.marks.remove(&rule.metric);
        }
    }

    /// What holds now: of each condition the most severe step.
    pub fn findings(&self, series: &Series, rules: &[Rule]) -> Vec<Finding> {
        let mut found = Vec::new();
        for rule in rules {
            let Some(marks) = self.marks.get(&rule.metric) else { continue };
            for (place, step) in rule.steps.iter().enumerate() {
                if let Some(mark) = marks.get(&place).filter(|mark| mark.found) {
                    found.push(finding(series, rule, step, mark));
                }
            }
        }
        found
    }

    /// It remembers nothing, and need not be kept.
    pub fn is_blank(&self) -> bool {
        self.life.is_none() && self.marks.is_empty()
    }
}

impl Mark {
    fn after(self, value: Option<f64>, step: &Step) -> Self {
        let Some(value) = value else {
            let gap = self.gap.saturating_add(1);
            return if gap < GAP { Self { gap, ..self } } else { Self::default() };
        };
        let (beyond, cleared) = match (step.limit, step.below) {
            (Some(limit), _) => (value > limit, step.clear_below.map_or(value <= limit, |clear| value < clear)),
            (None, Some(below)) => (value < below, step.clear_above.map_or(value >= below, |clear| value > clear)),
            (None, None) => (false, true),
        };
        let run = if beyond { self.run.saturating_add(1) } else { 0 };
        let found = (self.found && !cleared) || run >= step.run.max(1);
        Self { run, found, last: value, gap: 0 }
    }
}

fn finding(series: &Series, rule: &Rule, step: &Step, mark: &Mark) -> Finding {
    let limit = step.limit.or(step.below).unwrap_or_default();
    let side = if step.limit.is_some() { "above" } else { "below" };
    let unit = match rule.metric.as_str() {
        "cpu" | "memory" => " %",
        "latency_ms" => " ms",
        _ => "",
    };
    let name = rule.metric.trim_end_matches("_ms");
    let message = match step.clear_below.or(step.clear_above) {
        Some(clear) if mark.run == 0 => {
            format!("{name} is {}{unit}, not yet back from beyond {limit}{unit} to {clear}{unit}", mark.last)
        }
        _ => format!("{name} is {}{unit}, {side} its limit of {limit}{unit}", mark.last),
    };
    let found = Finding::new(rule.condition(step), step.severity, message).about(series.subject());
    found.crossed(&rule.metric, mark.last, limit)
}
