//! What people and programs may ask of a running heald. The REST API and the command line are two views of this one trait.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use heald_model::{Breaker, Decision, Desired, Finding, IncidentId, Intent, Mode, Offer, Outcome, ServiceName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ports::{JournalError, ProcessState};

/// How a service stands, in one object.
#[derive(Clone, Debug)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// Whether it serves; None: not known, or not wanted.
    pub up: Option<bool>,
    /// Its circuit.
    pub breaker: Breaker,
    /// What the operator wants of it.
    pub desired: Desired,
    /// How decisions about it are treated.
    pub mode: Mode,
    /// Its processes, if heald runs them.
    pub processes: Vec<ProcessState>,
    /// Its open incidents, the leading one first.
    pub incidents: Vec<IncidentId>,
    /// What it needs.
    pub depends_on: Vec<ServiceName>,
    /// The operator's tags.
    pub tags: Vec<String>,
}

/// An operator asks for an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// On which service.
    pub service: ServiceName,
    /// Which action.
    pub action: String,
    /// With what.
    #[serde(default)]
    pub parameters: Value,
    /// Who asks.
    pub by: String,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// What was intended.
    pub intent: Intent,
    /// What the action claimed.
    pub summary: String,
    /// What the probes showed; None: nobody waited for it.
    pub outcome: Option<Outcome>,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such service.
    #[error("no service is named `{0}`")]
    NoService(ServiceName),
    /// Nobody offers the action.
    #[error("Unknown action received: {action}")]
    NoAction {
        /// What was asked for.
        action: String,
        /// What is on offer for the service.
        offered: Vec<String>,
    },
    /// The guard withheld it.
    #[error("withheld by the guard ({rule}): {why}")]
    Withheld {
        /// The rule.
        rule: String,
        /// Its words.
        why: String,
    },
    /// Its parameters do not fit.
    #[error("bad parameters: {0}")]
    BadParameters(String),
    /// There is nothing that it could apply to now.
    #[error("{0}")]
    NothingToDo(String),
    /// It was tried and did not work.
    #[error("{0}")]
    Failed(String),
    /// The journal would not take it.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

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

/// The running healer, as its users see it.
#[async_trait]
pub trait Control: Send + Sync {
    /// Every service.
    fn services(&self) -> Vec<ServiceStatus>;
    /// Every action that exists for a service, with the service.
    fn offers(&self) -> Vec<(ServiceName, Offer)>;
    /// The actions that some service is offered, by name.
    fn actions(&self) -> BTreeSet<String> {
        self.offers().into_iter().map(|(_, offer)| offer.action.name).collect()
    }
    /// Carries an order out, under the guard, and returns when the action has claimed success. Verification goes on by itself.
    async fn order(&self, order: Order) -> Result<Done, OrderError>;
    /// Sets what is wanted of a service, durably, and sees to it.
    async fn wish(&self, service: &ServiceName, desired: Desired, by: &str) -> Result<(), OrderError>;
    /// Forgets back-off, start limit, cooldowns and exhausted attempts of a service.
    fn reset(&self, service: &ServiceName, by: &str) -> Result<(), OrderError>;
    /// Allows the next disruptive action of a service whose mode is `approve`.
    fn approve(&self, service: &ServiceName, by: &str) -> Result<(), OrderError>;
    /// Stops (true) or resumes (false) all healing: the kill switch. Messages still pass.
    fn halt(&self, halted: bool, by: &str);
    /// Whether all healing is stopped.
    fn halted(&self) -> bool;
}
