//! What is said about processes.

use std::time::Duration;

use heald_keeper::protocol::{End, Origin};
use heald_model::{Moment, ServiceName};

/// One life of one copy of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The service.
    pub service: ServiceName,
    /// Which copy, from 0.
    pub replica: u32,
    /// Which life, counted from 1 over all restarts of heald.
    pub incarnation: u64,
    /// The id it was spawned under.
    pub spawn: String,
    /// Its process id; of a process that has ended, the one it had.
    pub pid: u32,
    /// When this life began.
    pub started: Moment,
    /// Whether it was said to be ready.
    pub ready: bool,
    /// How it came to be.
    pub origin: Origin,
    /// It was started with another configuration than the service has now.
    pub outdated: bool,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
}

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub end: End,
    /// When.
    pub at: Moment,
    /// It was asked to: no failure, whatever its exit code.
    pub asked: bool,
}

impl Process {
    /// Whether it lives.
    pub fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    /// How long it lived, as long as that is known to be over.
    pub fn uptime(&self) -> Option<Duration> {
        self.ended.as_ref().map(|ended| ended.at.since(self.started))
    }

    /// How often this copy has been started again.
    pub fn restarts(&self) -> u64 {
        self.incarnation.saturating_sub(1)
    }
}

/// News.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It runs its program.
    Started(Process),
    /// It was said to be ready.
    Ready(Process),
    /// It has ended, and nothing is left of its process group. The keeper tells this again to the next runtime until
    /// [`Supervisor::acknowledge`](crate::Supervisor::acknowledge) says that it is on record.
    Exited(Process),
    /// The keeper reports a trouble of its own, in words: a log that cannot be written.
    Notice(String),
}
