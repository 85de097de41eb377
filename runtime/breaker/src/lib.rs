//! The circuit breaker of a service's checks.
//!
//! A service that fails again and again is left alone for a while, a longer while each time, and then tried again. The
//! [`Circuit`] is a pure state machine: the time and the dice are arguments, and what it does is returned as a [`Move`]. It
//! refuses to check anything, to log, and to know why a check failed.
#![forbid(unsafe_code)]

mod circuit;
mod config;

pub use circuit::{Admission, Circuit, Move, Why};
pub use config::{BreakerConfig, Problem};
