//! The keeper: the small process that owns the children, so that the large one may die.
//!
//! `heald run` is two processes. The keeper starts, reaps and signals every supervised process, is the only writer of their
//! logs, remembers how they ended until that is on record, and brings the runtime back when it dies or falls silent. The
//! runtime (probes, plug-ins, journal, API) decides everything and asks the keeper to do it, over a socket
//! ([`protocol`]). So the runtime can crash, hang, be killed or be upgraded without a child noticing.
//!
//! It decides nothing, with one exception: after ten seconds without a runtime it applies each child's last restart line.
//! If keeper and runtime both die, the next keeper finds the survivors by its ledger and adopts them; two copies never live
//! in one place.
//!
//! Start reading at [`run`], then `keeper.rs` (the loop), `children.rs` (who lives where).

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
