//! The healing loop and its judgement.
//!
//! Read [`heal`] first. What judges is pure and synchronous; time and randomness are arguments; the world is behind the
//! traits in [`ports`].
#![forbid(unsafe_code)]

pub mod calls;
pub mod config;
pub mod consultants;
pub mod control;
pub mod correlate;
pub mod guard;
pub mod heal;
pub mod learn;
pub mod ledger;
pub mod native;
mod operate;
pub mod plugins;
pub mod ports;
pub mod strikes;
pub mod treat;
pub mod verify;
mod ward;

pub use config::HealingConfig;
pub use heal::{Healer, Past, Ports};
pub use operate::{Consultants, Profile};
pub use ward::Charge;
