//! The keeper's loop: it waits for a signal, a request, an exit, some output or a deadline, serves it, and waits again.
//!
//! It has one thread and blocks on nothing but writes to log files. It makes no decision about a service.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use tracing::{error, info, warn};

use crate::child_ledger::ChildLedger;
use crate::children::{Children, raise_open_files};
use crate::clock::{now_us, us};
use crate::identity;
use crate::kernel;
use crate::link::LinkError;
use crate::options::{KeeperError, Options};
use crate::poll::{Poll, PollSource};
use crate::protocol::{
    End, Hello, KeeperCommand, KeeperMessage, KeeperRefusal, KeeperReply, RuntimeEnd, RuntimeRequest, SafeMode, VERSION,
};
use crate::restart_policy::{RestartLimits, RuntimeRestartPolicy};
use crate::runtime::{Runtime, RuntimeProcess};

/// A wake-up this late means that the keeper itself was stopped or starved. The runtime is then not blamed for its
/// silence.
const LATE_US: u64 = 1_000_000;

/// How long a runtime may live after it closed its socket. A runtime that exits closes its socket first.
const EXIT_US: u64 = 1_000_000;

/// How long to wait for the lock of a keeper that was just killed.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait for killed children that the kernel does not let go.
const GIVE_UP_US: u64 = 5_000_000;

/// How often errors of log files and of the ledger are checked when nothing else happens.
const COMPLAINTS_US: u64 = 1_000_000;

/// Adds what was tried to an error.
fn to<T, E: Into<io::Error>>(what: &'static str, result: Result<T, E>) -> Result<T, KeeperError> {
    result.map_err(|error| KeeperError::Io { what, source: error.into() })
}

/// Runs the keeper until the runtime ends in order or the keeper is told to stop. Returns the exit code for the process.
///
/// The process must have no other thread. It changes the signal mask and dispositions, becomes a sub-reaper and reaps
/// every child.
pub fn run(options: Options) -> Result<i32, KeeperError> {
    if to("count the threads", std::fs::read_dir("/proc/self/task"))?.count() > 1 {
        return Err(KeeperError::Threads);
    }
    to("keep descriptors from the children", kernel::close_on_exec_from_3())?;
    to("create the state directory", std::fs::create_dir_all(&options.state_dir))?;
    let _lock = lock(&options.state_dir)?;
    let signals = to("listen for signals", kernel::listen())?;
    to("become a sub-reaper", rustix::process::set_child_subreaper(Some(rustix::process::getpid())))
        .inspect_err(|error| warn!(%error, "the keeper cannot reap orphans of the children"))
        .ok();
    let boot = to("read the boot id", identity::boot())?;
    let path = options.state_dir.join("ledger");
    let (ledger, boot_then, records) = to("open the ledger", ChildLedger::open(path, boot.clone()))?;
    let poll = Rc::new(to("create the poll", Poll::new())?);
    to("watch the signals", poll.watch(&signals, PollSource::Signals))?;
    let mut children = Children::new(Rc::clone(&poll), ledger, raise_open_files());
    children.take_over(records, boot_then == boot, now_us());
    Keeper::new(options, poll, signals, children, boot).keep()
}

/// Locks the state directory against a second keeper.
fn lock(directory: &std::path::Path) -> Result<std::fs::File, KeeperError> {
    let path = directory.join("keeper.lock");
    let mut options = std::fs::OpenOptions::new();
    let file = to("open the lock", options.create(true).truncate(false).write(true).open(path))?;
    let asked = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if asked.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(KeeperError::Locked(directory.to_owned())),
            Err(error) => return to("lock the state directory", Err(error)),
        }
    }
}

/// What the keeper is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeeperPhase {
    /// It keeps the runtime and the children running.
    Keeping,
    /// The runtime was told to end and has until `until_us`.
    StoppingRuntime { until_us: u64, leave_children: bool },
    /// The children were told to end.
    StoppingChildren { code: i32, kill_by_us: u64 },
    /// Everything has ended.
    Ended { code: i32 },
}

