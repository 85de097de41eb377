//! The identity of a process: boot id, PID and start time, checked through a pidfd.
//!
//! It fails closed: a process that cannot be shown to be the recorded one is treated as another, so a recycled PID is
//! never watched or signalled.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::kernel::{self, SignalTarget};
use crate::protocol::SPAWN_VARIABLE;

/// The kernel's id of this boot.
pub(crate) fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The fields of `/proc/PID/stat` that are needed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The process is a zombie or is being taken down.
    pub(crate) ended: bool,
    /// The process group.
    pub(crate) group: u32,
    /// Start time, in clock ticks since boot.
    pub(crate) start_ticks: u64,
}

/// Reads `/proc/PID/stat`.
pub(crate) fn stat(pid: u32) -> io::Result<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/stat"))
}

/// The process name may hold spaces and parentheses, so the fields are read from behind its last parenthesis.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(16)?.parse().ok()?;
    Some(Stat { ended: matches!(state, "Z" | "X"), group, start_ticks })
}

/// A handle on a process: its pidfd.
#[derive(Debug)]
pub(crate) struct ProcessHandle {
    fd: OwnedFd,
    pid: u32,
}

impl ProcessHandle {
    /// Opens a child of the keeper that is not reaped yet, so that its PID cannot belong to another process.
    pub(crate) fn child(pid: u32) -> io::Result<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { fd: pidfd_open(raw, PidfdFlags::NONBLOCK)?, pid })
    }

    /// Opens the process that started at `start_ticks` as `pid`, or returns `None` if it has ended. The start time is
    /// compared after the pidfd is open, because from then on the handle always means that process.
    pub(crate) fn recorded(pid: u32, start_ticks: u64) -> Option<Self> {
        let handle = Self::child(pid).ok()?;
        let stat = stat(pid).ok()?;
        (stat.start_ticks == start_ticks && !stat.ended).then_some(handle)
    }

    /// Signals the leader alone.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        kernel::signal(self.fd.as_fd(), signal, SignalTarget::Leader)
    }

    /// Signals the whole group. Before Linux 6.9 a group can only be named by number. That is done only while the leader
    /// exists (at least as a zombie of the keeper), because until then the number is taken.
    pub(crate) fn signal_group(&self, signal: i32) -> io::Result<()> {
        match kernel::signal(self.fd.as_fd(), signal, SignalTarget::Group) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                kernel::signal(self.fd.as_fd(), 0, SignalTarget::Leader)?;
                let group = i32::try_from(self.pid).map_err(|_| io::ErrorKind::InvalidInput)?;
                kernel::signal_group_number(group, signal)
            }
            other => other,
        }
    }

    /// Whether a process of the group is left, zombies included. Before Linux 6.9 this is always false.
    pub(crate) fn group_lives(&self) -> bool {
        kernel::signal(self.fd.as_fd(), 0, SignalTarget::Group).is_ok()
    }

    /// The PID of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How long to wait before `/proc` is searched again. A process shows no environment for a moment while it executes
/// another program, as a shell does with `exec`.
const EXEC_TAKES: Duration = Duration::from_millis(20);

/// All processes that carry a spawn id in their environment, by spawn id. If one of `wanted` is not found, it searches
/// twice. Processes whose environment the keeper may not read are skipped.
pub(crate) fn marked_processes_with(wanted: &[&str]) -> BTreeMap<String, Vec<u32>> {
    let mut found = marked_processes();
    if wanted.iter().any(|spawn| !found.contains_key(*spawn)) {
        std::thread::sleep(EXEC_TAKES);
        for (spawn, pids) in marked_processes() {
            found.insert(spawn, pids);
        }
    }
    found
}

fn marked_processes() -> BTreeMap<String, Vec<u32>> {
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some(spawn) = spawn_mark(pid) {
            found.entry(spawn).or_default().push(pid);
        }
    }
    found
}

/// The spawn id that a process carries in its environment.
pub(crate) fn spawn_mark(pid: u32) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(SPAWN_VARIABLE.as_bytes())?.strip_prefix(b"="))
        .map(|value| String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) b (c)) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1 1";
        assert_eq!(parse_stat(text), Some(Stat { ended: false, group: 77, start_ticks: 123_456 }));
        assert_eq!(parse_stat("42 (x"), None);
    }

    #[test]
    fn a_survivor_is_told_from_a_process_with_the_same_number() {
        let me = std::process::id();
        let start = stat(me).unwrap().start_ticks;
        assert!(ProcessHandle::recorded(me, start).is_some());
        assert!(ProcessHandle::recorded(me, start + 1).is_none());
        assert!(ProcessHandle::recorded(0, start).is_none());
    }
}
