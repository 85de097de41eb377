//! A service's life: start, stop, restart, scale, signal. Each is asked of the keeper under an intent's id, so that asking
//! again after a crash does not do it again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use heald_keeper::protocol::{Ask, Child, Done, Log, Message, Place, Refusal, RuntimeEnd, Signal, Spawn};
use heald_model::{Moment, ServiceName};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::config::ProcessConfig;
use crate::environment::{account, environment};
use crate::event::{Event, Process};
use crate::roster::{Anchor, Roster};
use crate::wire::{self, Beat, Wire, WireError};

/// How long a killed process may take to be gone. One that the kernel does not let go (a dead disk, a dead mount) is said
/// to be stuck, and nothing is started beside it.
const KILL_TAKES: Duration = Duration::from_secs(5);

/// A process that nobody probes counts as ready when it has lived this long: the implicit probe of every supervised process.
const SETTLED: Duration = Duration::from_secs(1);

const CONT: i32 = 18;
const KILL: i32 = 9;

/// A service whose processes heald runs.
#[derive(Debug, Clone)]
pub struct ServiceProcess {
    /// Its name.
    pub name: ServiceName,
    /// The services it needs, for the order of starting.
    pub depends_on: Vec<ServiceName>,
    /// Somebody will say when it is [`ready`](Supervisor::ready). Otherwise it is when it has lived for a second.
    pub probed: bool,
    /// How it is run.
    pub config: ProcessConfig,
}

/// How to supervise.
pub struct Options {
    /// Where the logs go that have no path of their own.
    pub log_dir: PathBuf,
    /// The time: later times are told on the same clock.
    pub now: Moment,
    /// How often the keeper is told that this runtime lives. Well below its patience of 10 s; 1 s.
    pub beat: Duration,
    /// Asked before each beat. A runtime whose loop is stuck should not claim to be alive.
    pub alive: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl Options {
    /// The defaults.
    pub fn new(log_dir: PathBuf, now: Moment) -> Self {
        Self { log_dir, now, beat: Duration::from_secs(1), alive: None }
    }
}

/// What the keeper said when this runtime came.
#[derive(Debug, Clone)]
pub struct Found {
    /// Processes that live. Those of [`Origin::Adopted`](crate::Origin) have lost their output and had better be replaced,
    /// one by one; outdated ones were started with another configuration.
    pub alive: Vec<Process>,
    /// Those that ended while no runtime was there (or before it was on record), oldest first. To be acknowledged.
    pub ended: Vec<Process>,
    /// Ends that the keeper had to forget.
    pub ends_forgotten: u64,
    /// The living of `alive` that are nobody's any more: their service, or their copy of it, is not configured.
    pub strangers: Vec<Process>,
    /// Native rules only: the runtimes before this one crashed.
    pub safe_mode: bool,
    /// How the runtime before this one ended, if this is not the first.
    pub previous: Option<RuntimeEnd>,
    /// How many runtimes this keeper has started.
    pub runtime_starts: u64,
    /// The keeper's PID.
    pub keeper: u32,
}

/// Which copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All that are wanted.
    All,
    /// This one.
    One(u32),
}

