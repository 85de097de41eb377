//! The children: which child lives in which slot, how others ended, and what each spawn request was answered.
//!
//! It starts and signals what it is told to. It refuses to start a second child in an occupied slot.

mod absence;
mod adoption;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use rustix::process::{Pid, Resource, Rlimit, WaitOptions, prlimit, waitpid};
use tracing::warn;

use crate::child_ledger::ChildLedger;
use crate::clock;
use crate::fallback;
use crate::identity::{self, ProcessHandle};
use crate::kernel;
use crate::logs::{Drained, Logs};
use crate::poll::{Poll, PollSource};
use crate::protocol::{
    Child, ChildOrigin, End, Exit, IncarnationCount, KeeperRefusal, RestartHold, SignalRequest, SlotId, SpawnRequest,
    StopSettings,
};
use crate::spawn;

/// How long the report of an exit waits for the rest of the killed process group. Whoever starts the next child on that
/// report must not meet a leftover that still holds the port. A process that is stuck in the kernel is not waited for.
const SWEEP_US: u64 = 50_000;

/// How many exits are kept for an absent runtime. Beyond that the oldest are dropped and counted.
const MAX_EXITS: usize = 4096;

/// How many answers are kept for spawn requests whose child is neither alive nor waiting to be acknowledged.
const MAX_ANSWERS: usize = 1024;

/// One slot and its state.
#[derive(Debug, Default)]
struct ChildSlot {
    incarnation: u64,
    live: Option<LiveChild>,
    fallback: Option<FallbackState>,
}

/// The child that lives in a slot.
#[derive(Debug)]
struct LiveChild {
    child: Child,
    handle: ProcessHandle,
    stop: StopSettings,
    /// The number of its output pipe.
    output: u64,
    /// How and when it ended, while the rest of its group is waited for.
    ended: Option<(End, u64)>,
    /// When its group is killed, if it was asked to stop.
    kill_at_us: Option<u64>,
}

/// How a slot is filled again in the absence of a runtime.
#[derive(Debug)]
struct FallbackState {
    spawn: SpawnRequest,
    /// The spawn id of the original request. Children that the fallback starts add their incarnation to it.
    asked: String,
    /// How many starts in a row did not last.
    tries: u32,
    /// The end that the fallback answers, and when it happened.
    ended: Option<(End, u64)>,
}

/// All slots.
#[derive(Debug)]
pub(crate) struct Children {
    poll: Rc<Poll>,
    ledger: ChildLedger,
    logs: Logs,
    slots: BTreeMap<SlotId, ChildSlot>,
    exits: VecDeque<Exit>,
    exits_dropped: u64,
    answers: VecDeque<(String, Result<Child, KeeperRefusal>)>,
    outputs: u64,
    files: Option<Rlimit>,
}

impl Children {
    /// No children yet. `files` is the limit on open files that the children get back if the keeper raised its own.
    pub(crate) fn new(poll: Rc<Poll>, ledger: ChildLedger, files: Option<Rlimit>) -> Self {
        Self {
            poll,
            ledger,
            logs: Logs::default(),
            slots: BTreeMap::new(),
            exits: VecDeque::new(),
            exits_dropped: 0,
            answers: VecDeque::new(),
            outputs: 0,
            files,
        }
    }

    /// Starts a process. A repeated request gets the first answer again.
    pub(crate) fn spawn(&mut self, request: SpawnRequest) -> Result<Child, KeeperRefusal> {
        match self.answered(&request.spawn) {
            Some(Ok(child)) if child.slot != request.slot => {
                return Err(KeeperRefusal::Invalid(format!("{} was spawned in slot {}", request.spawn, child.slot)));
            }
            Some(answer) => return answer,
            None => {}
        }
        spawn::check(&request)?;
        let slot = self.slots.entry(request.slot.clone()).or_default();
        if let Some(live) = &slot.live {
            return Err(KeeperRefusal::Occupied(live.child.clone()));
        }
        let answer = self.start(&request, ChildOrigin::Asked);
        if let Some(slot) = self.slots.get_mut(&request.slot) {
            slot.fallback = answer.is_ok().then_some(FallbackState {
                spawn: request.clone(),
                asked: request.spawn.clone(),
                tries: 0,
                ended: None,
            });
        }
        if answer.is_err() {
            // A successful answer is found with the child, alive or ended.
            self.answers.push_back((request.spawn, answer.clone()));
            keep_newest(&mut self.answers, MAX_ANSWERS);
        }
        answer
    }

