//! Asking the plug-ins what they make of some metrics.

use std::collections::BTreeMap;

use async_trait::async_trait;
use heald_model::{Decision, Finding};
use serde::Serialize;

/// What the plug-ins make of some metrics, without anything being done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Consultation {
    /// What the detectors found.
    pub findings: Vec<Finding>,
    /// What the policies answered.
    pub decision: Decision,
}

/// Metrics to judge, as a program sends them or as the machine has them now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// The service's own word (`UP`, `DOWN`, `ERROR`), if given.
    pub reported: Option<String>,
    /// `cpu`, `memory`, `disk` in percent, `error_rate` 0..1, `latency_ms`, or custom ones.
    pub values: BTreeMap<String, f64>,
}

/// Why a consultation gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsultError {
    /// No such profile is configured.
    #[error("no consultation profile is named `{name}`; configured: {}", .known.join(", "))]
    NoProfile {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

/// Asking the plug-ins what they would make of some metrics. A profile names the detectors and policies to ask; a fault of
/// theirs is answered by the native rules, as in the loop.
#[async_trait]
pub trait Consult: Send + Sync {
    /// Judges the metrics. Nothing is done and nothing is journalled.
    async fn consult(&self, profile: &str, metrics: Metrics) -> Result<Consultation, ConsultError>;
}
