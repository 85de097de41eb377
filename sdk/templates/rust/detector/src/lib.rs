//! Finds queues that are too long: a custom metric that was beyond a limit in several samples in a row.
//!
//! It remembers nothing. It asks heald for the last few samples at every call instead, so a restart of heald loses nothing.

use heald_plugin::{
    About, Detector, Error, Finding, Observation, Problem, Series, Severity, Verdict,
};
use serde::Deserialize;

/// The name under which heald knows what is found. Keep numbers out of it: it is what incidents are told apart by.
const CONDITION: &str = "queue-too-long";

/// What the operator may write. `config.schema.json` says the same to heald, which checks it first.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LongQueue {
    /// Which metric says how long the queue is.
    pub metric: String,
    /// Longer than this is too long ...
    pub limit: f64,
    /// ... in so many samples in a row.
    pub samples: u32,
}

impl Default for LongQueue {
    fn default() -> Self {
        Self {
            metric: "queue_length".to_owned(),
            limit: 100.0,
            samples: 3,
        }
    }
}

impl Detector for LongQueue {
    type Config = Self;
    /// Nothing is remembered from call to call. `Json<T>` would keep any serde type.
    type State = ();

    /// Called once for each instance. What no schema can say is checked here, all problems at once.
    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        if config.metric.is_empty() {
            return Err(vec![Problem::at(
                "/metric",
                "must name a metric, such as queue_length",
            )]);
        }
        Ok(config)
    }

    fn about(&self) -> About {
        // `sliding`: the newest samples at every call, whether they were seen before or not.
        About::conditions([CONDITION]).sliding(self.samples)
    }

    /// Every finding that holds now. One that is left out is over.
    fn evaluate(&self, seen: &Observation, _: &mut ()) -> Result<Verdict, Error> {
        // Two probes may watch the same queue: `most_severe` keeps one finding for each subject.
        Ok(Verdict::most_severe(
            seen.series.iter().filter_map(|series| self.judge(series)),
        ))
    }
}

impl LongQueue {
    fn judge(&self, series: &Series) -> Option<Finding> {
        let wanted = usize::try_from(self.samples).ok()?;
        let newest_first = series.samples.iter().rev().take(wanted);
        // A sample without the metric ends the row: not measured is not too long.
        let row: Vec<f64> = newest_first
            .map_while(|sample| series.value(sample, &self.metric))
            .collect();
        if row.len() < wanted || row.iter().any(|length| *length <= self.limit) {
            return None;
        }
        let length = *row.first()?;
        let message = format!(
            "the queue is {length} long, more than {} for {wanted} samples",
            self.limit
        );
        Some(
            Finding::new(CONDITION, Severity::Error, message)
                .about(series.subject())
                // Evidence in this form is what rules and people can compare: the value, and beside it the limit.
                .crossed(&self.metric, length, self.limit),
        )
    }
}

// Makes it a plug-in. Name, version and summary come from Cargo.toml.
heald_plugin::detector!(LongQueue, config: include_str!("../config.schema.json"));

#[cfg(test)]
mod tests {
    use heald_plugin::testing::{Scenario, problems, sample};

    use super::*;

    #[test]
    fn a_queue_that_stays_too_long_is_found_and_one_that_recovers_is_not() {
        let mut queue = Scenario::<LongQueue>::of(r#"{"limit": 10, "samples": 2}"#);
        assert!(
            queue
                .feed(sample().value("queue_length", 50.0))
                .findings
                .is_empty(),
            "once is not yet"
        );
        let verdict = queue.feed(sample().value("queue_length", 60.0));
        assert_eq!(verdict.findings[0].condition, CONDITION);
        assert_eq!(
            verdict.findings[0]
                .fact("queue_length.limit")
                .and_then(|limit| limit.number()),
            Some(10.0)
        );
        assert!(
            queue
                .feed(sample().value("queue_length", 3.0))
                .findings
                .is_empty(),
            "it is over"
        );
    }

    #[test]
    fn a_service_without_the_metric_is_no_business_of_it() {
        let mut queue = Scenario::<LongQueue>::of(r#"{"samples": 1}"#);
        assert!(queue.feed(sample().cpu(100.0)).findings.is_empty());
    }

    #[test]
    fn a_configuration_that_makes_no_sense_is_explained() {
        assert_eq!(
            problems(LongQueue::new, r#"{"metric": ""}"#)[0].at,
            "/metric"
        );
        assert_eq!(problems(LongQueue::new, r#"{"limt": 5}"#)[0].at, "/limt");
    }
}
