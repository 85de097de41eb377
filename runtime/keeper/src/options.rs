//! The options of a keeper, and the errors that stop it. It reads no configuration.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::runtime::Runtime;

/// The options of a keeper.
#[derive(Debug)]
pub struct Options {
    /// The runtime.
    pub runtime: Runtime,
    /// The directory of the lock and the ledger.
    pub state_dir: PathBuf,
    /// A runtime that has attached and is silent for this long is killed. 10 s.
    pub silence: Duration,
    /// A runtime that has not attached after this long is killed. 30 s, because it may compile plug-ins first.
    pub startup: Duration,
    /// After this long without a runtime the fallbacks apply. 10 s.
    pub absence: Duration,
    /// A runtime that lived shorter has failed early; from the second early failure on, the next start waits. 1 s.
    pub young: Duration,
    /// The first wait; it doubles. 100 ms.
    pub backoff: Duration,
    /// The longest wait. 5 s.
    pub backoff_max: Duration,
    /// This many crashes within [`window`](Self::window) lead to safe mode. 3.
    pub crashes: usize,
    /// See [`crashes`](Self::crashes). The first safe mode ends after as long a calm, each further one lasts twice as long.
    /// 60 s.
    pub window: Duration,
    /// The longest safe mode. After as long without one, the next lasts as long as the first. 1 h.
    pub safe_mode_max: Duration,
    /// How long a runtime that was told to end has before it is killed. 30 s.
    pub farewell: Duration,
    /// Exit codes of a runtime that must not be started again, such as a mistake on the command line or in the
    /// configuration. They count only if the runtime never attached and there are no children to keep. 2, 64 and 78.
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
            safe_mode_max: Duration::from_secs(3600),
            farewell: Duration::from_secs(30),
            hopeless: vec![2, 64, 78],
        }
    }
}

/// Why the keeper does not run.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The keeper must be started before any other thread, because its own thread must receive all signals.
    #[error("the keeper must be started before any other thread")]
    Threads,
    /// Another keeper uses the state directory. Two keepers would adopt each other's children.
    #[error("another heald already uses the state directory {}", .0.display())]
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
