//! What people and programs may ask of a running heald. The REST API and the command line are two views of this one trait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use heald_model::{Decision, Desired, Finding, Offer, ServiceName};
use serde::Serialize;

use crate::heal::Healer;
pub use crate::order::{Order, OrderError, OrderOutcome as Done};
pub use crate::status::ServiceStatus;

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
    async fn reset(&self, service: &ServiceName, by: &str) -> Result<(), OrderError>;
    /// Allows the next disruptive action of a service whose mode is `approve`.
    async fn approve(&self, service: &ServiceName, by: &str) -> Result<(), OrderError>;
    /// Stops (true) or resumes (false) all healing: the kill switch. Messages still pass.
    fn halt(&self, halted: bool, by: &str);
    /// Whether all healing is stopped.
    fn halted(&self) -> bool;
}

#[async_trait]
impl Control for Arc<Healer> {
    fn services(&self) -> Vec<ServiceStatus> {
        self.operator().services()
    }

    fn offers(&self) -> Vec<(ServiceName, Offer)> {
        self.operator().offers()
    }

    async fn order(&self, order: Order) -> Result<Done, OrderError> {
        self.operator().order(order).await
    }

    async fn wish(&self, service: &ServiceName, desired: Desired, by: &str) -> Result<(), OrderError> {
        self.operator().set_desired(service, desired, by).await
    }

    async fn reset(&self, service: &ServiceName, by: &str) -> Result<(), OrderError> {
        self.operator().reset(service, by).await
    }

    async fn approve(&self, service: &ServiceName, by: &str) -> Result<(), OrderError> {
        self.operator().approve(service, by).await
    }

    fn halt(&self, halted: bool, by: &str) {
        self.operator().halt(halted, by);
    }

    fn halted(&self) -> bool {
        self.operator().is_halted()
    }
}
