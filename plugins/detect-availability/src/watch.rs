//! What is remembered of one series: its runs, its last failure, and its history of changes.

use std::collections::BTreeMap;

use heald_plugin::{Finding, Sample, Series, Severity};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Flapping, Meaning};
use crate::flap::History;

/// Series to what is remembered of it.
pub type Memory = BTreeMap<String, Watch>;

/// Faults that are the end of a process, so that one is enough.
const GONE: [&str; 3] = ["exit", "signal", "missing"];

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Which life of the process it saw last.
    life: Option<u64>,
    /// Failures in a row, and successes in a row.
    failures: u32,
    successes: u32,
    /// Enough failures in a row, and not enough successes since.
    failing: bool,
    /// The service calls itself degraded.
    degraded: Option<String>,
    flapping: bool,
    history: History,
    /// The failure that was seen last.
    cause: Option<Cause>,
}

/// What a failing sample said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cause {
    fault: String,
    status: Option<i32>,
    word: Option<String>,
}

impl Watch {
    /// Takes in one sample.
    pub fn look(&mut self, sample: &Sample, series: &Series, config: &Config) {
        if sample.incarnation.is_some() && self.life != sample.incarnation {
            // Another process has its own runs. That the service failed stands until it is seen to answer again.
            self.life = sample.incarnation;
            self.failures = 0;
            self.successes = 0;
        }
        let Some(passed) = sample.ok else { return };
        let meaning = config.words.meaning(sample);
        // A probe that asks for numbers only proves nothing about the service, but that its process is gone.
        let counts_only_ends = series.role == "metrics";
        match cause(sample, passed, meaning) {
            Some(cause) if !counts_only_ends || GONE.contains(&cause.fault.as_str()) => self.fail(cause, series),
            Some(_) => return,
            None => self.pass(series),
        }
        self.degraded = sample.reported.clone().filter(|_| passed && meaning == Meaning::Degraded);
        self.flap(config.flapping);
    }

    fn fail(&mut self, cause: Cause, series: &Series) {
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
        self.failing |= self.failures >= series.failure_threshold.max(1) || GONE.contains(&cause.fault.as_str());
        self.cause = Some(cause);
        self.history = self.history.after(true);
    }

    fn pass(&mut self, series: &Series) {
        self.successes = self.successes.saturating_add(1);
        self.failures = 0;
        self.failing &= self.successes < series.success_threshold.max(1);
        if !self.failing {
            self.cause = None;
        }
        self.history = self.history.after(false);
    }

    fn flap(&mut self, marks: Flapping) {
        let percent = self.history.percent();
        let mark = if self.flapping { marks.end } else { marks.begin };
        self.flapping = marks.begin > 0.0 && percent >= mark;
    }

    /// What holds now.
    pub fn findings(&self, series: &Series) -> Vec<Finding> {
        let mut found = Vec::new();
        if let Some(cause) = self.cause.as_ref().filter(|_| self.failing) {
            found.push(self.failure(cause, series));
        } else if series.role == "startup" && self.failures > 0 {
            let message = format!("{} has yet to answer, {} checks so far", series.probe, self.failures);
            found.push(Finding::new("starting", Severity::Info, message).about(series.subject()));
        } else if let Some(word) = &self.degraded {
            let message = format!("{} says it is {word}", series.probe);
            found.push(
                Finding::new("degraded", Severity::Warning, message)
                    .about(series.subject())
                    .with("reported", word.as_str()),
            );
        }
        if self.flapping {
            let percent = self.history.percent().round();
            let message = format!("{}: {percent} % of the last verdicts differ from the one before", series.probe);
            found.push(
                Finding::new("flapping", Severity::Warning, message)
                    .about(series.subject())
                    .with("change_percent", percent),
            );
        }
        found
    }

    fn failure(&self, cause: &Cause, series: &Series) -> Finding {
        let (condition, severity) = match series.role.as_str() {
            "readiness" => ("not-ready", Severity::Warning),
            "startup" => ("startup-failed", Severity::Critical),
            // liveness, what metrics prove, and roles to come: the careful reading is that it is down.
            _ => ("service-down", Severity::Critical),
        };
        let mut message = format!("{}: {}", series.probe, cause.text());
        if self.failures > 1 {
            message.push_str(&format!(", {} times in a row", self.failures));
        }
        let mut found = Finding::new(condition, severity, message)
            .about(series.subject())
            .with("cause", cause.fault.as_str())
            .with("failures", self.failures)
            .with("probe", series.probe.as_str());
        if let Some(status) = cause.status {
            found = found.with("status", status);
        }
        if let Some(word) = &cause.word {
            found = found.with("reported", word.as_str());
        }
        if self.flapping {
            found = found.with("flapping", true);
        }
        found
    }
}

/// Why this sample is a failure; none if it is none.
fn cause(sample: &Sample, passed: bool, meaning: Meaning) -> Option<Cause> {
    let fault = match (passed, meaning) {
        (true, Meaning::Down) => "body",
        (true, _) => return None,
        (false, _) => sample.fault.as_deref().unwrap_or("failed"),
    };
    Some(Cause { fault: fault.to_owned(), status: sample.status, word: sample.reported.clone() })
}

impl Cause {
    fn text(&self) -> String {
        let status = self.status.unwrap_or_default();
        match self.fault.as_str() {
            "refused" => "connection refused".to_owned(),
            "unreachable" => "not reachable".to_owned(),
            "dns" => "name not resolved".to_owned(),
            "tls" => "TLS failed".to_owned(),
            "timeout" => "no answer in time".to_owned(),
            "status" => format!("answers with status {status}"),
            "body" => match &self.word {
                Some(word) => format!("says it is {word:?}"),
                None => "does not say how it is".to_owned(),
            },
            "check" if status < 0 => format!("its check was killed by signal {}", status.unsigned_abs()),
            "check" => format!("its check exits with {status}"),
            "exit" => format!("exited with {status}"),
            "signal" => format!("killed by signal {}", status.unsigned_abs()),
            "missing" => "no such process".to_owned(),
            other => other.to_owned(),
        }
    }
}
