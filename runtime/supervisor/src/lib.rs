//! The runtime's half of supervision: it starts, stops and restarts the processes of services and reports their events,
//! as a client of the keeper.
//!
//! It never restarts anything by itself: whether an ended process comes back is decided by the healing loop. It keeps no
//! record: it learns everything from the keeper's hello, so it can end with the runtime and go on with the next.
//!
//! Start reading at [`Supervisor`]. [`config`] is the `[service.process]` section.
#![forbid(unsafe_code)]

mod account;
pub mod config;
mod connection;
mod environment;
mod event;
mod process_table;
mod supervisor;
mod terms;

pub use config::ProcessConfig;
pub use connection::ConnectionError;
pub use event::{Ended, ProcessEvent, ReplicaProcess};
pub use heald_keeper::protocol::{ChildOrigin, End, RestartHold};
pub use supervisor::Supervisor;
pub use terms::{Found, Options, SafeMode, Started, SupervisedService, SupervisorError, Which};