/// A copy that runs because of a start or restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Which copy.
    pub replica: u32,
    /// Which life of it.
    pub incarnation: u64,
    /// Its process id.
    pub pid: u32,
    /// Whether this very request started it. False: it ran already, or the same intent had started it before.
    pub fresh: bool,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// heald does not run it.
    #[error("heald runs no processes of service `{0}`")]
    NotSupervised(ServiceName),
    /// There is no such copy.
    #[error("service `{0}` has no copy {1}")]
    NoSuchReplica(ServiceName, u32),
    /// Its environment file cannot be used.
    #[error("cannot read {}", path.display())]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody is called that.
    #[error("user `{0}` is not in /etc/passwd")]
    User(String),
    /// The keeper would not.
    #[error("{0}")]
    Refused(Refusal),
    /// Killed, and still there.
    #[error("{place} (PID {pid}) was killed and does not end")]
    Stuck {
        /// Where it lives.
        place: Place,
        /// The process.
        pid: u32,
    },
    /// The keeper cannot be asked.
    #[error(transparent)]
    Keeper(#[from] WireError),
}

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
        let (greeted, hello) = wire::attach(stream).await?;
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
            Ok(child.and_then(Result::ok).map(|child| started(&child, false)))
        });
        Ok(all(recalled).await?.into_iter().flatten().collect())
    }

    /// Starts the copies of all these services that do not run, each service after those it depends on: when they are
    /// ready, or their startup deadline has passed. `order` has dependencies before their dependents.
    pub async fn start_all(
        &self,
        order: &[ServiceName],
        intent: &str,
    ) -> Vec<(ServiceName, Result<Vec<Started>, SupervisorError>)> {
        let begun: BTreeMap<&ServiceName, watch::Sender<Option<tokio::time::Instant>>> =
            order.iter().map(|name| (name, watch::Sender::new(None))).collect();
        let each = order.iter().map(|name| {
            let begun = &begun;
            async move {
                for dependency in self.inner.services.get(name).into_iter().flat_map(|service| &service.depends_on) {
                    if let Some(begun) = begun.get(dependency).filter(|_| dependency != name) {
                        // The sender is borrowed above: it outlives this wait.
                        let at = begun.subscribe().wait_for(Option::is_some).await.ok().and_then(|at| *at);
                        self.await_dependency(name, dependency, at.unwrap_or_else(tokio::time::Instant::now)).await;
                    }
                }
                let result = self.start(name, Which::All, intent).await;
                if let Some(begun) = begun.get(name) {
                    begun.send_replace(Some(tokio::time::Instant::now()));
                }
                (name.clone(), result)
            }
        });
        join_all(each).await
    }

    /// Stops processes that are nobody's any more.
    pub async fn dismiss(&self, strangers: &[Process]) -> Result<(), SupervisorError> {
        all(strangers.iter().map(|process| self.stop_one(&process.service, process.replica, None))).await.map(drop)
    }

    /// Stops everything, dependents before what they depend on. `order` is that of [`start_all`](Self::start_all).
    pub async fn stop_all(&self, order: &[ServiceName]) -> Vec<(ServiceName, Result<Vec<Process>, SupervisorError>)> {
        let mut left: Vec<&ServiceName> = order.iter().rev().collect();
        let mut results = Vec::new();
        while !left.is_empty() {
            // Those that nobody left needs, at the same time.
            let needed = |name: &ServiceName| {
                let mut others =
                    left.iter().filter(|other| **other != name).filter_map(|other| self.inner.services.get(*other));
                others.any(|other| other.depends_on.contains(name))
            };
            let (mut now, mut later): (Vec<_>, Vec<_>) = left.iter().copied().partition(|name| !needed(name));
            if now.is_empty() {
                // A cycle has no order.
                now = std::mem::take(&mut later);
            }
            let stops =
                now.into_iter().map(|name| async move { (name.clone(), self.stop(name, Which::All, None).await) });
            results.extend(join_all(stops).await);
            left = later;
        }
        results
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
            Some(Ok(child)) => return Ok(started(&child, false)),
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

    async fn spawn(&self, service: &ServiceProcess, place: Place, intent: &str) -> Result<Started, SupervisorError> {
        let before = self.inner.shared.roster().incarnation(&place);
        let request = self.request(service, place, intent)?;
        match self.ask(Ask::Spawn(Box::new(request))).await? {
            Done::Spawned(child) => {
                let fresh = child.incarnation > before;
                info!(service = %service.name, replica = child.place.replica, pid = child.pid, fresh, "started");
                Ok(started(&child, fresh))
            }
            other => Err(SupervisorError::Refused(Refusal::Invalid(format!("{other:?} answers no spawn")))),
        }
    }

    fn request(&self, service: &ServiceProcess, place: Place, intent: &str) -> Result<Spawn, SupervisorError> {
        let config = &service.config;
        let env = environment(config, service.name.as_str(), place.replica)
            .map_err(|source| SupervisorError::EnvFile { path: config.env_file.clone().unwrap_or_default(), source })?;
        let user = match &config.user {
            Some(name) => Some(account(name).ok_or_else(|| SupervisorError::User(name.clone()))?.user),
            None => None,
        };
        Ok(Spawn {
            spawn: spawn_id(intent, &place),
            command: config.command.clone(),
            env,
            cwd: config.cwd.clone(),
            user,
            log: Some(Log {
                path: self.log_path(service, place.replica),
                max_bytes: config.log.max_size,
                keep: config.log.keep,
            }),
            fallback: config.fallback(),
            stop: config.stop(),
            tag: digest(config),
            place,
        })
    }

    /// The file a copy's output goes to.
    fn log_path(&self, service: &ServiceProcess, replica: u32) -> PathBuf {
        let path = match &service.config.log.path {
            Some(path) => path.clone(),
            None => self.inner.log_dir.join(format!("{}.log", file_name(service.name.as_str()))),
        };
        match replica {
            0 => path,
            _ => {
                let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned());
                path.with_extension([replica.to_string()].into_iter().chain(extension).collect::<Vec<_>>().join("."))
            }
        }
    }

    /// Where a copy's output goes, if heald runs it.
    pub fn log(&self, service: &ServiceName, replica: u32) -> Option<PathBuf> {
        Some(self.log_path(self.inner.services.get(service)?, replica))
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

    /// Waits until a dependency that was started at `begun` serves, or should by now.
    async fn await_dependency(&self, name: &ServiceName, dependency: &ServiceName, begun: tokio::time::Instant) {
        let Some(service) = self.inner.services.get(dependency) else { return };
        let wanted = self.wanted(dependency).unwrap_or(0);
        let serves = |roster: &Roster| {
            (0..wanted).all(|replica| match roster.at(&place(dependency, replica)) {
                None => false,
                Some(process) => match &process.ended {
                    Some(ended) => service.config.oneshot && !service.config.is_failure(ended.end),
                    None => !service.config.oneshot && process.ready,
                },
            })
        };
        let patience = if service.probed || service.config.oneshot { service.config.startup } else { SETTLED };
        let waited = tokio::time::timeout_at(begun + patience, self.until(serves)).await;
        if waited.is_err() && patience != SETTLED {
            warn!(service = %name, %dependency, "the dependency is not ready in time; starting all the same");
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

fn started(child: &Child, fresh: bool) -> Started {
    Started { replica: child.place.replica, incarnation: child.incarnation, pid: child.pid, fresh }
}

/// One intent can start several copies of several services; each is a process of its own.
fn spawn_id(intent: &str, place: &Place) -> String {
    format!("{intent}/{place}")
}

/// A service may be called anything; a file may not.
fn file_name(service: &str) -> String {
    service.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect()
}

/// A short text that differs when the configuration does (FNV-1a: stable across builds, and nobody attacks it).
fn digest(config: &ProcessConfig) -> String {
    let text = serde_json::to_vec(config).unwrap_or_default();
    let hash = text
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}
