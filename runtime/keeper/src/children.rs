//! The children: who lives where, how the others ended, and what each spawn was answered. It starts and signals what it is
//! told to; the one thing it insists on is that no two live in one place.

mod absence;
mod adoption;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use rustix::process::{Pid, Resource, Rlimit, WaitOptions, prlimit, waitpid};
use tracing::warn;

use crate::child_ledger::Ledger;
use crate::clock;
use crate::fallback;
use crate::identity::{self, Held};
use crate::kernel;
use crate::logs::{Drained, Logs};
use crate::poll::{Poll, Source};
use crate::protocol::{Child, Count, End, Exit, Origin, Place, Refusal, Signal, Spawn, Stop};
use crate::spawn;

/// How long the report of an end waits for the rest of the group, which was killed with it, to be gone: whoever starts the
/// next copy on that report must not meet a leftover that still holds the port. One stuck in the kernel is not waited for.
const SWEEP_US: u64 = 50_000;

/// Ends kept for a runtime that does not come. Past this the oldest are dropped, and counted.
const MAX_EXITS: usize = 4096;

/// Answers kept for spawns whose child is neither alive nor waiting to be acknowledged.
const MAX_ANSWERS: usize = 1024;

/// One place and its history.
#[derive(Debug, Default)]
struct Room {
    incarnation: u64,
    tenant: Option<Tenant>,
    line: Option<Line>,
}

/// Who lives in a room.
#[derive(Debug)]
struct Tenant {
    child: Child,
    held: Held,
    stop: Stop,
    /// The number its output is known by.
    output: u64,
    /// How and when it ended, while the rest of its group is waited for.
    ended: Option<(End, u64)>,
    /// When its group is killed, once it was asked to stop.
    kill_at_us: Option<u64>,
}

/// How to fill a room again in the runtime's absence.
#[derive(Debug)]
struct Line {
    spawn: Spawn,
    /// The id it was asked for under; what is started by this line is told apart by its incarnation.
    asked: String,
    /// Starts that did not last, since one did.
    tries: u32,
    /// The end it would answer, and when it happened.
    ended: Option<(End, u64)>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Children {
    poll: Rc<Poll>,
    ledger: Ledger,
    logs: Logs,
    rooms: BTreeMap<Place, Room>,
    exits: VecDeque<Exit>,
    exits_dropped: u64,
    answers: VecDeque<(String, Result<Child, Refusal>)>,
    outputs: u64,
    files: Option<Rlimit>,
}

impl Children {
    /// Nobody yet. `files` is the limit on open files the children get back, where the keeper raised its own.
    pub(crate) fn new(poll: Rc<Poll>, ledger: Ledger, files: Option<Rlimit>) -> Self {
        Self {
            poll,
            ledger,
            logs: Logs::default(),
            rooms: BTreeMap::new(),
            exits: VecDeque::new(),
            exits_dropped: 0,
            answers: VecDeque::new(),
            outputs: 0,
            files,
        }
    }

    /// Starts a process, or gives the answer it gave the first time.
    pub(crate) fn spawn(&mut self, request: Spawn) -> Result<Child, Refusal> {
        match self.answered(&request.spawn) {
            Some(Ok(child)) if child.place != request.place => {
                return Err(Refusal::Invalid(format!("{} was spawned in {}", request.spawn, child.place)));
            }
            Some(answer) => return answer,
            None => {}
        }
        spawn::check(&request)?;
        let room = self.rooms.entry(request.place.clone()).or_default();
        if let Some(tenant) = &room.tenant {
            return Err(Refusal::Occupied(tenant.child.clone()));
        }
        let answer = self.start(&request, Origin::Asked);
        if let Some(room) = self.rooms.get_mut(&request.place) {
            room.line = answer.is_ok().then_some(Line {
                spawn: request.clone(),
                asked: request.spawn.clone(),
                tries: 0,
                ended: None,
            });
        }
        if answer.is_err() {
            // The answer to a child that lives or ended is found with the child.
            self.answers.push_back((request.spawn, answer.clone()));
            keep_newest(&mut self.answers, MAX_ANSWERS);
        }
        answer
    }

    /// What that spawn was answered.
    pub(crate) fn answered(&self, spawn: &str) -> Option<Result<Child, Refusal>> {
        let living = self.rooms.values().filter_map(|room| Some(&room.tenant.as_ref()?.child));
        let ended = self.exits.iter().map(|exit| &exit.child);
        let found = living.chain(ended).find(|child| child.spawn == spawn).cloned().map(Ok);
        found.or_else(|| self.answers.iter().find(|(id, _)| id == spawn).map(|(_, answer)| answer.clone()))
    }