struct Keeper {
    options: Options,
    poll: Rc<Poll>,
    signals: OwnedFd,
    children: Children,
    boot: String,
    restart_policy: RuntimeRestartPolicy,
    phase: KeeperPhase,
    runtime: Option<RuntimeProcess>,
    next_start_us: Option<u64>,
    runtime_starts: u64,
    /// Why the newest safe mode began.
    safe_mode_why: String,
    /// What runtimes tried when they died.
    suspects: BTreeSet<String>,
    previous: Option<RuntimeEnd>,
    absent_since_us: Option<u64>,
}

impl Keeper {
    fn new(options: Options, poll: Rc<Poll>, signals: OwnedFd, children: Children, boot: String) -> Self {
        let restart_policy = RuntimeRestartPolicy::new(RestartLimits {
            young_us: us(options.young),
            backoff_us: us(options.backoff),
            backoff_max_us: us(options.backoff_max),
            crashes: options.crashes,
            window_us: us(options.window),
            safe_mode_max_us: us(options.safe_mode_max),
        });
        let now = now_us();
        Self {
            options,
            poll,
            signals,
            children,
            boot,
            restart_policy,
            phase: KeeperPhase::Keeping,
            runtime: None,
            next_start_us: Some(now),
            runtime_starts: 0,
            safe_mode_why: String::new(),
            suspects: BTreeSet::new(),
            previous: None,
            absent_since_us: Some(now),
        }
    }

    fn keep(mut self) -> Result<i32, KeeperError> {
        loop {
            self.on_time(now_us())?;
            if let KeeperPhase::Ended { code } = self.phase {
                self.children.drain_all();
                return Ok(code);
            }
            let asleep = now_us();
            let deadline = self.next_deadline(asleep);
            let ready = to("wait", self.poll.wait(Some(deadline.saturating_sub(asleep))))?;
            if now_us() > deadline.saturating_add(LATE_US)
                && let Some(runtime) = &mut self.runtime
            {
                runtime.heard_us = now_us();
            }
            for source in ready {
                match source {
                    PollSource::Signals => self.on_signals()?,
                    PollSource::Adopted(pid) => self.children.adopted_ended(pid, now_us()),
                    PollSource::Runtime => self.on_runtime(),
                    PollSource::Output(output) => drop(self.children.drain(output)),
                }
                self.report_exits();
            }
        }
    }

    /// When something is due although nothing happens.
    fn next_deadline(&self, now: u64) -> u64 {
        let farewell = match self.phase {
            KeeperPhase::StoppingRuntime { until_us, .. } => Some(until_us),
            KeeperPhase::StoppingChildren { kill_by_us, .. } => Some(kill_by_us),
            _ => None,
        };
        let silence = self.runtime.as_ref().and_then(|runtime| self.silent_at(runtime));
        let absence = match (self.phase, self.absent_since_us) {
            (KeeperPhase::Keeping, Some(since)) => {
                self.children.next_fallback().map(|at| at.max(since.saturating_add(us(self.options.absence))))
            }
            _ => None,
        };
        let deadlines =
            [farewell, silence, absence, self.next_start_us, self.children.next_deadline(), Some(now + COMPLAINTS_US)];
        deadlines.into_iter().flatten().min().unwrap_or(now)
    }

    /// When a silent runtime is to be killed; `None` for a connected runtime and for one that was killed already.
    fn silent_at(&self, runtime: &RuntimeProcess) -> Option<u64> {
        let patience = if runtime.attached { self.options.silence } else { self.options.startup };
        let silent_at = match runtime.closed_us {
            Some(closed) => closed.saturating_add(EXIT_US),
            None => runtime.heard_us.saturating_add(us(patience)),
        };
        (runtime.handle.is_some() && !runtime.killed).then_some(silent_at)
    }

