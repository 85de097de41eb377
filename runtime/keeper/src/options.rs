//! How a keeper is to keep, and why there may be none.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::runtime::Runtime;

/// How a keeper is to keep.
#[derive(Debug)]
pub struct Options {
    /// Who judges.
    pub runtime: Runtime,
    /// Where lock and ledger live.
    pub state_dir: PathBuf,
    /// A runtime that has attached and is silent for so long is killed. 10 s.
    pub silence: Duration,
    /// A runtime that has not attached after so long is killed. 30 s: it may compile plug-ins first.
    pub startup: Duration,
    /// After so long without a runtime the restart lines apply. 10 s.
    pub absence: Duration,
    /// A runtime that lived shorter died young: the start after next waits. 1 s.
    pub young: Duration,
    /// The first such wait; it doubles. 100 ms.
    pub backoff: Duration,
    /// The longest such wait. 5 s.
    pub backoff_max: Duration,
    /// So many crashes within [`window`](Self::window) are answered with safe mode. 3.
    pub crashes: usize,
    /// See [`crashes`](Self::crashes); a runtime that lives this long ends safe mode. 60 s.
    pub window: Duration,
    /// How long a runtime that was told to end has before it is killed. 30 s.
    pub farewell: Duration,
    /// Exit codes by which a runtime that never attached says that starting it again is of no use (a mistake on the
    /// command line or in the configuration). Heeded while there are no children to keep. 2, 64 and 78.
    pub hopeless: Vec<i32>,
}

impl Options {
    /// The defaults.
    pub fn new(runtime: Runtime, state_dir: PathBuf) -> Self {
        Self {
            runtime,
            state_dir,
            silence: Duration::from_secs(10),
            startup: Duration::from_secs(30),
            absence: Duration::from_secs(10),
            young: Duration::from_secs(1),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            crashes: 3,
            window: Duration::from_secs(60),
            farewell: Duration::from_secs(30),
            hopeless: vec![2, 64, 78],
        }
    }
}

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// It has to come before any thread: signals are taken in by this one alone.
    #[error("the keeper must be started before any other thread")]
    Threads,
    /// Two keepers would each adopt the other's children.
    #[error("another heald keeps {}", .0.display())]
    Locked(PathBuf),
    /// A system call failed.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The error.
        #[source]
        source: io::Error,
    },
}
