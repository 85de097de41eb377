//! A command that says by its exit status whether the service is well.
//!
//! It runs in a process group of its own, and the whole group is killed when the check ends, however it ends. The exit is
//! watched through a pidfd, not through SIGCHLD, so that heald's other children are nobody's business here; the group is killed
//! while its leader is still unreaped, so its id cannot belong to anyone else yet.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::time::{Instant, timeout};

use crate::result::{Look, ending};

/// So much of its output is kept to be shown; the rest is read and dropped.
const SHOWN: usize = 200;
/// How long to wait for the rest of the output of a command that has ended. Only what outlived the group can hold it open.
const DRAIN: Duration = Duration::from_millis(50);

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
}

/// Runs it once. Dropping this kills what it started.
pub(crate) async fn look(command: &Command) -> Look {
    let begun = Instant::now();
    let mut running = match Running::spawn(command) {
        Ok(running) => running,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Look::failed("missing", format!("Cannot run {}: {error}", command.program));
        }
        Err(error) => return Look::unable("running the command", &error),
    };
    match running.finish().await {
        Ok((status, output)) => Look { latency: Some(begun.elapsed()), ..judge(status, &output) },
        Err(error) => Look::unable("watching the command", &error),
    }
}

fn judge(status: ExitStatus, output: &str) -> Look {
    let status = status.code().unwrap_or_else(|| -status.signal().unwrap_or_default());
    if status == 0 {
        return Look { status: Some(0), ..Look::passed() };
    }
    let end = ending(status);
    let message = if output.is_empty() { end } else { format!("{end}: {output}") };
    Look { status: Some(status), ..Look::failed(if status > 0 { "exit" } else { "signal" }, message) }
}

/// A started command.
struct Running {
    /// None once it was reaped, or left to be.
    life: Option<Life>,
    group: Pid,
    output: pipe::Receiver,
}

/// A child that must be reaped, and the descriptor that becomes readable when it can be.
struct Life {
    child: Child,
    ended: AsyncFd<OwnedFd>,
}

impl Life {
    async fn end(&self) -> io::Result<()> {
        self.ended.readable().await.map(|_| ())
    }
}

/// A descriptor that becomes readable when the process has ended.
#[expect(
    deprecated,
    reason = "the constructor is deprecated for types that may swap their descriptor; an OwnedFd cannot"
)]
fn watch(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(pidfd_open(pid, PidfdFlags::empty())?)
}

impl Running {
    fn spawn(command: &Command) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let mut build = std::process::Command::new(&command.program);
        build.args(&command.arguments).process_group(0).env_clear();
        for name in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                build.env(name, value);
            }
        }
        build.envs(&command.environment);
        build.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let output = pipe::Receiver::from_owned_fd(reader.into())?;
        let mut child = build.spawn()?;
        let watched = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
            .and_then(|pid| Ok((pid, watch(pid)?)));
        match watched {
            Ok((group, ended)) => Ok(Self { life: Some(Life { child, ended }), group, output }),
            Err(error) => {
                // Out of descriptors just now: what cannot be watched must not run.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Waits for its end, reading what it says meanwhile.
    async fn finish(&mut self) -> io::Result<(ExitStatus, String)> {
        let Some(life) = &self.life else { return Err(io::Error::from(io::ErrorKind::NotFound)) };
        let mut head = Vec::new();
        let drained = {
            let mut reading = std::pin::pin!(drain(&mut self.output, &mut head));
            let drained = tokio::select! {
                ended = life.end() => { ended?; false }
                () = &mut reading => true,
            };
            if drained {
                // It closed its output and may go on without.
                life.end().await?;
            }
            let _ = kill_process_group(self.group, Signal::KILL);
            drained || timeout(DRAIN, reading).await.is_ok()
        };
        let status = match &mut self.life {
            Some(life) => life.child.wait()?,
            None => return Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        self.life = None;
        if !drained {
            tracing::debug!("a check's command left something behind that holds its output");
        }
        let text = String::from_utf8_lossy(&head);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        Ok((status, line.chars().filter(|c| !c.is_control()).collect()))
    }
}

/// Reads to the end, keeping the head.
async fn drain(output: &mut pipe::Receiver, head: &mut Vec<u8>) {
    let mut buffer = [0; 1_024];
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        let room = SHOWN.saturating_sub(head.len()).min(read);
        head.extend_from_slice(buffer.get(..room).unwrap_or_default());
    }
}

impl Drop for Running {
    /// The check was cut short: by its deadline, or because nobody wants to know any more.
    fn drop(&mut self) {
        let Some(mut life) = self.life.take() else { return };
        let _ = kill_process_group(self.group, Signal::KILL);
        // Dying takes a moment, and longer while the kernel holds it. Whoever waits for that must not be the scheduler.
        if let Ok(handle) = tokio::runtime::Handle::try_current() {
            handle.spawn(async move {
                let _ = life.end().await;
                let _ = life.child.wait();
            });
        } else {
            let _ = life.child.try_wait();
        }
    }
}
