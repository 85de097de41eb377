//! A service's life: start, stop, restart, scale, signal. Each is asked of the keeper under an intent's id, so that asking
//! again after a crash does not do it again.

mod ordering;
mod request;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use heald_keeper::protocol::{Ask, Child, Done, Message, Place, Refusal, Signal};
use heald_model::ServiceName;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use self::request::{digest, spawn_id};
use crate::connection::{self, Beat, Wire, WireError};
use crate::event::{Event, Process};
use crate::process_table::{Anchor, Roster};
use crate::terms::{Found, Options, ServiceProcess, Started, SupervisorError, Which};

/// How long a killed process may take to be gone. One that the kernel does not let go (a dead disk, a dead mount) is said
/// to be stuck, and nothing is started beside it.
const KILL_TAKES: Duration = Duration::from_secs(5);

const CONT: i32 = 18;
const KILL: i32 = 9;

/// The handle. Clones are the same supervisor; the last one dropped closes the connection, which to the keeper is a runtime
/// that ends.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

struct Inner {
    wire: Wire,
    shared: Arc<Shared>,
    services: BTreeMap<ServiceName, ServiceProcess>,
    log_dir: PathBuf,
    /// One change at a time in each place.
    turns: Mutex<BTreeMap<Place, Arc<tokio::sync::Mutex<()>>>>,
    wanted: Mutex<BTreeMap<ServiceName, u32>>,
}

/// What the connection's task and the handles both touch.
struct Shared {
    roster: Mutex<Roster>,
    subscribers: Mutex<Vec<mpsc::UnboundedSender<Event>>>,
    /// Bumped with every change of the roster.
    changes: watch::Sender<u64>,
}

impl Shared {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, message: &Message) {
        let event = match message {
            Message::Answer { answer: Ok(Done::Spawned(child)), .. } => self.roster().started(child),
            Message::Exited(exit) => Some(self.roster().ended(exit)),
            Message::Notice { text } => Some(Event::Notice(text.clone())),
            Message::Answer { .. } | Message::Hello(_) => None,
        };
        if let Some(event) = event {
            self.tell(&event);
        }
    }

    fn tell(&self, event: &Event) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
        drop(subscribers);
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

impl Supervisor {
    /// Attaches to the keeper at the other end of `stream` (see [`heald_keeper::client::inherited`]) and takes over.
    /// Nothing is started or stopped by that.
    pub async fn connect(
        stream: std::os::unix::net::UnixStream,
        services: Vec<ServiceProcess>,
        options: Options,
    ) -> Result<(Self, Found), SupervisorError> {
        let (greeted, hello) = connection::attach(stream).await?;
        let anchor = Anchor { moment: options.now, monotonic_us: monotonic_us() };
        let services: BTreeMap<_, _> = services.into_iter().map(|service| (service.name.clone(), service)).collect();
        let digests = services.values().map(|service| (service.name.clone(), digest(&service.config))).collect();
        let wanted = services.values().map(|service| (service.name.clone(), service.config.replicas)).collect();
        let mut roster = Roster::new(anchor, digests);
        let ended = roster.hello(&hello);
        let alive: Vec<Process> = roster.all().filter(|process| process.is_running()).cloned().collect();
        let wants = |process: &&Process| {
            services.get(&process.service).is_none_or(|service| process.replica >= service.config.replicas)
        };
        let found = Found {
            strangers: alive.iter().filter(wants).cloned().collect(),
            alive,
            ended,
            ends_forgotten: hello.exits_dropped,
            safe_mode: hello.safe_mode,
            previous: hello.previous,
            runtime_starts: hello.runtime_starts,
            keeper: hello.keeper,
        };
        let shared = Arc::new(Shared {
            roster: Mutex::new(roster),
            subscribers: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        let beat = Beat { every: options.beat, alive: options.alive };
        let wire = Wire::open(greeted, beat, {
            let shared = Arc::clone(&shared);
            move |message| shared.hear(message)
        });
        let inner = Inner {
            wire,
            shared,
            services,
            log_dir: options.log_dir,
            turns: Mutex::default(),
            wanted: Mutex::new(wanted),
        };
        Ok((Self { inner: Arc::new(inner) }, found))
    }

    /// All news from now on; none is dropped, so read them.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Event> {
        let (subscriber, events) = mpsc::unbounded_channel();
        self.inner.shared.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(subscriber);
        events
    }

    /// The services heald runs.
    pub fn services(&self) -> impl Iterator<Item = &ServiceProcess> {
        self.inner.services.values()
    }

    /// The newest life of every copy of a service, ended ones included, by number.
    pub fn processes(&self, service: &ServiceName) -> Vec<Process> {
        self.inner.shared.roster().all().filter(|process| process.service == *service).cloned().collect()
    }

    /// How many copies are wanted; none of a service heald does not run.
    pub fn wanted(&self, service: &ServiceName) -> Option<u32> {
        self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner).get(service).copied()
    }