    /// Does everything that is due.
    fn on_time(&mut self, now: u64) -> Result<(), KeeperError> {
        self.report_exits();
        self.children.kill_due(now);
        match self.phase {
            KeeperPhase::Keeping => self.keep_runtime(now)?,
            KeeperPhase::StoppingRuntime { until_us, leave_children } => match &mut self.runtime {
                Some(runtime) if until_us <= now && !runtime.killed => {
                    warn!("the runtime did not end in time and is killed");
                    runtime.kill();
                }
                Some(_) => {}
                None => self.stop(0, leave_children, now),
            },
            KeeperPhase::StoppingChildren { code, kill_by_us } => {
                if self.children.is_empty() {
                    self.phase = KeeperPhase::Ended { code };
                } else if kill_by_us <= now {
                    error!("some children cannot be killed; the next keeper adopts them");
                    self.phase = KeeperPhase::Ended { code };
                }
            }
            KeeperPhase::Ended { .. } => {}
        }
        for text in self.children.problems() {
            warn!("{text}");
            self.notify(text);
        }
        Ok(())
    }

    fn keep_runtime(&mut self, now: u64) -> Result<(), KeeperError> {
        if let Some(runtime) = &self.runtime
            && self.silent_at(runtime).is_some_and(|at| at <= now)
        {
            warn!(pid = runtime.pid(), "the runtime was silent for too long and is killed");
            self.kill();
        }
        if self.next_start_us.is_some_and(|at| at <= now) {
            self.start(now)?;
        }
        if self.absent_since_us.is_some_and(|since| since.saturating_add(us(self.options.absence)) <= now) {
            self.children.apply_fallbacks(now);
        }
        Ok(())
    }

    fn start(&mut self, now: u64) -> Result<(), KeeperError> {
        self.next_start_us = None;
        let safe_mode = self.restart_policy.safe_mode(now).is_some();
        let started = match &mut self.options.runtime {
            Runtime::Process(image) => RuntimeProcess::start(image, safe_mode, now),
            Runtime::Connected(fd) => {
                fd.try_clone().and_then(|fd| RuntimeProcess::connected(UnixStream::from(fd), now))
            }
        };
        let watched = started.and_then(|runtime| {
            self.poll.watch(&runtime.link, PollSource::Runtime)?;
            Ok(runtime)
        });
        match watched {
            Ok(runtime) => {
                info!(pid = runtime.pid(), safe_mode, "the runtime was started");
                self.runtime_starts += 1;
                self.runtime = Some(runtime);
            }
            Err(source) if self.runtime_starts == 0 => return to("start the runtime", Err(source)),
            Err(error) => {
                warn!(%error, "cannot start the runtime");
                self.next_start_us = Some(self.restart_policy.crashed(now, now, false).start_us);
            }
        }
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(runtime) = &mut self.runtime {
            runtime.kill();
        }
    }

    fn on_signals(&mut self) -> Result<(), KeeperError> {
        let mut heard = [0_u8; 64];
        let count = match rustix::io::read(&self.signals, &mut heard) {
            Ok(count) => count,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
            Err(error) => return to("read signals", Err(error)),
        };
        for number in heard.iter().take(count).map(|number| i32::from(*number)) {
            match number {
                libc::SIGCHLD => {}
                libc::SIGTERM | libc::SIGINT => self.on_order_to_end(number),
                other => {
                    if let Some(runtime) = &self.runtime {
                        runtime.signal(other);
                    }
                }
            }
        }
        // One SIGCHLD can stand for several children, so every signal leads to a reap.
        let runtime = self.runtime.as_ref().and_then(RuntimeProcess::pid);
        let now = now_us();
        if let Some(end) = self.children.reap(runtime, now) {
            self.on_runtime_end(end, now);
        }
        Ok(())
    }

    /// Passes the order to end on to the runtime, which then has its grace. A second order kills it.
    fn on_order_to_end(&mut self, signal: i32) {
        let now = now_us();
        match (self.phase, &mut self.runtime) {
            (KeeperPhase::Keeping, Some(runtime)) => {
                runtime.signal(signal);
                let until_us = now.saturating_add(us(self.options.farewell));
                self.phase = KeeperPhase::StoppingRuntime { until_us, leave_children: false };
                if runtime.handle.is_none() {
                    self.stop(128 + signal, false, now);
                }
            }
            (KeeperPhase::Keeping, None) => self.stop(128 + signal, false, now),
            (KeeperPhase::StoppingRuntime { .. }, _) => self.kill(),
            (KeeperPhase::StoppingChildren { .. }, _) => self.children.kill_all(now),
            (KeeperPhase::Ended { .. }, _) => {}
        }
    }

