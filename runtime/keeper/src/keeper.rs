//! The keeper's loop: wait for a signal, a request, an end, some output or a deadline; serve it; wait again. One thread,
//! nothing that blocks but a write to a log file.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use tracing::{error, info, warn};

use crate::child_ledger::Ledger;
use crate::children::{Children, raise_open_files};
use crate::clock::{now_us, us};
use crate::identity;
use crate::kernel;
use crate::link::Broken;
use crate::options::{KeeperError, Options};
use crate::poll::{Poll, Source};
use crate::protocol::{Ask, Done, End, Hello, Message, Refusal, Request, RuntimeEnd, VERSION};
use crate::restart_policy::{Bounds, Start, Vigil};
use crate::runtime::{Running, Runtime};

/// A wake-up this late says that the keeper itself was stopped or starved; a runtime that shared its fate is not blamed.
const LATE_US: u64 = 1_000_000;

/// A runtime that exits closes its socket first; one that has closed it and is still there after so long is killed.
const EXIT_US: u64 = 1_000_000;

/// How long the lock of a keeper that has just been killed is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// After the kill, how long the keeper waits for children that the kernel does not let go.
const GIVE_UP_US: u64 = 5_000_000;

/// A broken log or ledger is looked at this often while nothing else happens.
const COMPLAINTS_US: u64 = 1_000_000;

/// Says what was tried when it failed.
fn to<T, E: Into<io::Error>>(what: &'static str, result: Result<T, E>) -> Result<T, KeeperError> {
    result.map_err(|error| KeeperError::Io { what, source: error.into() })
}

/// Keeps until the runtime ends in order or the keeper is told to go; returns the exit code for the process.
///
/// To be called in a process that has no other thread. It changes signal mask and dispositions, makes the process a
/// sub-reaper and reaps every child it has.
pub fn run(options: Options) -> Result<i32, KeeperError> {
    if to("count the threads", std::fs::read_dir("/proc/self/task"))?.count() > 1 {
        return Err(KeeperError::Threads);
    }
    to("keep descriptors from the children", kernel::close_on_exec_from_3())?;
    to("create the state directory", std::fs::create_dir_all(&options.state_dir))?;
    let _lock = lock(&options.state_dir)?;
    let signals = to("listen for signals", kernel::listen())?;
    to("become a sub-reaper", rustix::process::set_child_subreaper(Some(rustix::process::getpid())))
        .inspect_err(|error| warn!(%error, "orphans of the children will not be reaped here"))
        .ok();
    let boot = to("read the boot id", identity::boot())?;
    let path = options.state_dir.join("ledger");
    let (ledger, boot_then, records) = to("open the ledger", Ledger::open(path, boot.clone()))?;
    let poll = Rc::new(to("create the poll", Poll::new())?);
    to("watch the signals", poll.watch(&signals, Source::Signals))?;
    let mut children = Children::new(Rc::clone(&poll), ledger, raise_open_files());
    children.take_over(records, boot_then == boot, now_us());
    Keeper::new(options, poll, signals, children, boot).keep()
}

/// Holds the directory against a second keeper.
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

/// What the keeper is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Keeping.
    Keeping,
    /// The runtime was told to end, and has until then.
    Farewell { until_us: u64, leave_children: bool },
    /// The children were told to end.
    Stopping { code: i32, kill_by_us: u64 },
    /// Nothing is left to do.
    Over { code: i32 },
}

struct Keeper {
    options: Options,
    poll: Rc<Poll>,
    signals: OwnedFd,
    children: Children,
    boot: String,
    vigil: Vigil,
    phase: Phase,
    runtime: Option<Running>,
    next_start: Option<Start>,
    runtime_starts: u64,
    safe_mode: bool,
    previous: Option<RuntimeEnd>,
    absent_since_us: Option<u64>,
}