    /// How many lives a copy has had.
    pub fn incarnation(&self, service: &ServiceName, replica: u32) -> u64 {
        self.inner.shared.roster().incarnation(&place(service, replica))
    }

    /// Somebody found this life of a copy ready.
    pub fn ready(&self, service: &ServiceName, replica: u32, incarnation: u64) {
        let event = self.inner.shared.roster().ready(&place(service, replica), incarnation);
        if let Some(event) = event {
            self.inner.shared.tell(&event);
        }
    }

    /// These ends (by spawn id) are on record: the keeper may forget them.
    pub async fn acknowledge(&self, spawns: Vec<String>) -> Result<(), SupervisorError> {
        self.ask(Ask::Acknowledge { spawns }).await.map(drop)
    }

    /// Starts the copies that do not run. `intent` names this request: repeated, it starts nothing twice.
    pub async fn start(
        &self,
        service: &ServiceName,
        which: Which,
        intent: &str,
    ) -> Result<Vec<Started>, SupervisorError> {
        let known = self.service(service)?;
        all(self.chosen(known, which)?.into_iter().map(|replica| self.start_one(known, replica, intent))).await
    }

    /// Stops the copies, whole process group each, and starts them again: stop signal, continue, and after `grace` (the
    /// configuration's if `None`) kill. A copy this intent has replaced already is left alone.
    pub async fn restart(
        &self,
        service: &ServiceName,
        which: Which,
        intent: &str,
        grace: Option<Duration>,
    ) -> Result<Vec<Started>, SupervisorError> {
        let known = self.service(service)?;
        all(self.chosen(known, which)?.into_iter().map(|replica| self.restart_one(known, replica, intent, grace))).await
    }

    /// Stops the copies that run. Returns what was stopped. [`Which::All`] includes copies beyond those wanted.
    pub async fn stop(
        &self,
        service: &ServiceName,
        which: Which,
        grace: Option<Duration>,
    ) -> Result<Vec<Process>, SupervisorError> {
        let running = self.processes(service).into_iter().filter(Process::is_running);
        let chosen = running.map(|process| process.replica).filter(|replica| match which {
            Which::All => true,
            Which::One(one) => *replica == one,
        });
        let stopped = all(chosen.map(|replica| self.stop_one(service, replica, grace))).await?;
        Ok(stopped.into_iter().flatten().collect())
    }

    /// Changes how many copies are wanted: starts the missing ones, stops those beyond.
    pub async fn scale(
        &self,
        service: &ServiceName,
        replicas: u32,
        intent: &str,
    ) -> Result<Vec<Started>, SupervisorError> {
        let known = self.service(service)?;
        self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(service.clone(), replicas);
        let beyond = self.processes(service).into_iter().filter(|process| process.replica >= replicas);
        all(beyond.map(|process| self.stop_one(service, process.replica, None))).await?;
        all((0..replicas).map(|replica| self.start_one(known, replica, intent))).await
    }

