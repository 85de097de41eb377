//! Starting, stopping, restarting and signalling the processes of services.
//!
//! Each start is requested from the keeper under the id of an intent, so that a request repeated after a crash starts
//! nothing twice. It decides nothing: it does what it is told.

mod ordering;
mod request;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use heald_keeper::protocol::{
    Child, KeeperCommand, KeeperMessage, KeeperRefusal, KeeperReply, RestartHold, SignalRequest, SlotId,
};
use heald_model::ServiceName;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use self::request::{digest, spawn_id};
use crate::connection::{self, ConnectionError, Heartbeat, KeeperConnection};
use crate::event::{ProcessEvent, ReplicaProcess};
use crate::process_table::{ClockAnchor, ProcessTable};
use crate::terms::{Found, Options, SafeMode, Started, SupervisedService, SupervisorError, Which};

/// How long a killed process may take to end. A process that the kernel does not let go (a dead disk, a dead mount) is
/// reported as stuck, and nothing is started beside it.
const KILL_TAKES: Duration = Duration::from_secs(5);

const CONT: i32 = 18;
const KILL: i32 = 9;

/// The handle on the supervisor. Clones share it. Dropping the last one closes the connection; to the keeper that is a
/// runtime that ends.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<SupervisorInner>,
}

struct SupervisorInner {
    connection: KeeperConnection,
    shared: Arc<SharedState>,
    services: BTreeMap<ServiceName, SupervisedService>,
    log_dir: PathBuf,
    /// One lock per slot, so that only one change at a time happens in it.
    slot_locks: Mutex<BTreeMap<SlotId, Arc<tokio::sync::Mutex<()>>>>,
}

/// The state that the connection's task and the handles share.
struct SharedState {
    table: Mutex<ProcessTable>,
    subscribers: Mutex<Vec<mpsc::UnboundedSender<ProcessEvent>>>,
    /// Counts the changes of the table.
    changes: watch::Sender<u64>,
}

impl SharedState {
    fn table(&self) -> MutexGuard<'_, ProcessTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, message: &KeeperMessage) {
        let event = match message {
            KeeperMessage::Answer { answer: Ok(KeeperReply::Spawned(child)), .. } => self.table().started(child),
            KeeperMessage::Exited(exit) => Some(self.table().ended(exit)),
            KeeperMessage::Notice { text } => Some(ProcessEvent::Notice(text.clone())),
            KeeperMessage::Answer { .. } | KeeperMessage::Hello(_) => None,
        };
        if let Some(event) = event {
            self.publish(&event);
        }
    }

    fn publish(&self, event: &ProcessEvent) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
        drop(subscribers);
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

