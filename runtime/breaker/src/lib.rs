//! The circuit breaker for the checks of a service.
//!
//! A service that keeps failing is not checked for a while, and longer each time, before it is tried again. The
//! [`Circuit`] is a pure state machine: time and random numbers are arguments, and each change is returned as a
//! [`Transition`]. It refuses to make checks, to log, and to know why a check failed.
#![forbid(unsafe_code)]

mod circuit;
mod config;

pub use circuit::{Admission, Circuit, Transition, TransitionReason};
pub use config::{BreakerConfig, BreakerProblem};
