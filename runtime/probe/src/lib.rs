//! Native checks: http, tcp, exec and process metrics. Each check becomes a [`heald_model::Sample`].
//!
//! Read [`prober`] first: it is the handle that the rest of heald holds. One thread runs every check. [`schedule`] says when a
//! check is due, [`prepared`] dispatches it to the module of its kind, and [`monitor`] combines the checks of one service into
//! its circuit, its health and the incarnation that they saw. This crate refuses to decide what to do about a failing
//! service, and to start or stop anything but its own exec checks.
#![forbid(unsafe_code)]

mod body;
pub mod config;
mod exec;
mod http;
pub mod lateness;
mod machine;
mod monitor;
mod net;
mod ports;
mod prepared;
pub mod prober;
mod proc;
mod process;
mod result;
mod schedule;
mod service;
mod state;
mod status;
mod validate;

pub use config::{ProbeConfig, ProbeKind, ProbeProblem};
pub use heald_breaker::BreakerConfig;
pub use lateness::Lateness;
pub use ports::{ProberPorts, StatusChange};
pub use prober::{ProbeError, Prober};
pub use service::ServiceProbes;
pub use status::StatusSet;
pub use validate::validate;