    fn on_runtime_end(&mut self, end: End, now: u64) {
        let Some(runtime) = self.runtime.take() else { return };
        let silent = runtime.killed;
        self.previous = Some(RuntimeEnd { end, silent, ended_us: now });
        let code = match end {
            End::Code(code) => code,
            End::Signal { signal, .. } => 128 + signal,
            End::Unknown => 0,
        };
        let hopeless = !runtime.attached && self.options.hopeless.contains(&code) && self.children.is_empty();
        match self.phase {
            KeeperPhase::Keeping if end == End::Code(0) || hopeless => self.stop(code, false, now),
            KeeperPhase::Keeping => {
                let after = self.restart_policy.crashed(runtime.started_us, now, runtime.trying.is_some());
                let wait_ms = after.start_us.saturating_sub(now) / 1000;
                let safe_mode = self.restart_policy.safe_mode(now).is_some();
                error!(%end, wait_ms, safe_mode, "the runtime died and will be started again");
                if let Some(crashes) = after.safe_mode_begins {
                    self.safe_mode_why = why_safe_mode(crashes, &self.options, end, runtime.trying.as_deref());
                    error!("safe mode begins: {}", self.safe_mode_why);
                }
                self.suspects.extend(runtime.trying);
                self.next_start_us = Some(after.start_us);
                self.absent_since_us.get_or_insert(now);
            }
            // A runtime that the signal killed by its default action has still ended in order.
            KeeperPhase::StoppingRuntime { leave_children, .. } => self.stop(code, leave_children, now),
            KeeperPhase::StoppingChildren { .. } | KeeperPhase::Ended { .. } => {}
        }
    }

    /// The runtime has ended and will not be restarted: stops the children.
    fn stop(&mut self, code: i32, leave_children: bool, now: u64) {
        self.next_start_us = None;
        if leave_children || self.children.is_empty() {
            self.phase = KeeperPhase::Ended { code };
            return;
        }
        let grace_us = self.children.stop_all(now);
        self.phase =
            KeeperPhase::StoppingChildren { code, kill_by_us: now.saturating_add(grace_us).saturating_add(GIVE_UP_US) };
    }

    fn on_runtime(&mut self) {
        let Some(runtime) = &mut self.runtime else { return };
        let mut result = runtime.link.flush().and_then(|()| runtime.link.receive());
        while result.is_ok() {
            let Some(runtime) = &mut self.runtime else { return };
            match runtime.link.next() {
                Ok(Some(request)) => {
                    runtime.heard_us = now_us();
                    result = self.serve(request);
                }
                Ok(None) => break,
                Err(error) => result = Err(error),
            }
        }
        self.after_talk(result);
    }

    /// Handles the result of talking to the runtime. A runtime whose link is broken cannot be told anything, so it ends
    /// or is killed.
    fn after_talk(&mut self, result: Result<(), LinkError>) {
        let Some(runtime) = &mut self.runtime else { return };
        let broken = match result {
            Ok(()) => {
                drop(self.poll.want_room(&runtime.link, PollSource::Runtime, runtime.link.is_waiting()));
                return;
            }
            Err(broken) => broken,
        };
        let now = now_us();
        drop(self.poll.forget(&runtime.link));
        runtime.attached = false;
        self.absent_since_us.get_or_insert(now);
        match (&runtime.handle, broken) {
            (Some(_), LinkError::Closed) => drop(runtime.closed_us.get_or_insert(now)),
            (Some(_), broken) => {
                warn!(error = %broken, pid = runtime.pid(), "the connection to the runtime failed, so it is killed");
                runtime.kill();
            }
            (None, broken) => {
                let code = i32::from(!matches!(broken, LinkError::Closed));
                let leave_children = matches!(self.phase, KeeperPhase::StoppingRuntime { leave_children: true, .. });
                self.runtime = None;
                if matches!(self.phase, KeeperPhase::Keeping | KeeperPhase::StoppingRuntime { .. }) {
                    self.stop(code, leave_children, now);
                }
            }
        }
    }

