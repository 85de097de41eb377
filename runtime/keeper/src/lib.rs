//! The keeper: the small process that owns the children, so that the large runtime may die.
//!
//! `heald run` is two processes. The keeper starts, reaps and signals every supervised process and alone writes their
//! logs. It remembers exits until they are on record, and restarts the runtime when that dies or falls silent. The
//! runtime (probes, plug-ins, journal, API) makes all decisions and sends commands to the keeper over a socket
//! ([`protocol`]). So the runtime can crash, hang, be killed or be upgraded without effect on a child.
//!
//! The keeper decides nothing, with one exception: after ten seconds without a runtime it applies the fallback of each
//! child, unless an operator has halted all healing, or paused or stopped the service. If keeper and runtime both die, the next keeper finds the survivors by its ledger and adopts them. Two
//! children never run in one slot.
//!
//! Start reading at [`run`], then `keeper.rs` (the loop) and `children.rs` (the slots).

#![deny(unsafe_code)]

mod child_ledger;
mod children;
pub mod client;
mod clock;
mod fallback;
mod identity;
mod keeper;
mod kernel;
mod link;
mod logs;
mod options;
mod poll;
pub mod protocol;
mod restart_policy;
mod runtime;
mod spawn;

pub use keeper::run;
pub use options::{KeeperError, Options};
pub use runtime::{Image, Runtime};
