//! What people and programs may ask of the running heald, handed to the engine's operator.

use async_trait::async_trait;
use heald_control::Control;
use heald_engine::operator::Operator;
use heald_model::{Desired, Offer, Order, OrderError, OrderOutcome, ServiceName, ServiceStatus};

/// The running heald behind the API.
pub struct RunningControl(pub Operator);

#[async_trait]
impl Control for RunningControl {
    fn services(&self) -> Vec<ServiceStatus> {
        self.0.services()
    }

    fn offers(&self) -> Vec<(ServiceName, Offer)> {
        self.0.offers()
    }

    async fn order(&self, order: Order) -> Result<OrderOutcome, OrderError> {
        self.0.order(order).await
    }

    async fn set_desired(&self, service: &ServiceName, desired: Desired, by: &str) -> Result<(), OrderError> {
        self.0.set_desired(service, desired, by).await
    }

    async fn reset(&self, service: &ServiceName, by: &str) -> Result<(), OrderError> {
        self.0.reset(service, by).await
    }

    async fn approve(&self, service: &ServiceName, by: &str) -> Result<(), OrderError> {
        self.0.approve(service, by).await
    }

    async fn halt(&self, halted: bool, by: &str) -> Result<(), OrderError> {
        self.0.halt(halted, by).await
    }

    fn halted(&self) -> bool {
        self.0.is_halted()
    }
}