    fn serve(&mut self, request: RuntimeRequest) -> Result<(), LinkError> {
        let RuntimeRequest { id, ask } = request;
        let answer = match ask {
            KeeperCommand::Beat => Ok(KeeperReply::Noted),
            KeeperCommand::Attach { version } if version == VERSION => return self.attach(),
            KeeperCommand::Attach { .. } => Err(KeeperRefusal::Version(VERSION)),
            KeeperCommand::Spawn(_) if self.phase != KeeperPhase::Keeping => Err(KeeperRefusal::Stopping),
            KeeperCommand::Spawn(spawn) => self.children.spawn(*spawn).map(KeeperReply::Spawned),
            KeeperCommand::Recall { spawn } => {
                let answer = self.children.answered(&spawn);
                Ok(KeeperReply::Recalled(answer.map(|answer| answer.map_err(Box::new))))
            }
            KeeperCommand::Signal(signal) => self.children.signal(&signal).map(|()| KeeperReply::Signalled),
            KeeperCommand::Acknowledge { spawns } => {
                self.children.acknowledge(&spawns);
                Ok(KeeperReply::Noted)
            }
            KeeperCommand::HoldRestarts(hold) => {
                self.children.hold_restarts(hold);
                Ok(KeeperReply::Noted)
            }
            KeeperCommand::Trying { what } => {
                self.note_try(what);
                Ok(KeeperReply::Noted)
            }
            KeeperCommand::Shutdown { leave_children } => {
                let until_us = now_us().saturating_add(us(self.options.farewell));
                if matches!(self.phase, KeeperPhase::Keeping | KeeperPhase::StoppingRuntime { .. }) {
                    self.phase = KeeperPhase::StoppingRuntime { until_us, leave_children };
                }
                Ok(KeeperReply::Noted)
            }
        };
        self.send(KeeperMessage::Answer { id, answer })
    }

    /// The runtime tries something, or what it tried went well.
    fn note_try(&mut self, what: Option<String>) {
        if let Some(runtime) = &mut self.runtime
            && let Some(survived) = std::mem::replace(&mut runtime.trying, what)
        {
            self.suspects.remove(&survived);
        }
    }

    /// Puts the runtime in charge.
    fn attach(&mut self) -> Result<(), LinkError> {
        let (exits, exits_dropped) = self.children.unacknowledged();
        let hello = Hello {
            version: VERSION,
            boot: self.boot.clone(),
            keeper: std::process::id(),
            runtime_starts: self.runtime_starts,
            safe_mode: self.restart_policy.safe_mode(now_us()).map(|period| SafeMode {
                why: self.safe_mode_why.clone(),
                until_us: period.until_us,
                times: period.times,
            }),
            suspects: self.suspects.clone(),
            halted: self.children.halted(),
            previous: self.previous.clone(),
            children: self.children.living(),
            exits,
            exits_dropped,
            incarnations: self.children.incarnations(),
        };
        self.absent_since_us = None;
        if let Some(runtime) = &mut self.runtime {
            runtime.attached = true;
        }
        self.send(KeeperMessage::Hello(Box::new(hello)))
    }

    fn send(&mut self, message: KeeperMessage) -> Result<(), LinkError> {
        match &mut self.runtime {
            Some(runtime) => runtime.link.send(&message),
            None => Ok(()),
        }
    }

    /// Reports exits to the runtime, if one is in charge. Otherwise the next hello contains them.
    fn report_exits(&mut self) {
        for exit in self.children.settle(now_us()) {
            if self.runtime.as_ref().is_some_and(|runtime| runtime.attached) {
                let result = self.send(KeeperMessage::Exited(exit));
                self.after_talk(result);
            }
        }
    }

    fn notify(&mut self, text: String) {
        if self.runtime.as_ref().is_some_and(|runtime| runtime.attached) {
            let result = self.send(KeeperMessage::Notice { text });
            self.after_talk(result);
        }
    }
}

/// Why safe mode begins, for the operator.
fn why_safe_mode(crashes: usize, options: &Options, end: End, trying: Option<&str>) -> String {
    match trying {
        Some(what) => format!("the runtime died ({end}) while it took {what} into use"),
        None if crashes < options.crashes => format!("the runtime died ({end}) just after safe mode had ended"),
        None => format!("the runtime died {crashes} times within {} s, last of {end}", options.window.as_secs()),
    }
}
