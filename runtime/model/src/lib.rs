//! The words of heald as plain data.
//!
//! Every crate speaks in these nouns. Nothing here does I/O, knows the time, or rolls dice; the only behaviour is what a
//! record means: [`incident::Incident::apply`] is the one place that says what a journal record does to an incident, so the
//! engine's memory, the store's projection and a resume after a crash cannot disagree.
#![forbid(unsafe_code)]

pub mod action;
pub mod call;
pub mod decision;
pub mod fact;
pub mod finding;
pub mod id;
pub mod incident;
pub mod journal;
pub mod order;
pub mod plugin;
pub mod process;
pub mod sample;
pub mod service;
mod stage;
pub mod time;

pub use action::{ActionInfo, Attempt, Class, Ending, Intent, Offer, Outcome, Proof, Receipt};
pub use call::{
    Answer, Blob, CallInput, CallQuery, CallResult, Checkpoint, HostCall, NumberedCall, Observation, PluginCall,
    PluginSettings, Question, Recording, SlotMode, TapeEntry, Verdict, Window, call_seed,
};
pub use decision::{Alternative, Choice, Decision, Experience, Proposal, Ruling};
pub use fact::{Fact, Scalar};
pub use finding::{Concern, Finding, Severity};
pub use id::{IncidentId, IntentId, PROCESS_PROBE, PluginName, ProbeId, Replica, ServiceName, Signature};
pub use incident::{Event, Incident};
pub use journal::{Entry, JournalError, Record, Row};
pub use order::{Order, OrderError, OrderOutcome};
pub use plugin::{Agreement, Difference, Fault, FaultCause, PluginRef, Quarantine, Source};
pub use process::ProcessState;
pub use sample::{Role, Sample, Series};
pub use service::{Breaker, Dependency, Desired, Health, Mode, ProbeSpec, ServiceSpec, ServiceStatus, ServiceView};
pub use stage::Stage;
pub use time::Moment;