    /// Sends a signal to the copies themselves (not to their groups). Returns how many there were.
    pub async fn signal(&self, service: &ServiceName, which: Which, signal: i32) -> Result<usize, SupervisorError> {
        let known = self.service(service)?;
        let chosen = self.chosen(known, which)?;
        let living: Vec<String> = {
            let roster = self.inner.shared.roster();
            let living = chosen.iter().filter_map(|replica| roster.living(&place(service, *replica)));
            living.map(|process| process.spawn.clone()).collect()
        };
        let sent = living.iter().map(|spawn| {
            let request = Signal { spawn: spawn.clone(), signal, group: false, retire: false };
            self.ask(Ask::Signal(request))
        });
        Ok(all(sent).await?.len())
    }

    /// What became of an intent to start or restart that was on record when a runtime died: the copies it started, as far as
    /// the keeper remembers. An empty answer means that it had no effect.
    pub async fn recall(&self, service: &ServiceName, intent: &str) -> Result<Vec<Started>, SupervisorError> {
        let known = self.service(service)?;
        let replicas = self.wanted(service).unwrap_or(0).max(known.config.replicas);
        let recalled = (0..replicas).map(|replica| async move {
            let child = self.recall_one(&place(service, replica), intent).await?;
            Ok(child.and_then(Result::ok).map(|child| Started::of(&child, false)))
        });
        Ok(all(recalled).await?.into_iter().flatten().collect())
    }

    /// Stops processes that are nobody's any more.
    pub async fn dismiss(&self, strangers: &[Process]) -> Result<(), SupervisorError> {
        all(strangers.iter().map(|process| self.stop_one(&process.service, process.replica, None))).await.map(drop)
    }

    /// Tells the keeper that this runtime is about to end, and what shall become of the children.
    pub async fn shutdown(&self, leave_children: bool) -> Result<(), SupervisorError> {
        self.ask(Ask::Shutdown { leave_children }).await.map(drop)
    }

    /// Returns when the keeper is gone: time to go too.
    pub async fn closed(&self) {
        self.inner.wire.closed().await;
    }

    async fn ask(&self, ask: Ask) -> Result<Done, SupervisorError> {
        self.inner.wire.ask(ask).await?.map_err(SupervisorError::Refused)
    }

    fn service(&self, name: &ServiceName) -> Result<&ServiceProcess, SupervisorError> {
        self.inner.services.get(name).ok_or_else(|| SupervisorError::NotSupervised(name.clone()))
    }

    fn chosen(&self, service: &ServiceProcess, which: Which) -> Result<Vec<u32>, SupervisorError> {
        let wanted = self.wanted(&service.name).unwrap_or(0);
        match which {
            Which::All => Ok((0..wanted).collect()),
            Which::One(replica) if replica < wanted => Ok(vec![replica]),
            Which::One(replica) => Err(SupervisorError::NoSuchReplica(service.name.clone(), replica)),
        }
    }

