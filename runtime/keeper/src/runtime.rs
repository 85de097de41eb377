//! The runtime as a process of the keeper: starting it, and what is known about the running one.
//!
//! It decides nothing about restarts; [`crate::restart_policy`] does.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::client::{FD_VARIABLE, KEEPER_VARIABLE, SAFE_MODE_VARIABLE};
use crate::identity::ProcessHandle;
use crate::link::Link;

/// The runtime of a keeper.
#[derive(Debug)]
pub enum Runtime {
    /// A process the keeper starts, and starts again when it dies.
    Process(Image),
    /// A process that already runs and holds the other end of this socket, such as a test or an embedding program. It is
    /// not restarted: when it ends, the keeper ends.
    Connected(OwnedFd),
}

/// The program of the runtime.
#[derive(Debug, Clone)]
pub struct Image {
    /// The program. `/proc/self/exe` is the image that runs now, even if its path has been replaced.
    pub program: PathBuf,
    /// The name in the process list.
    pub name: OsString,
    /// The arguments.
    pub arguments: Vec<OsString>,
    /// Variables added to the keeper's environment, which the runtime inherits.
    pub env: Vec<(OsString, OsString)>,
}

impl Image {
    /// The image and the arguments of this process.
    pub fn of_this_process() -> Self {
        let mut arguments = std::env::args_os();
        Self {
            program: PathBuf::from("/proc/self/exe"),
            name: arguments.next().unwrap_or_else(|| OsString::from("heald")),
            arguments: arguments.collect(),
            env: Vec::new(),
        }
    }
}

/// A running runtime.
#[derive(Debug)]
pub(crate) struct RuntimeProcess {
    /// The process, if the keeper started it.
    pub(crate) handle: Option<ProcessHandle>,
    pub(crate) link: Link,
    pub(crate) started_us: u64,
    /// When it last sent anything.
    pub(crate) heard_us: u64,
    /// It has attached and is in charge.
    pub(crate) attached: bool,
    /// What it tries that may end it.
    pub(crate) trying: Option<String>,
    /// When it closed its end of the link. It should end soon.
    pub(crate) closed_us: Option<u64>,
    /// The keeper killed it, because it was silent or broke the protocol.
    pub(crate) killed: bool,
}

impl RuntimeProcess {
    /// Starts the runtime with a connected socket. It gets a process group of its own, so that Ctrl-C on a terminal
    /// reaches it once, through the keeper.
    pub(crate) fn start(image: &Image, safe_mode: bool, now_us: u64) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&image.program);
        command.arg0(&image.name).args(&image.arguments).envs(image.env.iter().cloned()).process_group(0);
        command.env(FD_VARIABLE, theirs.as_raw_fd().to_string()).env(KEEPER_VARIABLE, std::process::id().to_string());
        if safe_mode {
            command.env(SAFE_MODE_VARIABLE, "1");
        } else {
            command.env_remove(SAFE_MODE_VARIABLE);
        }
        // Inheritable for this spawn only. The keeper has one thread, so nothing else is spawned in between.
        fcntl_setfd(&theirs, FdFlags::empty())?;
        let pid = command.spawn()?.id();
        drop(theirs);
        Ok(Self { handle: Some(ProcessHandle::child(pid)?), ..Self::connected(ours, now_us)? })
    }

    /// A runtime that already runs.
    pub(crate) fn connected(stream: UnixStream, now_us: u64) -> io::Result<Self> {
        Ok(Self {
            handle: None,
            link: Link::new(stream)?,
            started_us: now_us,
            heard_us: now_us,
            attached: false,
            trying: None,
            closed_us: None,
            killed: false,
        })
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.handle.as_ref().map(ProcessHandle::pid)
    }

    /// Sends a signal to the runtime.
    pub(crate) fn signal(&self, signal: i32) {
        if let Some(handle) = &self.handle {
            drop(handle.signal(signal));
        }
    }

    /// Kills the runtime. Its end is then handled like any other.
    pub(crate) fn kill(&mut self) {
        self.killed = true;
        self.signal(libc::SIGKILL);
    }
}
