//! What a supervisor is given and what it answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heald_keeper::protocol::{Child, Place, Refusal, RuntimeEnd};
use heald_model::{Moment, ServiceName};

use crate::config::ProcessConfig;
use crate::connection::WireError;
use crate::event::Process;

/// A service whose processes heald runs.
#[derive(Debug, Clone)]
pub struct ServiceProcess {
    /// Its name.
    pub name: ServiceName,
    /// The services it needs, for the order of starting.
    pub depends_on: Vec<ServiceName>,
    /// Somebody will say when it is [`ready`](Supervisor::ready). Otherwise it is when it has lived for a second.
    pub probed: bool,
    /// How it is run.
    pub config: ProcessConfig,
}

/// How to supervise.
pub struct Options {
    /// Where the logs go that have no path of their own.
    pub log_dir: PathBuf,
    /// The time: later times are told on the same clock.
    pub now: Moment,
    /// How often the keeper is told that this runtime lives. Well below its patience of 10 s; 1 s.
    pub beat: Duration,
    /// Asked before each beat. A runtime whose loop is stuck should not claim to be alive.
    pub alive: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl Options {
    /// The defaults.
    pub fn new(log_dir: PathBuf, now: Moment) -> Self {
        Self { log_dir, now, beat: Duration::from_secs(1), alive: None }
    }
}

/// What the keeper said when this runtime came.
#[derive(Debug, Clone)]
pub struct Found {
    /// Processes that live. Those of [`Origin::Adopted`](crate::Origin) have lost their output and had better be replaced,
    /// one by one; outdated ones were started with another configuration.
    pub alive: Vec<Process>,
    /// Those that ended while no runtime was there (or before it was on record), oldest first. To be acknowledged.
    pub ended: Vec<Process>,
    /// Ends that the keeper had to forget.
    pub ends_forgotten: u64,
    /// The living of `alive` that are nobody's any more: their service, or their copy of it, is not configured.
    pub strangers: Vec<Process>,
    /// Native rules only: the runtimes before this one crashed.
    pub safe_mode: bool,
    /// How the runtime before this one ended, if this is not the first.
    pub previous: Option<RuntimeEnd>,
    /// How many runtimes this keeper has started.
    pub runtime_starts: u64,
    /// The keeper's PID.
    pub keeper: u32,
}

/// Which copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All that are wanted.
    All,
    /// This one.
    One(u32),
}

/// A copy that runs because of a start or restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Which copy.
    pub replica: u32,
    /// Which life of it.
    pub incarnation: u64,
    /// Its process id.
    pub pid: u32,
    /// Whether this very request started it. False: it ran already, or the same intent had started it before.
    pub fresh: bool,
}

impl Started {
    pub(crate) fn of(child: &Child, fresh: bool) -> Self {
        Self { replica: child.place.replica, incarnation: child.incarnation, pid: child.pid, fresh }
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// heald does not run it.
    #[error("heald runs no processes of service `{0}`")]
    NotSupervised(ServiceName),
    /// There is no such copy.
    #[error("service `{0}` has no copy {1}")]
    NoSuchReplica(ServiceName, u32),
    /// Its environment file cannot be used.
    #[error("cannot read {}", path.display())]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody is called that.
    #[error("user `{0}` is not in /etc/passwd")]
    User(String),
    /// The keeper would not.
    #[error("{0}")]
    Refused(Refusal),
    /// Killed, and still there.
    #[error("{place} (PID {pid}) was killed and does not end")]
    Stuck {
        /// Where it lives.
        place: Place,
        /// The process.
        pid: u32,
    },
    /// The keeper cannot be asked.
    #[error(transparent)]
    Keeper(#[from] WireError),
}