    /// The room is empty: start `request` in it.
    fn start(&mut self, request: &Spawn, origin: Origin) -> Result<Child, Refusal> {
        let incarnation = self.rooms.entry(request.place.clone()).or_default().incarnation + 1;
        self.outputs += 1;
        let output = self.outputs;
        let writer = match request.log.as_ref().map(|log| self.logs.open(output, log)).transpose() {
            Ok(writer) => writer,
            // Out of descriptors: a service without its log is better than none.
            Err(error) => {
                warn!(place = %request.place, %error, "no pipe for the output, it is discarded");
                None
            }
        };
        self.ledger.starting(&request.spawn, &request.place, incarnation);
        let started = spawn::start(request, writer).and_then(|pid| self.hold(request, pid));
        let (pid, held, start_ticks) = match started {
            Ok(started) => started,
            Err(refusal) => {
                self.logs.close(output);
                self.ledger.empty(&request.place, incarnation - 1);
                return Err(refusal);
            }
        };
        if let Some(reader) = self.logs.reader(output)
            && let Err(error) = self.poll.watch(reader, Source::Output(output))
        {
            warn!(place = %request.place, %error, "cannot watch the output");
        }
        let child = Child {
            spawn: request.spawn.clone(),
            place: request.place.clone(),
            incarnation,
            pid,
            start_ticks,
            started_us: clock::now_us(),
            origin,
            tag: request.tag.clone(),
        };
        self.ledger.lives(&child);
        let stop = request.stop;
        if let Some(room) = self.rooms.get_mut(&request.place) {
            room.incarnation = incarnation;
            room.tenant = Some(Tenant { child: child.clone(), held, stop, output, ended: None, kill_at_us: None });
        }
        Ok(child)
    }

    /// Gets hold of a process just started. One that cannot be held (no descriptor is left) is killed and reaped: it could
    /// be neither watched nor signalled safely.
    fn hold(&self, request: &Spawn, pid: u32) -> Result<(u32, Held, u64), Refusal> {
        if let Some(limit) = &self.files {
            let _ = prlimit(raw(pid), Resource::Nofile, *limit);
        }
        let held = Held::child(pid).and_then(|held| Ok((pid, held, identity::stat(pid)?.start_ticks)));
        held.map_err(|error| {
            if let Some(raw) = raw(pid) {
                let _ = rustix::process::kill_process(raw, rustix::process::Signal::KILL);
                let _ = waitpid(Some(raw), WaitOptions::empty());
            }
            let errno = error.raw_os_error().unwrap_or(0);
            let program = request.command.first().cloned().unwrap_or_default();
            Refusal::Exec { program, errno, reason: format!("cannot hold PID {pid}: {error}") }
        })
    }

    /// Sends a signal to the child of that spawn id, and to nobody else.
    pub(crate) fn signal(&mut self, request: &Signal) -> Result<(), Refusal> {
        let mut rooms = self.rooms.values_mut();
        let found = rooms.find(|room| room.tenant.as_ref().is_some_and(|tenant| tenant.child.spawn == request.spawn));
        let (room, tenant) = match found {
            Some(Room { tenant: Some(tenant), line, .. }) => (line, tenant),
            _ => return Err(Refusal::NoSuchChild(request.spawn.clone())),
        };
        if request.retire {
            *room = None;
        }
        let sent = match request.group {
            true => tenant.held.signal_group(request.signal),
            false => tenant.held.signal(request.signal),
        };
        match sent {
            Ok(()) => Ok(()),
            // It has just ended: the report is on its way.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(Refusal::NoSuchChild(request.spawn.clone())),
            Err(error) => Err(Refusal::Signal { signal: request.signal, reason: error.to_string() }),
        }
    }

    /// Reaps whoever has ended. Returns the end of `runtime`, if it is among them.
    pub(crate) fn reap(&mut self, runtime: Option<u32>, now_us: u64) -> Option<End> {
        let mut runtime_end = None;
        while let Some(pid) = kernel::peek_ended() {
            let tenant =
                self.tenants().find(|tenant| tenant.child.pid == pid && tenant.child.origin != Origin::Adopted);
            if let Some(tenant) = &tenant {
                // Before it is reaped: so far its group's number is certainly its own.
                drop(tenant.held.signal_group(libc::SIGKILL));
            }
            let end = match waitpid(raw(pid), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => End::Code(code),
                    (None, Some(signal)) => End::Signal { signal, core: status.as_raw() & 0x80 != 0 },
                    (None, None) => End::Unknown,
                },
                Ok(None) | Err(_) => End::Unknown,
            };
            match tenant {
                Some(tenant) => tenant.ended = Some((end, now_us)),
                None if runtime == Some(pid) => runtime_end = Some(end),
                // An orphan of a child's, left to us as sub-reaper.
                None => {}
            }
        }
        runtime_end
    }

