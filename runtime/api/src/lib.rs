//! heald's outside face over HTTP.
//!
//! [`router`] turns the engine's ports into REST, an event stream and metrics; [`serve`] puts it on sockets. Handlers translate
//! and nothing more: what an order may do is the guard's business, what happened is the journal's. One handler per
//! concept: where two older systems spell one thing differently, the answer carries both spellings.
//!
//! It refuses pages of other sites that want to change something, names that are not its own, bodies that do not fit, and to show anybody a stack
//! trace.
#![forbid(unsafe_code)]

mod catalog;
mod config;
mod events;
mod failure;
mod health;
mod host;
mod incidents;
mod metrics;
mod operate;
mod orchestrate;
mod origin;
mod plugins;
mod request;
mod routes;
mod serve;
mod time;
mod view;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use heald_engine::control::{Consult, Control};
use heald_engine::plugins::Plugins;
use heald_engine::ports::{Board, History};
use tokio::sync::watch;

pub use crate::config::{BindError, ServerConfig};
pub use crate::routes::{ROUTES, Route, router};
pub use crate::serve::serve;

/// How far heald is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not all is up.
    #[default]
    Starting,
    /// At work.
    Ready,
    /// On its way out: streams end, nothing new should come.
    Draining,
}

/// All that the API shows and calls.
#[derive(Clone)]
pub struct Api {
    /// The running healer.
    pub control: Arc<dyn Control>,
    /// The plug-ins, asked without anything being done.
    pub consult: Arc<dyn Consult>,
    /// The plug-ins as they run.
    pub plugins: Arc<dyn Plugins>,
    /// The state of all checks.
    pub board: Arc<dyn Board>,
    /// The past.
    pub history: Arc<dyn History>,
    /// How far heald is.
    pub phase: watch::Receiver<Phase>,
    /// Whether the journal can be written.
    pub database: Arc<dyn Fn() -> bool + Send + Sync>,
    /// heald's version.
    pub version: &'static str,
    /// When it came up.
    pub started: Instant,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("version", &self.version)
            .field("phase", &*self.phase.borrow())
            .finish_non_exhaustive()
    }
}
