//! What people and programs may ask of a running heald. The REST API and the command line are two views of this one trait.

use std::collections::BTreeSet;

use async_trait::async_trait;
use heald_model::{Desired, Offer, Order, OrderError, OrderOutcome, ServiceName, ServiceStatus};

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
    async fn order(&self, order: Order) -> Result<OrderOutcome, OrderError>;
    /// Sets what is wanted of a service, durably, and sees to it.
    async fn set_desired(&self, service: &ServiceName, desired: Desired, by: &str) -> Result<(), OrderError>;
    /// Forgets back-off, start limit, cooldowns and exhausted attempts of a service.
    async fn reset(&self, service: &ServiceName, by: &str) -> Result<(), OrderError>;
    /// Allows the next disruptive action of a service whose mode is `approve`.
    async fn approve(&self, service: &ServiceName, by: &str) -> Result<(), OrderError>;
    /// Stops (true) or resumes (false) all healing: the kill switch. Messages still pass.
    async fn halt(&self, halted: bool, by: &str) -> Result<(), OrderError>;
    /// Whether all healing is stopped.
    fn halted(&self) -> bool;
}
