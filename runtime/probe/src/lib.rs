//! Native checks: http, tcp, exec and process metrics. What they see becomes [`heald_model::Sample`]s.
//!
//! Read [`prober`] first: the handle that the rest of heald holds. Behind it one thread runs every check ([`schedule`] says
//! when, the modules named after the kinds say how) and [`monitor`] keeps what the checks of a service mean together: its circuit,
//! its health, and which life of the process they looked at. This crate refuses to decide what to do about a failing
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
mod prepared;
pub mod prober;
mod proc;
mod process;
mod result;
mod schedule;
mod state;
mod status;

pub use config::{Kind, ProbeConfig, Problem};
pub use heald_breaker::BreakerConfig;
pub use lateness::Lateness;
pub use monitor::Change;
pub use prober::{Outside, ProbeError, Prober, ServiceProbes};
pub use status::StatusSet;