impl Supervisor {
    /// Attaches to the keeper at the other end of `stream` (see [`heald_keeper::client::inherited`]) and takes over. It
    /// starts and stops nothing.
    pub async fn connect(
        stream: std::os::unix::net::UnixStream,
        services: Vec<SupervisedService>,
        options: Options,
    ) -> Result<(Self, Found), SupervisorError> {
        // Before the keeper is asked: whatever that takes would make every end of a process seem earlier than it was, and an end that
        // an action brought about would seem to come before the action.
        let clock_anchor = ClockAnchor { moment: options.now, monotonic_us: monotonic_us() };
        let (stream, hello) = connection::attach(stream).await?;
        let services: BTreeMap<_, _> = services.into_iter().map(|service| (service.name.clone(), service)).collect();
        let digests = services.values().map(|service| (service.name.clone(), digest(&service.config))).collect();
        let mut table = ProcessTable::new(clock_anchor, digests);
        let ended = table.hello(&hello);
        let alive: Vec<ReplicaProcess> = table.all().filter(|process| process.is_running()).cloned().collect();
        let wants = |process: &&ReplicaProcess| {
            services.get(&process.service).is_none_or(|service| process.replica >= service.config.replicas)
        };
        let found = Found {
            strangers: alive.iter().filter(wants).cloned().collect(),
            alive,
            ended,
            ends_forgotten: hello.exits_dropped,
            safe_mode: hello.safe_mode.map(|period| SafeMode {
                why: period.why,
                until: clock_anchor.moment(period.until_us),
                times: period.times,
            }),
            suspects: hello.suspects,
            halted: hello.halted,
            previous: hello.previous,
            runtime_starts: hello.runtime_starts,
            keeper: hello.keeper,
        };
        let shared = Arc::new(SharedState {
            table: Mutex::new(table),
            subscribers: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        let beat = Heartbeat { every: options.beat, alive: options.alive };
        let connection = KeeperConnection::open(stream, beat, {
            let shared = Arc::clone(&shared);
            move |message| shared.receive(message)
        });
        let inner =
            SupervisorInner { connection, shared, services, log_dir: options.log_dir, slot_locks: Mutex::default() };
        Ok((Self { inner: Arc::new(inner) }, found))
    }

    /// Subscribes to all events from now on. None is dropped, so they must be read.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<ProcessEvent> {
        let (subscriber, events) = mpsc::unbounded_channel();
        self.inner.shared.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(subscriber);
        events
    }

    /// The services that heald runs.
    pub fn services(&self) -> impl Iterator<Item = &SupervisedService> {
        self.inner.services.values()
    }

    /// The newest process of every replica of a service, ended ones included, by number.
    pub fn processes(&self, service: &ServiceName) -> Vec<ReplicaProcess> {
        self.inner.shared.table().all().filter(|process| process.service == *service).cloned().collect()
    }

    /// How many replicas a service has; `None` if heald does not run it.
    pub fn wanted(&self, service: &ServiceName) -> Option<u32> {
        self.inner.services.get(service).map(|service| service.config.replicas)
    }

    /// The newest incarnation of a replica.
    pub fn incarnation(&self, service: &ServiceName, replica: u32) -> u64 {
        self.inner.shared.table().incarnation(&slot(service, replica))
    }

    /// Reports that this incarnation of a replica is ready.
    pub fn ready(&self, service: &ServiceName, replica: u32, incarnation: u64) {
        let event = self.inner.shared.table().ready(&slot(service, replica), incarnation);
        if let Some(event) = event {
            self.inner.shared.publish(&event);
        }
    }

    /// Tells the keeper that these exits (by spawn id) are on record, so that it may forget them.
    pub async fn acknowledge(&self, spawns: Vec<String>) -> Result<(), SupervisorError> {
        self.ask(KeeperCommand::Acknowledge { spawns }).await.map(drop)
    }

    /// Starts the replicas that do not run. A request with the same `intent` starts nothing twice.
    pub async fn start(
        &self,
        service: &ServiceName,
        which: Which,
        intent: &str,
    ) -> Result<Vec<Started>, SupervisorError> {
        let known = self.service(service)?;
        all(self.chosen(known, which)?.into_iter().map(|replica| self.start_one(known, replica, intent))).await
    }

    /// Stops the replicas with their process groups and starts them again: stop signal, continue, and kill after `grace`
    /// (by default that of the configuration). A replica that this intent has already replaced is left alone.
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

    /// Stops the running replicas and returns them. [`Which::All`] includes replicas that are not configured any more.
    pub async fn stop(
        &self,
        service: &ServiceName,
        which: Which,
        grace: Option<Duration>,
    ) -> Result<Vec<ReplicaProcess>, SupervisorError> {
        let running = self.processes(service).into_iter().filter(ReplicaProcess::is_running);
        let chosen = running.map(|process| process.replica).filter(|replica| match which {
            Which::All => true,
            Which::One(one) => *replica == one,
        });
        let stopped = all(chosen.map(|replica| self.stop_one(service, replica, grace))).await?;
        Ok(stopped.into_iter().flatten().collect())
    }

    /// Sends a signal to the replicas themselves and not to their process groups. Returns how many there were.
    pub async fn signal(&self, service: &ServiceName, which: Which, signal: i32) -> Result<usize, SupervisorError> {
        let known = self.service(service)?;
        let chosen = self.chosen(known, which)?;
        let living: Vec<String> = {
            let table = self.inner.shared.table();
            let living = chosen.iter().filter_map(|replica| table.living(&slot(service, *replica)));
            living.map(|process| process.spawn.clone()).collect()
        };
        let sent = living.iter().map(|spawn| {
            let request = SignalRequest { spawn: spawn.clone(), signal, group: false, retire: false };
            self.ask(KeeperCommand::Signal(request))
        });
        Ok(all(sent).await?.len())
    }

    /// What became of an intent to start or restart that was on record when a runtime died: the processes that it
    /// started, as far as the keeper remembers. An empty answer means that the intent had no effect.
    pub async fn recall(&self, service: &ServiceName, intent: &str) -> Result<Vec<Started>, SupervisorError> {
        let known = self.service(service)?;
        let recalled = (0..known.config.replicas).map(|replica| async move {
            let child = self.recall_one(&slot(service, replica), intent).await?;
            Ok(child.and_then(Result::ok).map(|child| Started::of(&child, false)))
        });
        Ok(all(recalled).await?.into_iter().flatten().collect())
    }

    /// Stops processes that are not configured any more.
    pub async fn dismiss(&self, strangers: &[ReplicaProcess]) -> Result<(), SupervisorError> {
        all(strangers.iter().map(|process| self.stop_one(&process.service, process.replica, None))).await.map(drop)
    }

    /// Tells the keeper what it must not start again while there is no runtime. It holds, over the keeper's own restart
    /// too, until it is replaced.
    pub async fn hold_restarts(&self, hold: RestartHold) -> Result<(), SupervisorError> {
        self.ask(KeeperCommand::HoldRestarts(hold)).await.map(drop)
    }

    /// Tells the keeper what this runtime is about to try that may end it, or that the last try went well. The next runtime
    /// learns of a try that did not.
    pub async fn trying(&self, what: Option<String>) -> Result<(), SupervisorError> {
        self.ask(KeeperCommand::Trying { what }).await.map(drop)
    }

    /// Tells the keeper that this runtime is about to end, and whether the children keep running.
    pub async fn shutdown(&self, leave_children: bool) -> Result<(), SupervisorError> {
        self.ask(KeeperCommand::Shutdown { leave_children }).await.map(drop)
    }

    /// Returns when the keeper has ended, so that the runtime must end too.
    pub async fn closed(&self) {
        self.inner.connection.closed().await;
    }

    /// How long nothing was heard of the keeper. It answers every beat, so much more than a beat means that it is stuck.
    pub fn keeper_silence(&self) -> Duration {
        self.inner.connection.silence()
    }

    async fn ask(&self, ask: KeeperCommand) -> Result<KeeperReply, SupervisorError> {
        self.inner.connection.ask(ask).await?.map_err(SupervisorError::Refused)
    }

    fn service(&self, name: &ServiceName) -> Result<&SupervisedService, SupervisorError> {
        self.inner.services.get(name).ok_or_else(|| SupervisorError::NotSupervised(name.clone()))
    }

    fn chosen(&self, service: &SupervisedService, which: Which) -> Result<Vec<u32>, SupervisorError> {
        let wanted = self.wanted(&service.name).unwrap_or(0);
        match which {
            Which::All => Ok((0..wanted).collect()),
            Which::One(replica) if replica < wanted => Ok(vec![replica]),
            Which::One(replica) => Err(SupervisorError::NoSuchReplica(service.name.clone(), replica)),
        }
    }

    fn slot_lock(&self, slot: &SlotId) -> Arc<tokio::sync::Mutex<()>> {
        let mut slot_locks = self.inner.slot_locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slot_locks.entry(slot.clone()).or_default())
    }

