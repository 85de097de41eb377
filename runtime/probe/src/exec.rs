//! The exec check: a command whose exit status says whether the service is well.
//!
//! The command runs in a process group of its own. The whole group is killed when the check ends, however it ends. The exit is
//! watched through a pidfd and not through SIGCHLD, so that heald's other children are not affected. The group is killed
//! before its leader is reaped, so that the group id cannot belong to another process yet. No shell is involved.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::time::{Instant, timeout};

use crate::result::{CheckResult, ending};

/// How many bytes of the output are kept for the message; the rest is read and dropped.
const SHOWN: usize = 200;
/// How long to wait for the rest of the output after the command has ended. Only a process that left the group can hold the
/// output open.
const DRAIN: Duration = Duration::from_millis(50);

/// The command to run.
#[derive(Clone, Debug)]
pub(crate) struct ExecCommand {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
}

/// Why the command cannot be run now; None if it can. A program without a slash is looked up in PATH.
pub(crate) fn missing(command: &ExecCommand) -> Option<String> {
    let program = &command.program;
    if program.contains('/') {
        let path = Path::new(program);
        return match path.is_file() {
            false => Some(format!("there is no file `{program}`; the check cannot be made until there is")),
            true if !is_executable(path) => {
                Some(format!("`{program}` may not be executed; the check cannot be made until it may"))
            }
            true => None,
        };
    }
    let own = command.environment.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH"));
    let found = std::env::split_paths(&own.unwrap_or_default()).any(|folder| is_executable(&folder.join(program)));
    (!found).then(|| format!("there is no program `{program}` in PATH; the check cannot be made until there is"))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Runs the command once. Dropping the future kills the process group.
pub(crate) async fn check(command: &ExecCommand) -> CheckResult {
    let begun = Instant::now();
    let mut running = match RunningCommand::spawn(command) {
        Ok(running) => running,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return CheckResult::unable(&format!("running {}", command.program), &error);
        }
        Err(error) => return CheckResult::unable("running the command", &error),
    };
    match running.finish().await {
        Ok((status, output)) => CheckResult { latency: Some(begun.elapsed()), ..judge(status, &output) },
        Err(error) => CheckResult::unable("watching the command", &error),
    }
}

fn judge(status: ExitStatus, output: &str) -> CheckResult {
    let status = status.code().unwrap_or_else(|| -status.signal().unwrap_or_default());
    if status == 0 {
        return CheckResult { status: Some(0), ..CheckResult::passed() };
    }
    let end = ending(status);
    let message = if output.is_empty() { end } else { format!("{end}: {output}") };
    // The end of the check's own process says nothing about the life of the service's.
    CheckResult { status: Some(status), ..CheckResult::failed("check", message) }
}

/// A started command.
struct RunningCommand {
    /// `None` once the child is reaped or handed to a task that reaps it.
    life: Option<ChildHandle>,
    group: Pid,
    output: pipe::Receiver,
}

/// A child that must be reaped, and the descriptor that becomes readable when it can be.
struct ChildHandle {
    child: Child,
    ended: AsyncFd<OwnedFd>,
}

impl ChildHandle {
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

impl RunningCommand {
    fn spawn(command: &ExecCommand) -> io::Result<Self> {
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
            Ok((group, ended)) => Ok(Self { life: Some(ChildHandle { child, ended }), group, output }),
            Err(error) => {
                // There is no descriptor to watch the child with, so it must not run.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Waits for the command to end and reads its output meanwhile.
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
                // The command closed its output and may still run.
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
            tracing::debug!("a check's command left a process behind that holds its output open");
        }
        let text = String::from_utf8_lossy(&head);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        Ok((status, line.chars().filter(|c| !c.is_control()).collect()))
    }
}

/// Reads the output to its end and keeps the first bytes.
async fn drain(output: &mut pipe::Receiver, head: &mut Vec<u8>) {
    let mut buffer = [0; 1_024];
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        let room = SHOWN.saturating_sub(head.len()).min(read);
        head.extend_from_slice(buffer.get(..room).unwrap_or_default());
    }
}

impl Drop for RunningCommand {
    /// Kills the group if the check did not finish: its deadline passed, or the check was abandoned.
    fn drop(&mut self) {
        let Some(mut life) = self.life.take() else { return };
        let _ = kill_process_group(self.group, Signal::KILL);
        // A killed process takes a moment to end. A task waits for it, so that the schedule does not.
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
