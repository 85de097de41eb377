//! heald's HTTP interface.
//!
//! [`router`] turns the engine's ports into REST, an event stream and metrics; [`serve()`] puts it on sockets. Handlers
//! only translate: the guard decides what an order may do, and the journal knows what happened. There is one handler per
//! concept. Where two older systems spell a thing differently, the answer has both spellings.
//!
//! It refuses changes by pages of other sites, host names that are not its own, and bodies that do not fit. It never
//! shows a stack trace.
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
use std::time::{Duration, Instant};

use heald_control::Plugins;
use heald_control::{Consult, Control};
use heald_control::{History, ProbeBoard};
use heald_model::Moment;
use tokio::sync::watch;

pub use crate::config::{BindError, ServerConfig};
pub use crate::routes::{ROUTES, Route, router};
pub use crate::serve::serve;

/// The phase of heald's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// heald is starting.
    #[default]
    Starting,
    /// heald is at work.
    Ready,
    /// heald is ending: streams end, and nothing new should come.
    Draining,
}

/// heald died repeatedly, so it uses no plug-in for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeMode {
    /// Why it began.
    pub why: String,
    /// When the plug-ins begin to come back, if heald does not die again.
    pub until: Moment,
    /// The how manieth in a row it is, from 1. Each lasts twice as long as the one before.
    pub times: u32,
    /// The plug-ins are coming back now, one by one.
    pub ending: bool,
}

/// Everything that the API shows and calls.
#[derive(Clone)]
pub struct Api {
    /// The engine's control.
    pub control: Arc<dyn Control>,
    /// Asks plug-ins without any effect.
    pub consult: Arc<dyn Consult>,
    /// The running plug-ins.
    pub plugins: Arc<dyn Plugins>,
    /// The state of all checks.
    pub board: Arc<dyn ProbeBoard>,
    /// Incidents, actions and journal rows.
    pub history: Arc<dyn History>,
    /// The phase of heald.
    pub phase: watch::Receiver<Phase>,
    /// Whether the journal can be written.
    pub database: Arc<dyn Fn() -> bool + Send + Sync>,
    /// For how long nothing was heard of the keeper, if that is too long: heald can then start and stop nothing.
    pub keeper_silent: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
    /// Safe mode, while it lasts.
    pub safe_mode: watch::Receiver<Option<SafeMode>>,
    /// heald's version.
    pub version: &'static str,
    /// When heald started.
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