impl Keeper {
    fn new(options: Options, poll: Rc<Poll>, signals: OwnedFd, children: Children, boot: String) -> Self {
        let vigil = Vigil::new(Bounds {
            young_us: us(options.young),
            backoff_us: us(options.backoff),
            backoff_max_us: us(options.backoff_max),
            crashes: options.crashes,
            window_us: us(options.window),
        });
        let now = now_us();
        Self {
            options,
            poll,
            signals,
            children,
            boot,
            vigil,
            phase: Phase::Keeping,
            runtime: None,
            next_start: Some(Start { at_us: now, safe_mode: false }),
            runtime_starts: 0,
            safe_mode: false,
            previous: None,
            absent_since_us: Some(now),
        }
    }

    fn keep(mut self) -> Result<i32, KeeperError> {
        loop {
            self.on_time(now_us())?;
            if let Phase::Over { code } = self.phase {
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
                    Source::Signals => self.on_signals()?,
                    Source::Survivor(pid) => self.children.survivor_ended(pid, now_us()),
                    Source::Runtime => self.on_runtime(),
                    Source::Output(output) => drop(self.children.drain(output)),
                }
                self.tell_ends();
            }
        }
    }

    /// When something is to be done though nothing happens.
    fn next_deadline(&self, now: u64) -> u64 {
        let farewell = match self.phase {
            Phase::Farewell { until_us, .. } => Some(until_us),
            Phase::Stopping { kill_by_us, .. } => Some(kill_by_us),
            _ => None,
        };
        let silence = self.runtime.as_ref().and_then(|runtime| self.silent_at(runtime));
        let absence = match (self.phase, self.absent_since_us) {
            (Phase::Keeping, Some(since)) => {
                self.children.next_fall_back().map(|at| at.max(since.saturating_add(us(self.options.absence))))
            }
            _ => None,
        };
        let start = self.next_start.map(|start| start.at_us);
        let deadlines = [farewell, silence, absence, start, self.children.next_deadline(), Some(now + COMPLAINTS_US)];
        deadlines.into_iter().flatten().min().unwrap_or(now)
    }

    /// When the runtime has been silent for too long; a connected one and a condemned one have no such time.
    fn silent_at(&self, runtime: &Running) -> Option<u64> {
        let patience = if runtime.attached { self.options.silence } else { self.options.startup };
        let silent_at = match runtime.closed_us {
            Some(closed) => closed.saturating_add(EXIT_US),
            None => runtime.heard_us.saturating_add(us(patience)),
        };
        (runtime.held.is_some() && !runtime.condemned).then_some(silent_at)
    }

    /// Everything that is due.
    fn on_time(&mut self, now: u64) -> Result<(), KeeperError> {
        self.tell_ends();
        self.children.kill_due(now);
        match self.phase {
            Phase::Keeping => self.keep_on(now)?,
            Phase::Farewell { until_us, leave_children } => match &mut self.runtime {
                Some(runtime) if until_us <= now && !runtime.condemned => {
                    warn!("the runtime did not end in time");
                    runtime.condemn();
                }
                Some(_) => {}
                None => self.stop(0, leave_children, now),
            },
            Phase::Stopping { code, kill_by_us } => {
                if self.children.is_empty() {
                    self.phase = Phase::Over { code };
                } else if kill_by_us <= now {
                    error!("some children cannot be killed; they are left to the next keeper");
                    self.phase = Phase::Over { code };
                }
            }
            Phase::Over { .. } => {}
        }
        for text in self.children.complaints() {
            warn!("{text}");
            self.notify(text);
        }
        Ok(())
    }

    fn keep_on(&mut self, now: u64) -> Result<(), KeeperError> {
        if let Some(runtime) = &self.runtime
            && self.silent_at(runtime).is_some_and(|at| at <= now)
        {
            warn!(pid = runtime.pid(), "the runtime fell silent and is killed");
            self.condemn();
        }
        if let Some(start) = self.next_start
            && start.at_us <= now
        {
            self.start(start, now)?;
        }
        if self.absent_since_us.is_some_and(|since| since.saturating_add(us(self.options.absence)) <= now) {
            self.children.fall_back(now);
        }
        Ok(())
    }

    fn start(&mut self, start: Start, now: u64) -> Result<(), KeeperError> {
        self.next_start = None;
        let started = match &mut self.options.runtime {
            Runtime::Process(image) => Running::start(image, start.safe_mode, now),
            Runtime::Connected(fd) => fd.try_clone().and_then(|fd| Running::connected(UnixStream::from(fd), now)),
        };
        let watched = started.and_then(|runtime| {
            self.poll.watch(&runtime.link, Source::Runtime)?;
            Ok(runtime)
        });
        match watched {
            Ok(runtime) => {
                info!(pid = runtime.pid(), safe_mode = start.safe_mode, "runtime started");
                self.safe_mode = start.safe_mode;
                self.runtime_starts += 1;
                self.runtime = Some(runtime);
            }
            Err(source) if self.runtime_starts == 0 => return to("start the runtime", Err(source)),
            Err(error) => {
                warn!(%error, "cannot start the runtime");
                self.next_start = Some(self.vigil.crashed(now, now));
            }
        }
        Ok(())
    }

    fn condemn(&mut self) {
        if let Some(runtime) = &mut self.runtime {
            runtime.condemn();
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
        // Ends of several children can hide behind one signal, so look whenever there is any.
        let runtime = self.runtime.as_ref().and_then(Running::pid);
        let now = now_us();
        if let Some(end) = self.children.reap(runtime, now) {
            self.on_runtime_end(end, now);
        }
        Ok(())
    }

    /// The runtime is told and has its time; a second order ends the patience.
    fn on_order_to_end(&mut self, signal: i32) {
        let now = now_us();
        match (self.phase, &mut self.runtime) {
            (Phase::Keeping, Some(runtime)) => {
                runtime.signal(signal);
                let until_us = now.saturating_add(us(self.options.farewell));
                self.phase = Phase::Farewell { until_us, leave_children: false };
                if runtime.held.is_none() {
                    self.stop(128 + signal, false, now);
                }
            }
            (Phase::Keeping, None) => self.stop(128 + signal, false, now),
            (Phase::Farewell { .. }, _) => self.condemn(),
            (Phase::Stopping { .. }, _) => self.children.hurry(now),
            (Phase::Over { .. }, _) => {}
        }
    }

    fn on_runtime_end(&mut self, end: End, now: u64) {
        let Some(runtime) = self.runtime.take() else { return };
        let silent = runtime.condemned;
        self.previous = Some(RuntimeEnd { end, silent, ended_us: now });
        let code = match end {
            End::Code(code) => code,
            End::Signal { signal, .. } => 128 + signal,
            End::Unknown => 0,
        };
        let hopeless = !runtime.attached && self.options.hopeless.contains(&code) && self.children.is_empty();
        match self.phase {
            Phase::Keeping if end == End::Code(0) || hopeless => self.stop(code, false, now),
            Phase::Keeping => {
                let start = self.vigil.crashed(runtime.started_us, now);
                let wait_ms = start.at_us.saturating_sub(now) / 1000;
                error!(%end, wait_ms, safe_mode = start.safe_mode, "the runtime died and is started again");
                self.next_start = Some(start);
                self.absent_since_us.get_or_insert(now);
            }
            // Whom the order to end killed by its default meaning has still ended in order.
            Phase::Farewell { leave_children, .. } => self.stop(code, leave_children, now),
            Phase::Stopping { .. } | Phase::Over { .. } => {}
        }
    }

    /// The runtime has ended in order (or will not come): now the children.
    fn stop(&mut self, code: i32, leave_children: bool, now: u64) {
        self.next_start = None;
        if leave_children || self.children.is_empty() {
            self.phase = Phase::Over { code };
            return;
        }
        let grace_us = self.children.stop_all(now);
        self.phase = Phase::Stopping { code, kill_by_us: now.saturating_add(grace_us).saturating_add(GIVE_UP_US) };
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

    /// A runtime whose link is broken can neither be told nor asked anything: it ends, or is ended.
    fn after_talk(&mut self, result: Result<(), Broken>) {
        let Some(runtime) = &mut self.runtime else { return };
        let broken = match result {
            Ok(()) => {
                drop(self.poll.want_room(&runtime.link, Source::Runtime, runtime.link.is_waiting()));
                return;
            }
            Err(broken) => broken,
        };
        let now = now_us();
        drop(self.poll.forget(&runtime.link));
        runtime.attached = false;
        self.absent_since_us.get_or_insert(now);
        match (&runtime.held, broken) {
            (Some(_), Broken::Closed) => drop(runtime.closed_us.get_or_insert(now)),
            (Some(_), broken) => {
                warn!(%broken, pid = runtime.pid(), "the runtime cannot be talked to and is killed");
                runtime.condemn();
            }
            (None, broken) => {
                let code = i32::from(!matches!(broken, Broken::Closed));
                let leave_children = matches!(self.phase, Phase::Farewell { leave_children: true, .. });
                self.runtime = None;
                if matches!(self.phase, Phase::Keeping | Phase::Farewell { .. }) {
                    self.stop(code, leave_children, now);
                }
            }
        }
    }

    fn serve(&mut self, request: Request) -> Result<(), Broken> {
        let Request { id, ask } = request;
        let answer = match ask {
            Ask::Beat => return Ok(()),
            Ask::Attach { version } if version == VERSION => return self.greet(),
            Ask::Attach { .. } => Err(Refusal::Version(VERSION)),
            Ask::Spawn(_) if self.phase != Phase::Keeping => Err(Refusal::Stopping),
            Ask::Spawn(spawn) => self.children.spawn(*spawn).map(Done::Spawned),
            Ask::Recall { spawn } => {
                let answer = self.children.answered(&spawn);
                Ok(Done::Recalled(answer.map(|answer| answer.map_err(Box::new))))
            }
            Ask::Signal(signal) => self.children.signal(&signal).map(|()| Done::Signalled),
            Ask::Acknowledge { spawns } => {
                self.children.acknowledge(&spawns);
                Ok(Done::Noted)
            }
            Ask::Shutdown { leave_children } => {
                let until_us = now_us().saturating_add(us(self.options.farewell));
                if matches!(self.phase, Phase::Keeping | Phase::Farewell { .. }) {
                    self.phase = Phase::Farewell { until_us, leave_children };
                }
                Ok(Done::Noted)
            }
        };
        self.send(Message::Answer { id, answer })
    }

    /// From here on the runtime is in charge.
    fn greet(&mut self) -> Result<(), Broken> {
        let (exits, exits_dropped) = self.children.unacknowledged();
        let hello = Hello {
            version: VERSION,
            boot: self.boot.clone(),
            keeper: std::process::id(),
            runtime_starts: self.runtime_starts,
            safe_mode: self.safe_mode,
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
        self.send(Message::Hello(Box::new(hello)))
    }

    fn send(&mut self, message: Message) -> Result<(), Broken> {
        match &mut self.runtime {
            Some(runtime) => runtime.link.send(&message),
            None => Ok(()),
        }
    }

    /// Tells the runtime, if one is in charge, which children have ended. If none is, the hello will.
    fn tell_ends(&mut self) {
        for exit in self.children.settle(now_us()) {
            if self.runtime.as_ref().is_some_and(|runtime| runtime.attached) {
                let result = self.send(Message::Exited(exit));
                self.after_talk(result);
            }
        }
    }

    fn notify(&mut self, text: String) {
        if self.runtime.as_ref().is_some_and(|runtime| runtime.attached) {
            let result = self.send(Message::Notice { text });
            self.after_talk(result);
        }
    }
}