    async fn start_one(
        &self,
        service: &SupervisedService,
        replica: u32,
        intent: &str,
    ) -> Result<Started, SupervisorError> {
        let slot = slot(&service.name, replica);
        let slot_lock = self.slot_lock(&slot);
        let _turn = slot_lock.lock().await;
        let living = self.inner.shared.table().living(&slot).cloned();
        match living {
            Some(process) => Ok(Started { replica, incarnation: process.incarnation, pid: process.pid, fresh: false }),
            None => self.spawn(service, slot, intent).await,
        }
    }

    async fn restart_one(
        &self,
        service: &SupervisedService,
        replica: u32,
        intent: &str,
        grace: Option<Duration>,
    ) -> Result<Started, SupervisorError> {
        let slot = slot(&service.name, replica);
        let slot_lock = self.slot_lock(&slot);
        let _turn = slot_lock.lock().await;
        // This comes first, because a repeated intent must not stop what came after it.
        match self.recall_one(&slot, intent).await? {
            Some(Ok(child)) => return Ok(Started::of(&child, false)),
            Some(Err(refusal)) => return Err(SupervisorError::Refused(*refusal)),
            None => {}
        }
        self.stop_locked(&slot, grace.unwrap_or(service.config.stop_grace)).await?;
        self.spawn(service, slot, intent).await
    }