    /// What the request with this spawn id was answered.
    pub(crate) fn answered(&self, spawn: &str) -> Option<Result<Child, KeeperRefusal>> {
        let living = self.slots.values().filter_map(|slot| Some(&slot.live.as_ref()?.child));
        let ended = self.exits.iter().map(|exit| &exit.child);
        let found = living.chain(ended).find(|child| child.spawn == spawn).cloned().map(Ok);
        found.or_else(|| self.answers.iter().find(|(id, _)| id == spawn).map(|(_, answer)| answer.clone()))
    }

    /// Starts a process in an empty slot.
    fn start(&mut self, request: &SpawnRequest, origin: ChildOrigin) -> Result<Child, KeeperRefusal> {
        let incarnation = self.slots.entry(request.slot.clone()).or_default().incarnation + 1;
        self.outputs += 1;
        let output = self.outputs;
        let writer = match request.log.as_ref().map(|log| self.logs.open(output, log)).transpose() {
            Ok(writer) => writer,
            // There is no descriptor left. A service without a log is better than none.
            Err(error) => {
                warn!(slot = %request.slot, %error, "there is no pipe for the output; it is discarded");
                None
            }
        };
        self.ledger.starting(&request.spawn, &request.slot, incarnation);
        let started = spawn::start(request, writer).and_then(|pid| self.hold(request, pid));
        let (pid, handle, start_ticks) = match started {
            Ok(started) => started,
            Err(refusal) => {
                self.logs.close(output);
                self.ledger.empty(&request.slot, incarnation - 1);
                return Err(refusal);
            }
        };
        if let Some(reader) = self.logs.reader(output)
            && let Err(error) = self.poll.watch(reader, PollSource::Output(output))
        {
            warn!(slot = %request.slot, %error, "cannot read the output");
        }
        let child = Child {
            spawn: request.spawn.clone(),
            slot: request.slot.clone(),
            incarnation,
            pid,
            start_ticks,
            started_us: clock::now_us(),
            origin,
            tag: request.tag.clone(),
        };
        self.ledger.lives(&child);
        let stop = request.stop;
        if let Some(slot) = self.slots.get_mut(&request.slot) {
            slot.incarnation = incarnation;
            slot.live = Some(LiveChild { child: child.clone(), handle, stop, output, ended: None, kill_at_us: None });
        }
        Ok(child)
    }

    /// Opens a handle on a new process. A process without a handle (no descriptor is left) could be neither watched nor
    /// signalled safely, so it is killed and reaped.
    fn hold(&self, request: &SpawnRequest, pid: u32) -> Result<(u32, ProcessHandle, u64), KeeperRefusal> {
        if let Some(limit) = &self.files {
            let _ = prlimit(raw(pid), Resource::Nofile, *limit);
        }
        let handle = ProcessHandle::child(pid).and_then(|handle| Ok((pid, handle, identity::stat(pid)?.start_ticks)));
        handle.map_err(|error| {
            if let Some(raw) = raw(pid) {
                let _ = rustix::process::kill_process(raw, rustix::process::Signal::KILL);
                let _ = waitpid(Some(raw), WaitOptions::empty());
            }
            let errno = error.raw_os_error().unwrap_or(0);
            let program = request.command.first().cloned().unwrap_or_default();
            KeeperRefusal::Exec { program, errno, reason: format!("cannot hold PID {pid}: {error}") }
        })
    }

    /// Remembers what is not started again without a runtime.
    pub(crate) fn hold_restarts(&mut self, hold: RestartHold) {
        self.ledger.hold_restarts(hold);
    }

    /// Whether all healing is halted, as far as a runtime said so.
    pub(crate) fn halted(&self) -> bool {
        self.ledger.restart_hold().halted
    }

