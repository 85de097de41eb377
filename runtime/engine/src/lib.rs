//! The healing loop and its judgement.
//!
//! Read [`heal`] first. What judges is pure and synchronous; time and randomness are arguments; the world is behind the
//! traits in [`ports`].
#![forbid(unsafe_code)]

pub mod compare;
pub mod config;
mod context;
pub mod correlate;
mod detect;
mod flapping;
pub mod guard;
pub mod heal;
mod incidents;
pub mod learn;
pub mod ledger;
mod looks;
pub mod native;
pub mod operator;
mod outage;
pub mod plugin_chain;
pub mod plugin_handle;
mod policies;
pub mod ports;
pub mod proof_window;
mod prove;
pub mod quarantine;
mod remediate;
pub mod sample_window;
mod service;

pub use config::HealingConfig;
pub use heal::{Healer, Past, Ports};
pub use plugin_chain::{PluginChain, PluginSlot};
pub use service::ServiceSetup;
pub use service::list::ServiceList;