    async fn stop_one(
        &self,
        service: &ServiceName,
        replica: u32,
        grace: Option<Duration>,
    ) -> Result<Option<ReplicaProcess>, SupervisorError> {
        let configured = self.inner.services.get(service).map(|service| service.config.stop_grace);
        let slot = slot(service, replica);
        let slot_lock = self.slot_lock(&slot);
        let _turn = slot_lock.lock().await;
        self.stop_locked(&slot, grace.or(configured).unwrap_or(Duration::from_secs(10))).await
    }

    async fn recall_one(
        &self,
        slot: &SlotId,
        intent: &str,
    ) -> Result<Option<Result<Child, Box<KeeperRefusal>>>, SupervisorError> {
        match self.ask(KeeperCommand::Recall { spawn: spawn_id(intent, slot) }).await? {
            KeeperReply::Recalled(answer) => Ok(answer),
            _ => Ok(None),
        }
    }

    /// Stops the process of a slot whose lock is held. Returns it, or `None` if the slot was empty.
    async fn stop_locked(&self, slot: &SlotId, grace: Duration) -> Result<Option<ReplicaProcess>, SupervisorError> {
        let Some(process) = self.inner.shared.table().living(slot).cloned() else { return Ok(None) };
        let service = self.inner.services.get(&process.service);
        let polite = service.map_or(15, |service| service.config.stop().signal);
        self.inner.shared.table().ask(&process.spawn);
        self.signal_group(&process.spawn, polite).await?;
        if polite != KILL {
            // A stopped or frozen process handles the signal only when it continues.
            self.signal_group(&process.spawn, CONT).await?;
        }
        if !self.await_end(slot, &process.spawn, grace).await? {
            warn!(%slot, pid = process.pid, "the process did not stop in time and is killed");
            self.signal_group(&process.spawn, KILL).await?;
            if !self.await_end(slot, &process.spawn, KILL_TAKES).await? {
                return Err(SupervisorError::Stuck { slot: slot.clone(), pid: process.pid });
            }
        }
        Ok(self.inner.shared.table().at(slot).cloned())
    }

    /// Signals a process group. If the child no longer exists, it has ended and its exit will be reported.
    async fn signal_group(&self, spawn: &str, signal: i32) -> Result<(), SupervisorError> {
        let request = SignalRequest { spawn: spawn.to_owned(), signal, group: true, retire: true };
        match self.ask(KeeperCommand::Signal(request)).await {
            Ok(_) | Err(SupervisorError::Refused(KeeperRefusal::NoSuchChild(_))) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits for a process to end. Returns false if it takes too long.
    async fn await_end(&self, slot: &SlotId, spawn: &str, within: Duration) -> Result<bool, SupervisorError> {
        let gone = |table: &ProcessTable| table.living(slot).is_none_or(|process| process.spawn != spawn);
        tokio::select! {
            ended = tokio::time::timeout(within, self.until(gone)) => Ok(ended.is_ok()),
            () = self.closed() => Err(ConnectionError::Gone.into()),
        }
    }

    /// Waits until the table has a state.
    async fn until(&self, reached: impl Fn(&ProcessTable) -> bool) {
        let mut changes = self.inner.shared.changes.subscribe();
        // An error means that the table will never change again, so this waits for ever.
        while !reached(&self.inner.shared.table()) {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Runs all futures at once. Returns the first error after all have ended.
async fn all<T>(
    futures: impl Iterator<Item = impl Future<Output = Result<T, SupervisorError>>>,
) -> Result<Vec<T>, SupervisorError> {
    join_all(futures).await.into_iter().collect()
}

fn slot(service: &ServiceName, replica: u32) -> SlotId {
    SlotId { service: service.to_string(), replica }
}

fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}
