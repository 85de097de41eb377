//! The runtime's half of supervision: what a service's processes are, how they are started, stopped and restarted, and the
//! news of them, all as a client of the keeper.
//!
//! It never restarts anything by itself: that an ended process comes back is the healing loop's decision, like every other.
//! It keeps no record either; what it knows it has from the keeper's hello, so that it can die with the runtime and go on
//! with the next.
//!
//! Start reading at [`Supervisor`]. [`config`] is the `[service.process]` section.
#![forbid(unsafe_code)]

pub mod config;
mod connection;
mod environment;
mod event;
mod process_table;
mod supervisor;
mod terms;

pub use config::ProcessConfig;
pub use connection::WireError;
pub use event::{Ended, Event, Process};
pub use heald_keeper::protocol::{End, Origin};
pub use supervisor::Supervisor;
pub use terms::{Found, Options, ServiceProcess, Started, SupervisorError, Which};
