//! The runtime as a process: how one is started, and what is known of the one that runs.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::client::{FD_VARIABLE, KEEPER_VARIABLE, SAFE_MODE_VARIABLE};
use crate::identity::Held;
use crate::link::Link;

/// Who judges.
#[derive(Debug)]
pub enum Runtime {
    /// A process the keeper starts, and starts again when it dies.
    Process(Image),
    /// Somebody who is there already and holds the other end of this socket: a test, an embedding program. It is not brought
    /// back: its end is the end.
    Connected(OwnedFd),
}

/// The program that is the runtime.
#[derive(Debug, Clone)]
pub struct Image {
    /// The program. `/proc/self/exe` is the image that runs now, whatever lies at its path by then.
    pub program: PathBuf,
    /// What the process list shows as its name.
    pub name: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Added to the keeper's environment, which it inherits.
    pub env: Vec<(OsString, OsString)>,
}

impl Image {
    /// This very image with the arguments this process got.
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

/// A runtime that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// The process, if the keeper started it.
    pub(crate) held: Option<Held>,
    pub(crate) link: Link,
    pub(crate) started_us: u64,
    /// When it was last heard of.
    pub(crate) heard_us: u64,
    /// It has asked for the hello, and is in charge.
    pub(crate) attached: bool,
    /// When it closed its end of the link: it ends, one hopes.
    pub(crate) closed_us: Option<u64>,
    /// It was killed for its silence, or for what it said.
    pub(crate) condemned: bool,
}

impl Running {
    /// Starts the image, connected. It gets a process group of its own, so that a terminal's Ctrl-C reaches it through the
    /// keeper alone, once.
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
        // Inheritable for just this spawn: nothing else is started in between, because there is one thread.
        fcntl_setfd(&theirs, FdFlags::empty())?;
        let pid = command.spawn()?.id();
        drop(theirs);
        Ok(Self { held: Some(Held::child(pid)?), ..Self::connected(ours, now_us)? })
    }

    /// A runtime that was there already.
    pub(crate) fn connected(stream: UnixStream, now_us: u64) -> io::Result<Self> {
        Ok(Self {
            held: None,
            link: Link::new(stream)?,
            started_us: now_us,
            heard_us: now_us,
            attached: false,
            closed_us: None,
            condemned: false,
        })
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.held.as_ref().map(Held::pid)
    }

    /// Hands a signal on.
    pub(crate) fn signal(&self, signal: i32) {
        if let Some(held) = &self.held {
            drop(held.signal(signal));
        }
    }

    /// Kills it; its end is then seen like any other.
    pub(crate) fn condemn(&mut self) {
        self.condemned = true;
        self.signal(libc::SIGKILL);
    }
}
