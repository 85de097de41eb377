//! The healing loop and its judgement.
//!
//! Read [`heal`] first. What judges is pure and synchronous; time and randomness are arguments; the world is behind the
//! traits in [`ports`].
#![forbid(unsafe_code)]

pub mod calls;
pub mod compare;
pub mod config;
pub mod consult;
mod context;
pub mod control;
pub mod correlate;
mod detect;
pub mod guard;
pub mod heal;
mod incidents;
pub mod learn;
pub mod ledger;
pub mod native;
pub mod operator;
pub mod order;
pub mod plugin_chain;
pub mod plugin_handle;
pub mod plugins;
mod policies;
pub mod ports;
mod prove;
pub mod quarantine;
mod remediate;
pub mod sample_window;
mod service;
pub mod status;
pub mod verify;

pub use config::HealingConfig;
pub use consult::{Consultants, Profile};
pub use heal::{Healer, Past, Ports};
pub use plugin_chain::{Cast, Member};
pub use service::Charge;
pub use service::list::ServiceList;
