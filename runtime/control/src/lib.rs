//! What can be asked of a running heald, and what it answers. The REST API and the dashboard are views of these traits; probe, store
//! and platform implement theirs, the daemon implements [`Control`].
//!
//! | file | |
//! |---|---|
//! | `control` | orders of operators, and how the services stand |
//! | `board` | how the checks went |
//! | `history` | what the journal can tell |
//! | `plugins` | how the plug-ins fare, and what may be done with them |
//! | `consult` | what the plug-ins would make of some metrics |
//!
//! It holds no state and decides nothing. The engine does not know it.
#![forbid(unsafe_code)]

mod board;
mod consult;
mod control;
mod history;
mod plugins;

pub use board::{ProbeBoard, ProbeStatus};
pub use consult::{Consult, ConsultError, Consultation, Metrics};
pub use control::Control;
pub use history::{History, IncidentQuery, Page};
pub use plugins::{Divergence, PluginCounters, PluginError, PluginMode, PluginState, PluginStatus, Plugins};
