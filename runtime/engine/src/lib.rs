//! The healing loop and its judgement.
//!
//! Read [`heal`] first. What judges is pure and synchronous; time and randomness are arguments; the world is behind the
//! traits in [`ports`].
#![forbid(unsafe_code)]

pub mod agreement;
pub mod calls;
pub mod cast;
pub mod config;
pub mod consultants;
pub mod control;
pub mod correlate;
pub mod faults;
pub mod guard;
pub mod heal;
pub mod learn;
pub mod ledger;
pub mod native;
pub mod observe;
mod operate;
pub mod plugins;
pub mod ports;
pub mod replay;
pub mod shown;
pub mod strikes;
pub mod treat;
mod trials;
pub mod verify;
mod ward;

pub use cast::{Cast, Member};
pub use config::HealingConfig;
pub use heal::{Healer, Past, Ports};
pub use operate::{Consultants, Profile};
pub use ward::Charge;
