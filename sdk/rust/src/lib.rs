//! What a heald plug-in is written with.
//!
//! A plug-in is a type that implements [`Detector`], [`Policy`] or [`Action`], and one line that exports it. Configuration
//! arrives as a type of the author's own, memory is kept by the host and handed back typed, a panic is logged before it
//! traps, and all of it runs natively under `cargo test` with [`testing`].
//!
//! This is a whole detector:
//!
//! ```
//! use heald_plugin::{About, Detector, Error, Finding, Observation, Problem, Severity, Verdict};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct FullDisk {
//!     limit: f64,
//! }
//!
//! impl Detector for FullDisk {
//!     type Config = Self;
//!     type State = ();
//!     fn new(config: Self) -> Result<Self, Vec<Problem>> {
//!         Ok(config)
//!     }
//!     fn about(&self) -> About {
//!         About::conditions(["disk-full"])
//!     }
//!     fn evaluate(&self, seen: &Observation, _: &mut ()) -> Result<Verdict, Error> {
//!         let full = |series: &heald_plugin::Series| {
//!             let used = series.newest_value("disk_ratio").filter(|used| *used > self.limit)?;
//!             let message = format!("disk is {:.0} % full", used * 100.0);
//!             Some(Finding::new("disk-full", Severity::Error, message).about(&series.probe).crossed("disk_ratio", used, self.limit))
//!         };
//!         Ok(seen.series.iter().filter_map(full).collect())
//!     }
//! }
//! heald_plugin::detector!(FullDisk);
//!
//! // ... and this its test:
//! use heald_plugin::testing::{Scenario, sample};
//! let mut disk = Scenario::<FullDisk>::of(r#"{"limit": 0.9}"#);
//! assert!(disk.feed(sample().value("disk_ratio", 0.5)).findings.is_empty());
//! assert_eq!(disk.feed(sample().value("disk_ratio", 0.95)).findings[0].condition, "disk-full");
//! ```
//!
//! Its `Cargo.toml` says `crate-type = ["cdylib", "rlib"]`; `heald-plugin-build` makes the
//! component. Detectors and policies are built for `wasm32-unknown-unknown`, so that they import the contract's own
//! interfaces and nothing else; so is an action that sends requests ([`http`], a cargo feature), while one that needs files is built
//! for `wasm32-wasip2`.
//!
//! Rules that the host holds a plug-in to, and that this crate cannot: the same input gives the same answer (no clock, no
//! randomness but `now` and `seed`), a finding is repeated while it holds, and an instance may be thrown away at any time
//! without anything being lost but what was not in the state.
#![deny(unsafe_code)]

pub mod bindings;
pub mod duration;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "kv")]
pub mod kv;
pub mod log;
pub mod metadata;
#[cfg(any(feature = "process", feature = "process-control"))]
pub mod process;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

mod action;
mod config;
mod detector;
mod instance;
mod policy;
mod reading;
mod state;
mod writing;

pub use action::Action;
pub use detector::Detector;
pub use policy::Policy;
pub use state::{BadState, Json, State};

pub use bindings::action::exports::heald::plugin::act::{Plan, Receipt, Task};
pub use bindings::capabilities::heald::plugin::types::{
    ActionInfo, Attempt, Concern, Dependency, Ending, Error, Event, Experience, Fact, Finding, Incident, Metric, Offer,
    Outcome, Problem, Relative, Replicas, Sample, Scalar, Series, Service, Severity, Window, WindowMode,
};
pub use bindings::detector::exports::heald::plugin::detect::{About, Observation, Verdict};
pub use bindings::policy::exports::heald::plugin::decide::{
    About as PolicyAbout, Alternative, Choice, Decision, Proposal, Question,
};

/// What the export macros expand to; no part of the interface.
#[doc(hidden)]
pub mod glue {
    pub use crate::action::{check, perform, undo};
    pub use crate::detector::evaluate;
    pub use crate::instance::Slot;
    pub use crate::policy::decide;
}
