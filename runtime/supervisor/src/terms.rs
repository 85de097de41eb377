//! What a supervisor is given and what it returns. Plain data.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heald_keeper::protocol::{Child, KeeperRefusal, RuntimeEnd, SlotId};
use heald_model::{Moment, ServiceName};

use crate::config::ProcessConfig;
use crate::connection::ConnectionError;
use crate::event::ReplicaProcess;

/// A service whose processes heald runs.
#[derive(Debug, Clone)]
pub struct SupervisedService {
    /// The name.
    pub name: ServiceName,
    /// The services that must be ready before it starts.
    pub depends_on: Vec<ServiceName>,
    /// A probe reports when it is [`ready`](crate::Supervisor::ready). Otherwise it is ready when it has lived for a
    /// second.
    pub probed: bool,
    /// How its processes run.
    pub config: ProcessConfig,
}

/// The options of a supervisor.
pub struct Options {
    /// The directory of logs without a path of their own.
    pub log_dir: PathBuf,
    /// The current time. Later times are on the same clock.
    pub now: Moment,
    /// How often the keeper is told that this runtime lives. 1 s; it must be well below the keeper's limit of 10 s.
    pub beat: Duration,
    /// Asked before each heartbeat. A runtime whose loop is stuck must not claim to be alive.
    pub alive: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl Options {
    /// The defaults.
    pub fn new(log_dir: PathBuf, now: Moment) -> Self {
        Self { log_dir, now, beat: Duration::from_secs(1), alive: None }
    }
}

/// What the keeper reported when this runtime attached.
#[derive(Debug, Clone)]
pub struct Found {
    /// The living processes. Those of [`ChildOrigin::Adopted`](crate::ChildOrigin) have lost their output and should be
    /// replaced, one by one. Outdated ones were started with another configuration.
    pub alive: Vec<ReplicaProcess>,
    /// The processes that ended in the absence of a runtime, or whose end is not on record, oldest first. They must be
    /// acknowledged.
    pub ended: Vec<ReplicaProcess>,
    /// How many exits the keeper had to drop.
    pub ends_forgotten: u64,
    /// The processes of `alive` that are not configured any more: neither the service nor the replica.
    pub strangers: Vec<ReplicaProcess>,
    /// Only native rules may run for a while, because the previous runtimes died.
    pub safe_mode: Option<SafeMode>,
    /// What earlier runtimes [tried](crate::Supervisor::trying) when they died.
    pub suspects: BTreeSet<String>,
    /// All healing was halted when a runtime last told the keeper.
    pub halted: bool,
    /// How the previous runtime ended, if there was one.
    pub previous: Option<RuntimeEnd>,
    /// How many runtimes this keeper has started.
    pub runtime_starts: u64,
    /// The keeper's PID.
    pub keeper: u32,
}

/// Safe mode, as the keeper has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeMode {
    /// Why it began.
    pub why: String,
    /// When it ends, if no runtime dies meanwhile.
    pub until: Moment,
    /// The how manieth in a row it is, from 1.
    pub times: u32,
}

/// Which replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All configured replicas.
    All,
    /// This replica.
    One(u32),
}

/// A replica that runs because of a start or restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The replica.
    pub replica: u32,
    /// Its incarnation.
    pub incarnation: u64,
    /// The process id.
    pub pid: u32,
    /// Whether this request started it. False if it ran already, or if the same intent had started it before.
    pub fresh: bool,
}

impl Started {
    pub(crate) fn of(child: &Child, fresh: bool) -> Self {
        Self { replica: child.slot.replica, incarnation: child.incarnation, pid: child.pid, fresh }
    }
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// heald does not run the service.
    #[error("heald runs no processes of service `{0}`")]
    NotSupervised(ServiceName),
    /// The service has no such replica.
    #[error("service `{0}` has no replica {1}")]
    NoSuchReplica(ServiceName, u32),
    /// The environment file cannot be used.
    #[error("cannot read {}", path.display())]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// The error.
        #[source]
        source: std::io::Error,
    },
    /// The user does not exist.
    #[error("user `{0}` is not in /etc/passwd")]
    User(String),
    /// The keeper refused.
    #[error("{0}")]
    Refused(KeeperRefusal),
    /// The process was killed and still lives.
    #[error("{slot} (PID {pid}) was killed but does not end")]
    Stuck {
        /// Its slot.
        slot: SlotId,
        /// Its process id.
        pid: u32,
    },
    /// The keeper cannot be asked.
    #[error(transparent)]
    Keeper(#[from] ConnectionError),
}