    /// Sends a signal to the child with this spawn id, and to no other process.
    pub(crate) fn signal(&mut self, request: &SignalRequest) -> Result<(), KeeperRefusal> {
        let mut slots = self.slots.values_mut();
        let found = slots.find(|slot| slot.live.as_ref().is_some_and(|live| live.child.spawn == request.spawn));
        let (fallback, live) = match found {
            Some(ChildSlot { live: Some(live), fallback, .. }) => (fallback, live),
            _ => return Err(KeeperRefusal::NoSuchChild(request.spawn.clone())),
        };
        if request.retire {
            *fallback = None;
        }
        let sent = match request.group {
            true => live.handle.signal_group(request.signal),
            false => live.handle.signal(request.signal),
        };
        match sent {
            Ok(()) => Ok(()),
            // The child has just ended, and its exit will be reported.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                Err(KeeperRefusal::NoSuchChild(request.spawn.clone()))
            }
            Err(error) => Err(KeeperRefusal::Signal { signal: request.signal, reason: error.to_string() }),
        }
    }

    /// Reaps all ended children. Returns the end of `runtime`, if it is among them.
    pub(crate) fn reap(&mut self, runtime: Option<u32>, now_us: u64) -> Option<End> {
        let mut runtime_end = None;
        while let Some(pid) = kernel::peek_ended() {
            let live =
                self.live_children().find(|live| live.child.pid == pid && live.child.origin != ChildOrigin::Adopted);
            if let Some(live) = &live {
                // The child is not reaped yet, so the number of its group cannot belong to another process.
                drop(live.handle.signal_group(libc::SIGKILL));
            }
            let end = match waitpid(raw(pid), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => End::Code(code),
                    (None, Some(signal)) => End::Signal { signal, core: status.as_raw() & 0x80 != 0 },
                    (None, None) => End::Unknown,
                },
                Ok(None) | Err(_) => End::Unknown,
            };
            match live {
                Some(live) => live.ended = Some((end, now_us)),
                None if runtime == Some(pid) => runtime_end = Some(end),
                // An orphan of a child, which the keeper inherited as sub-reaper.
                None => {}
            }
        }
        runtime_end
    }

    /// An adopted process has ended.
    pub(crate) fn adopted_ended(&mut self, pid: u32, now_us: u64) {
        let poll = Rc::clone(&self.poll);
        let adopted = |live: &&mut LiveChild| live.child.pid == pid && live.child.origin == ChildOrigin::Adopted;
        if let Some(live) = self.live_children().find(adopted) {
            drop(poll.forget(&live.handle));
            drop(live.handle.signal_group(libc::SIGKILL));
            live.ended = Some((End::Unknown, now_us));
        }
    }

    /// The exits that can be reported now: the group is gone, or it was waited for long enough.
    pub(crate) fn settle(&mut self, now_us: u64) -> Vec<Exit> {
        let mut told = Vec::new();
        for slot in self.slots.values_mut() {
            let Some((end, ended_us)) = slot.live.as_ref().and_then(|live| live.ended) else { continue };
            let waited = now_us >= ended_us + SWEEP_US;
            let Some(live) = slot.live.take_if(|live| waited || !live.handle.group_lives()) else { continue };
            self.ledger.empty(&live.child.slot, live.child.incarnation);
            if let Some(fallback) = &mut slot.fallback {
                let lasted = ended_us.saturating_sub(live.child.started_us) >= fallback::LASTED_US;
                fallback.tries = if lasted { 0 } else { fallback.tries };
                fallback.ended = Some((end, ended_us));
            }
            told.push((Exit { child: live.child, end, ended_us }, live.output));
        }
        told.into_iter()
            .map(|(exit, output)| {
                self.remember(exit.clone());
                self.drain(output);
                exit
            })
            .collect()
    }

    fn remember(&mut self, exit: Exit) {
        self.exits.push_back(exit);
        while self.exits.len() > MAX_EXITS {
            self.exits.pop_front();
            self.exits_dropped += 1;
        }
    }

    /// Forgets exits that the runtime has recorded.
    pub(crate) fn acknowledge(&mut self, spawns: &[String]) {
        let answers = &mut self.answers;
        self.exits.retain(|exit| {
            let acknowledged = spawns.contains(&exit.child.spawn);
            if acknowledged {
                answers.push_back((exit.child.spawn.clone(), Ok(exit.child.clone())));
            }
            !acknowledged
        });
        keep_newest(&mut self.answers, MAX_ANSWERS);
    }

    /// Reads some of a child's output.
    pub(crate) fn drain(&mut self, output: u64) -> Drained {
        self.logs.drain(output)
    }

    /// Asks every child to stop with its own stop signal, continues it, and starts its grace. Returns the longest grace
    /// in microseconds.
    pub(crate) fn stop_all(&mut self, now_us: u64) -> u64 {
        let mut longest = 0;
        for live in self.live_children().filter(|live| live.ended.is_none()) {
            drop(live.handle.signal_group(live.stop.signal));
            drop(live.handle.signal_group(libc::SIGCONT));
            let grace_us = live.stop.grace_ms.saturating_mul(1000);
            live.kill_at_us = Some(now_us.saturating_add(grace_us));
            longest = longest.max(grace_us);
        }
        longest
    }

    /// Kills every child now.
    pub(crate) fn kill_all(&mut self, now_us: u64) {
        self.live_children().for_each(|live| live.kill_at_us = Some(now_us));
        self.kill_due(now_us);
    }

    /// Kills the groups whose grace is over.
    pub(crate) fn kill_due(&mut self, now_us: u64) {
        for live in self.live_children().filter(|live| live.kill_at_us.is_some_and(|at| at <= now_us)) {
            warn!(slot = %live.child.slot, pid = live.child.pid, "killed, because it did not stop in time");
            live.kill_at_us = None;
            drop(live.handle.signal_group(libc::SIGKILL));
        }
    }

    /// When something is next to be done about a stopping child.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let live_children = self.slots.values().filter_map(|slot| slot.live.as_ref());
        live_children.flat_map(|live| [live.kill_at_us, live.ended.map(|(_, at)| at + SWEEP_US)]).flatten().min()
    }

    /// All living children.
    pub(crate) fn living(&self) -> Vec<Child> {
        self.slots.values().filter_map(|slot| Some(slot.live.as_ref()?.child.clone())).collect()
    }

    /// Whether no child lives.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.values().all(|slot| slot.live.is_none())
    }

    /// The exits that are not acknowledged, and how many were dropped.
    pub(crate) fn unacknowledged(&self) -> (Vec<Exit>, u64) {
        (self.exits.iter().cloned().collect(), self.exits_dropped)
    }

    /// The newest incarnation of each slot.
    pub(crate) fn incarnations(&self) -> Vec<IncarnationCount> {
        let counted = self.slots.iter().filter(|(_, slot)| slot.incarnation > 0);
        counted.map(|(id, slot)| IncarnationCount { slot: id.clone(), incarnation: slot.incarnation }).collect()
    }

    /// Takes the file errors since the last call.
    pub(crate) fn problems(&mut self) -> Vec<String> {
        let mut problems = self.logs.problems();
        problems.extend(self.ledger.problem());
        problems
    }

    /// Reads all output that is there, before the keeper ends.
    pub(crate) fn drain_all(&mut self) {
        self.logs.drain_all();
    }

    fn live_children(&mut self) -> impl Iterator<Item = &mut LiveChild> {
        self.slots.values_mut().filter_map(|slot| slot.live.as_mut())
    }
}

fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Drops the oldest items beyond `most`.
fn keep_newest<T>(queue: &mut VecDeque<T>, most: usize) {
    queue.drain(..queue.len().saturating_sub(most));
}

/// Raises the keeper's own limit on open files, because it needs two per child. The children get the former limit back,
/// because programs that use select() break with more.
pub(crate) fn raise_open_files() -> Option<Rlimit> {
    let before = rustix::process::getrlimit(Resource::Nofile);
    if before.current == before.maximum {
        return None;
    }
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => Some(before),
        Err(error) => {
            warn!(error = %io::Error::from(error), "cannot raise the limit on open files");
            None
        }
    }
}
