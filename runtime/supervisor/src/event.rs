//! The processes of services as the supervisor reports them, and its events. Plain data.

use std::time::Duration;

use heald_keeper::protocol::{ChildOrigin, End};
use heald_model::{Moment, ServiceName};

/// One incarnation of one replica of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaProcess {
    /// The service.
    pub service: ServiceName,
    /// The replica, from 0.
    pub replica: u32,
    /// The incarnation, counted from 1 across all restarts of heald.
    pub incarnation: u64,
    /// The spawn id.
    pub spawn: String,
    /// The process id; of an ended process, the one it had.
    pub pid: u32,
    /// When this incarnation began.
    pub started: Moment,
    /// Whether it was reported ready.
    pub ready: bool,
    /// Why the keeper has the process.
    pub origin: ChildOrigin,
    /// The configuration of the service has changed since the process was started.
    pub outdated: bool,
    /// How the process ended, if it has.
    pub ended: Option<Ended>,
}

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// When it ended.
    pub at: Moment,
    /// It was asked to end, so this is no failure, whatever the exit code.
    pub asked: bool,
}

impl ReplicaProcess {
    /// Whether the process lives.
    pub fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    /// How long the process lived, once it has ended.
    pub fn uptime(&self) -> Option<Duration> {
        self.ended.as_ref().map(|ended| ended.at.since(self.started))
    }

    /// How often this replica has been started again.
    pub fn restarts(&self) -> u64 {
        self.incarnation.saturating_sub(1)
    }
}

/// An event of the supervised processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEvent {
    /// The process was started.
    Started(ReplicaProcess),
    /// The process was reported ready.
    Ready(ReplicaProcess),
    /// The process has ended, and its process group is gone. The keeper repeats this to the next runtime until
    /// [`Supervisor::acknowledge`](crate::Supervisor::acknowledge) says that it is on record.
    Exited(ReplicaProcess),
    /// The keeper reports an error of its own, such as a log that cannot be written.
    Notice(String),
}