    /// An adopted process has ended.
    pub(crate) fn survivor_ended(&mut self, pid: u32, now_us: u64) {
        let poll = Rc::clone(&self.poll);
        let adopted = |tenant: &&mut Tenant| tenant.child.pid == pid && tenant.child.origin == Origin::Adopted;
        if let Some(tenant) = self.tenants().find(adopted) {
            drop(poll.forget(&tenant.held));
            drop(tenant.held.signal_group(libc::SIGKILL));
            tenant.ended = Some((End::Unknown, now_us));
        }
    }

    /// The ends that can be told now: nothing is left of the group, or it was waited for long enough.
    pub(crate) fn settle(&mut self, now_us: u64) -> Vec<Exit> {
        let mut told = Vec::new();
        for room in self.rooms.values_mut() {
            let Some((end, ended_us)) = room.tenant.as_ref().and_then(|tenant| tenant.ended) else { continue };
            let waited = now_us >= ended_us + SWEEP_US;
            let Some(tenant) = room.tenant.take_if(|tenant| waited || !tenant.held.group_lives()) else { continue };
            self.ledger.empty(&tenant.child.place, tenant.child.incarnation);
            if let Some(line) = &mut room.line {
                let lasted = ended_us.saturating_sub(tenant.child.started_us) >= fallback::LASTED_US;
                line.tries = if lasted { 0 } else { line.tries };
                line.ended = Some((end, ended_us));
            }
            told.push((Exit { child: tenant.child, end, ended_us }, tenant.output));
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

    /// The runtime has these ends on record.
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

    /// Takes in some of a child's output.
    pub(crate) fn drain(&mut self, output: u64) -> Drained {
        self.logs.drain(output)
    }

    /// Asks everybody to end: each with its own signal, awake, and with its own grace.
    /// Returns the longest grace, in microseconds.
    pub(crate) fn stop_all(&mut self, now_us: u64) -> u64 {
        let mut longest = 0;
        for tenant in self.tenants().filter(|tenant| tenant.ended.is_none()) {
            drop(tenant.held.signal_group(tenant.stop.signal));
            drop(tenant.held.signal_group(libc::SIGCONT));
            let grace_us = tenant.stop.grace_ms.saturating_mul(1000);
            tenant.kill_at_us = Some(now_us.saturating_add(grace_us));
            longest = longest.max(grace_us);
        }
        longest
    }

    /// Ends everybody now.
    pub(crate) fn hurry(&mut self, now_us: u64) {
        self.tenants().for_each(|tenant| tenant.kill_at_us = Some(now_us));
        self.kill_due(now_us);
    }

    /// Kills the groups whose grace is over.
    pub(crate) fn kill_due(&mut self, now_us: u64) {
        for tenant in self.tenants().filter(|tenant| tenant.kill_at_us.is_some_and(|at| at <= now_us)) {
            warn!(place = %tenant.child.place, pid = tenant.child.pid, "killed: it did not end in time");
            tenant.kill_at_us = None;
            drop(tenant.held.signal_group(libc::SIGKILL));
        }
    }

    /// When something about an ending child is next to be done.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let tenants = self.rooms.values().filter_map(|room| room.tenant.as_ref());
        tenants.flat_map(|tenant| [tenant.kill_at_us, tenant.ended.map(|(_, at)| at + SWEEP_US)]).flatten().min()
    }

    /// Everybody alive.
    pub(crate) fn living(&self) -> Vec<Child> {
        self.rooms.values().filter_map(|room| Some(room.tenant.as_ref()?.child.clone())).collect()
    }

    /// Whether nobody lives here.
    pub(crate) fn is_empty(&self) -> bool {
        self.rooms.values().all(|room| room.tenant.is_none())
    }

    /// The ends nobody has acknowledged, and how many were dropped.
    pub(crate) fn unacknowledged(&self) -> (Vec<Exit>, u64) {
        (self.exits.iter().cloned().collect(), self.exits_dropped)
    }

    /// How far each place has counted.
    pub(crate) fn incarnations(&self) -> Vec<Count> {
        let counted = self.rooms.iter().filter(|(_, room)| room.incarnation > 0);
        counted.map(|(place, room)| Count { place: place.clone(), incarnation: room.incarnation }).collect()
    }

    /// What went wrong with files since the last time this was asked.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        let mut complaints = self.logs.complaints();
        complaints.extend(self.ledger.complaint());
        complaints
    }

    /// Takes in the output that is there, before the keeper goes.
    pub(crate) fn drain_all(&mut self) {
        self.logs.drain_all();
    }

    fn tenants(&mut self) -> impl Iterator<Item = &mut Tenant> {
        self.rooms.values_mut().filter_map(|room| room.tenant.as_mut())
    }
}

fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// A queue that forgets its oldest.
fn keep_newest<T>(queue: &mut VecDeque<T>, most: usize) {
    queue.drain(..queue.len().saturating_sub(most));
}

/// The keeper's own limit on open files is raised to what is allowed (two per child are needed); the children get the
/// former one back, because programs that use select() break with more.
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