    fn turn(&self, place: &Place) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.inner.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(place.clone()).or_default())
    }

    async fn start_one(
        &self,
        service: &ServiceProcess,
        replica: u32,
        intent: &str,
    ) -> Result<Started, SupervisorError> {
        let place = place(&service.name, replica);
        let turn = self.turn(&place);
        let _turn = turn.lock().await;
        let living = self.inner.shared.roster().living(&place).cloned();
        match living {
            Some(process) => Ok(Started { replica, incarnation: process.incarnation, pid: process.pid, fresh: false }),
            None => self.spawn(service, place, intent).await,
        }
    }

    async fn restart_one(
        &self,
        service: &ServiceProcess,
        replica: u32,
        intent: &str,
        grace: Option<Duration>,
    ) -> Result<Started, SupervisorError> {
        let place = place(&service.name, replica);
        let turn = self.turn(&place);
        let _turn = turn.lock().await;
        // First of all: a repeated intent must not stop what came after it.
        match self.recall_one(&place, intent).await? {
            Some(Ok(child)) => return Ok(Started::of(&child, false)),
            Some(Err(refusal)) => return Err(SupervisorError::Refused(*refusal)),
            None => {}
        }
        self.stop_in_turn(&place, grace.unwrap_or(service.config.stop_grace)).await?;
        self.spawn(service, place, intent).await
    }

    async fn stop_one(
        &self,
        service: &ServiceName,
        replica: u32,
        grace: Option<Duration>,
    ) -> Result<Option<Process>, SupervisorError> {
        let configured = self.inner.services.get(service).map(|service| service.config.stop_grace);
        let place = place(service, replica);
        let turn = self.turn(&place);
        let _turn = turn.lock().await;
        self.stop_in_turn(&place, grace.or(configured).unwrap_or(Duration::from_secs(10))).await
    }

    async fn recall_one(
        &self,
        place: &Place,
        intent: &str,
    ) -> Result<Option<Result<Child, Box<Refusal>>>, SupervisorError> {
        match self.ask(Ask::Recall { spawn: spawn_id(intent, place) }).await? {
            Done::Recalled(answer) => Ok(answer),
            _ => Ok(None),
        }
    }

    /// Returns the process that was stopped, or none if nobody lived there.
    async fn stop_in_turn(&self, place: &Place, grace: Duration) -> Result<Option<Process>, SupervisorError> {
        let Some(process) = self.inner.shared.roster().living(place).cloned() else { return Ok(None) };
        let service = self.inner.services.get(&process.service);
        let polite = service.map_or(15, |service| service.config.stop().signal);
        self.inner.shared.roster().ask(&process.spawn);
        self.signal_group(&process.spawn, polite).await?;
        if polite != KILL {
            // One that was stopped or frozen takes the signal only when it goes on.
            self.signal_group(&process.spawn, CONT).await?;
        }
        if !self.await_end(place, &process.spawn, grace).await? {
            warn!(%place, pid = process.pid, "did not stop in time and is killed");
            self.signal_group(&process.spawn, KILL).await?;
            if !self.await_end(place, &process.spawn, KILL_TAKES).await? {
                return Err(SupervisorError::Stuck { place: place.clone(), pid: process.pid });
            }
        }
        Ok(self.inner.shared.roster().at(place).cloned())
    }

    /// Whom there is nobody to signal any more has ended: the news is on its way.
    async fn signal_group(&self, spawn: &str, signal: i32) -> Result<(), SupervisorError> {
        let request = Signal { spawn: spawn.to_owned(), signal, group: true, retire: true };
        match self.ask(Ask::Signal(request)).await {
            Ok(_) | Err(SupervisorError::Refused(Refusal::NoSuchChild(_))) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether that process has ended within the time.
    async fn await_end(&self, place: &Place, spawn: &str, within: Duration) -> Result<bool, SupervisorError> {
        let gone = |roster: &Roster| roster.living(place).is_none_or(|process| process.spawn != spawn);
        tokio::select! {
            ended = tokio::time::timeout(within, self.until(gone)) => Ok(ended.is_ok()),
            () = self.closed() => Err(WireError::Gone.into()),
        }
    }

    /// Waits for a state of the roster.
    async fn until(&self, reached: impl Fn(&Roster) -> bool) {
        let mut changes = self.inner.shared.changes.subscribe();
        // An error means that nothing will ever change again; then it is as good as never.
        while !reached(&self.inner.shared.roster()) {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// All of them at once; the first error if there is one, after all have ended.
async fn all<T>(
    futures: impl Iterator<Item = impl Future<Output = Result<T, SupervisorError>>>,
) -> Result<Vec<T>, SupervisorError> {
    join_all(futures).await.into_iter().collect()
}

fn place(service: &ServiceName, replica: u32) -> Place {
    Place { service: service.to_string(), replica }
}

fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}
