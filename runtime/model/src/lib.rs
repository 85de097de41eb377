//! The words of heald as plain data.
//!
//! Every crate speaks in these nouns. Nothing here does I/O, knows the time, or rolls dice; the only behaviour is what a
//! record means: [`incident::Incident::apply`] is the one place that says what a journal record does to an incident, so the
//! engine's memory, the store's projection and a resume after a crash cannot disagree.
#![forbid(unsafe_code)]

pub mod action;
pub mod decision;
pub mod fact;
pub mod finding;
pub mod id;
pub mod incident;
pub mod journal;
pub mod plugin;
pub mod sample;
pub mod service;
mod stage;
pub mod time;

pub use action::{ActionInfo, Attempt, Class, Ending, Intent, Offer, Outcome, Proof, Receipt};
pub use decision::{Alternative, Choice, Decision, Experience, Proposal, Ruling};
pub use fact::{Fact, Scalar};
pub use finding::{Concern, Finding, Severity};
pub use id::{IncidentId, IntentId, PROCESS_PROBE, PluginName, ProbeId, Replica, ServiceName, Signature};
pub use incident::{Event, Incident};
pub use journal::{Entry, Record, Row};
pub use plugin::{Fault, FaultCause, PluginRef, Source};
pub use sample::{Role, Sample, Series};
pub use service::{Breaker, Dependency, Desired, Health, Mode, ProbeSpec, ServiceSpec, ServiceView};
pub use stage::Stage;
pub use time::Moment;
