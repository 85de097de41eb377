//! Records what the keeper's children do, shows it to the loop, and takes over the processes of the runtime before this one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use heald_control::{ProbeBoard, ProbeStatus};
use heald_engine::Healer;
use heald_engine::ports::Durability;
use heald_engine::ports::{Clock, DesiredStates, Journal, SampleSink};
use heald_model::{Desired, Entry, Health, Mode, PROCESS_PROBE, ProbeId, Record, Replica, Sample, ServiceName};
use heald_probe::{Prober, StatusChange};
use heald_supervisor::config::RestartMode;
use heald_supervisor::{ChildOrigin, End, Found, ProcessEvent, ReplicaProcess, Supervisor};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use uuid::Uuid;

/// A process that replaced a survivor has this long to become ready before the next survivor is replaced.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked at whether a survivor is replaced, and what holds it up.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A process that has lived this long, of a service that is well, is ready.
const SETTLED: Duration = Duration::from_secs(1);

/// Notes for the operator about the processes that were found.
pub fn tell(found: &Found) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(previous) = &found.previous {
        let silent = if previous.silent { ", the keeper killed it because it was silent" } else { "" };
        notes.push(format!(
            "the runtime before this one ended: {}{silent}; {} still running",
            previous.end,
            processes(found.alive.len())
        ));
    }
    for process in &found.alive {
        if process.origin == ChildOrigin::Adopted {
            notes.push(format!(
                "adopted a survivor: {} {} (PID {}); its output is lost, so it will be replaced",
                process.service, process.replica, process.pid
            ));
        }
    }
    for process in &found.strangers {
        notes.push(format!(
            "{} {} (PID {}) is no longer configured; heald stops it",
            process.service, process.replica, process.pid
        ));
    }
    if found.ends_forgotten > 0 {
        notes.push(format!("{} ends of processes could not be remembered", found.ends_forgotten));
    }
    notes
}

fn processes(count: usize) -> String {
    if count == 1 { "1 process is".to_owned() } else { format!("{count} processes are") }
}

/// Records changes of health and of circuit breakers.
pub async fn witness_changes(
    mut changes: UnboundedReceiver<StatusChange>,
    healer: Arc<Healer>,
    supervisor: Option<Supervisor>,
) {
    while let Some(change) = changes.recv().await {
        match change {
            StatusChange::Health { service, at, from, to, why } => {
                if let Some(supervisor) = supervisor.as_ref().filter(|_| to == Health::Healthy) {
                    for process in supervisor.processes(&service).into_iter().filter(ReplicaProcess::is_running) {
                        supervisor.ready(&service, process.replica, process.incarnation);
                    }
                }
                healer.witness(Entry::of_service(at, service, Record::HealthChanged { from, to, why }));
            }
            StatusChange::Breaker { service, at, from, to, why } => {
                healer.witness(Entry::of_service(at, service, Record::BreakerMoved { from, to, why }));
            }
        }
    }
}

/// The exit code, or the signal's number negated.
fn status(end: End) -> Option<i32> {
    match end {
        End::Code(code) => Some(code),
        End::Signal { signal, .. } => Some(-signal),
        End::Unknown => None,
    }
}

/// Handles the events of processes.
#[derive(Clone)]
pub struct ProcessEvents {
    /// The processes.
    pub supervisor: Supervisor,
    /// The healer.
    pub healer: Arc<Healer>,
    /// The checks.
    pub prober: Prober,
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Sends samples to the loop.
    pub samples: Arc<dyn SampleSink>,
    /// The spawn ids of ended processes that are handled and not acknowledged yet. Each end is handled once, however heald learns of it.
    pub heard: Arc<Mutex<BTreeSet<String>>>,
}

impl ProcessEvents {
    /// Records starts and ends, and shows the loop the processes that ended unasked.
    pub async fn witness_processes(self, mut events: UnboundedReceiver<ProcessEvent>) {
        while let Some(event) = events.recv().await {
            match event {
                ProcessEvent::Started(process) => self.started(&process),
                ProcessEvent::Exited(process) => self.exited(&process),
                ProcessEvent::Ready(_) => {}
                ProcessEvent::Notice(text) => tracing::warn!("the keeper says: {text}"),
            }
        }
    }

    fn started(&self, process: &ReplicaProcess) {
        let record = Record::ProcessStarted {
            replica: Replica::from(process.replica.to_string()),
            incarnation: process.incarnation,
            pid: process.pid,
        };
        self.healer.witness(Entry::of_service(process.started, process.service.clone(), record));
        // Its failures count only after its first success or its startup deadline.
        heald_engine::ports::Probes::expect(&self.prober, &process.service, Some(process.incarnation));
    }

    fn exited(&self, process: &ReplicaProcess) {
        let Some(ended) = &process.ended else { return };
        if !self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(process.spawn.clone()) {
            return;
        }
        let (service, replica) = (process.service.clone(), Replica::from(process.replica.to_string()));
        let known = self.supervisor.services().find(|known| known.name == service);
        let again = known.is_none_or(|known| known.config.runs_again(ended.end));
        let wanted = ended.asked || !again;
        let record = Record::ProcessExited {
            replica: replica.clone(),
            incarnation: process.incarnation,
            pid: process.pid,
            status: status(ended.end),
            wanted,
        };
        self.healer.witness(Entry::of_service(ended.at, service.clone(), record));
        // If a later incarnation of this copy runs, this end is no fault any more.
        let now = self.supervisor.processes(&service).into_iter();
        let lives_again = now
            .filter(|other| other.replica == process.replica && other.incarnation > process.incarnation)
            .any(|other| other.is_running());
        if !wanted && !lives_again {
            tracing::warn!(service = %service, pid = process.pid, "ended: {}", ended.end);
            match status(ended.end) {
                Some(status) => self.prober.exited(&service, &replica, process.incarnation, status, ended.at),
                None => self.missing(process, "it ended, and heald does not know how"),
            }
        }
        tokio::spawn(self.clone().acknowledge(process.spawn.clone()));
    }

    /// Lets the keeper forget an end, once the journal has it.
    async fn acknowledge(self, spawn: String) {
        /// What is done about the end comes first; should heald die before the keeper is told, the end is only told again.
        const LATER: Duration = Duration::from_millis(50);
        tokio::time::sleep(LATER).await;
        // The commit comes after the entry above: when it returns, the journal has the end.
        if self.journal.commit(Vec::new(), Durability::Process).await.is_err() {
            return;
        }
        match self.supervisor.acknowledge(vec![spawn.clone()]).await {
            Ok(()) => {
                self.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(&spawn);
            }
            Err(error) => tracing::debug!("the end of a process will be told again: {error}"),
        }
    }

    /// Shows the loop that a process is missing.
    fn missing(&self, process: &ReplicaProcess, message: &str) {
        let sample = Sample {
            replica: (self.supervisor.wanted(&process.service) > Some(1))
                .then(|| Replica::from(process.replica.to_string())),
            incarnation: Some(process.incarnation),
            ok: Some(false),
            fault: Some("missing".into()),
            message: Some(message.to_owned()),
            ..Sample::new(process.service.clone(), ProbeId::from(PROCESS_PROBE), self.clock.now())
        };
        // The loop ends after everyone who sends to it.
        self.samples.send(sample);
    }

    /// Takes over the processes of the runtime before this one: handles the ends it missed, stops services that are to be stopped,
    /// starts those that were never started, and replaces one by one the processes that lost their output or have another
    /// configuration. With `blind` the desired states cannot be read, and nothing is stopped. While healing is halted nothing is
    /// started: what does not run is shown to the loop, which starts it when healing is resumed.
    pub async fn take_over(self, found: Found, order: Vec<ServiceName>, wishes: Arc<dyn DesiredStates>, blind: bool) {
        if let Err(error) = self.supervisor.dismiss(&found.strangers).await {
            tracing::error!("what is no longer configured cannot be stopped: {error}");
        }
        for process in &found.alive {
            heald_engine::ports::Probes::expect(&self.prober, &process.service, Some(process.incarnation));
        }
        for process in &found.ended {
            self.exited(process);
        }
        // A process that ended between the keeper's hello and the subscription gave no event.
        for alive in &found.alive {
            let now = self.supervisor.processes(&alive.service).into_iter();
            now.filter(|process| process.spawn == alive.spawn && !process.is_running())
                .for_each(|process| self.exited(&process));
        }
        let supervised: BTreeSet<ServiceName> = self.supervisor.services().map(|known| known.name.clone()).collect();
        let order: Vec<ServiceName> = order.into_iter().filter(|service| supervised.contains(service)).collect();
        let (unwanted, wanted): (Vec<ServiceName>, Vec<ServiceName>) =
            order.iter().cloned().partition(|service| !blind && wishes.desired(service) == Desired::Stopped);
        for (service, stopped) in self.supervisor.stop_all(&unwanted).await {
            if let Err(error) = stopped {
                tracing::error!(service = %service, "is to be stopped and cannot be: {error}");
            }
        }
        let first = found.runtime_starts <= 1;
        let to_start: Vec<ServiceName> =
            wanted.iter().filter(|service| first || self.is_new(service)).cloned().collect();
        if wishes.halted() {
            to_start
                .iter()
                .for_each(|service| self.report_absent(service, "all healing is halted, so it is not started"));
        } else {
            let intent = Uuid::now_v7().to_string();
            for (service, result) in self.supervisor.start_all(&to_start, &intent).await {
                if let Err(error) = result {
                    // A start at boot is no attempt of healing. The loop sees that the process is missing and heals it.
                    tracing::error!(service = %service, "cannot be started: {error}");
                    if self.runs_always(&service) {
                        self.report_absent(&service, &error.to_string());
                    }
                }
            }
        }
        // A copy with another restart setting may have ended for good.
        let before = wanted.iter().filter(|service| !to_start.contains(service));
        for service in before.filter(|service| self.runs_always(service)) {
            self.report_absent(service, "it does not run");
        }
        self.replace_one_by_one(&found, &order).await;
    }

    /// True if no process of the service was ever started.
    fn is_new(&self, service: &ServiceName) -> bool {
        let wanted = self.supervisor.wanted(service).unwrap_or(0);
        (0..wanted).all(|replica| self.supervisor.incarnation(service, replica) == 0)
    }

    /// True if a process of the service is started again after every end.
    fn runs_always(&self, service: &ServiceName) -> bool {
        let known = self.supervisor.services().find(|known| known.name == *service);
        known.is_some_and(|known| known.config.restart() == RestartMode::Always)
    }

    /// Shows the loop each copy that should run and has no process.
    fn report_absent(&self, service: &ServiceName, why: &str) {
        let processes = self.supervisor.processes(service);
        let present: BTreeSet<u32> = processes.iter().map(|process| process.replica).collect();
        for replica in (0..self.supervisor.wanted(service).unwrap_or(0)).filter(|replica| !present.contains(replica)) {
            let process = ReplicaProcess {
                service: service.clone(),
                replica,
                incarnation: self.supervisor.incarnation(service, replica),
                spawn: String::new(),
                pid: 0,
                started: self.clock.now(),
                ready: false,
                origin: ChildOrigin::Asked,
                outdated: false,
                ended: None,
            };
            self.missing(&process, why);
        }
    }

    /// Replaces survivors one after the other, dependencies before their dependents, each when the guard admits it. One that waits
    /// for an operator (its service is paused, say) holds up none of the others; it is replaced when the operator allows it.
    async fn replace_one_by_one(&self, found: &Found, order: &[ServiceName]) {
        let strange: BTreeSet<&str> = found.strangers.iter().map(|process| process.spawn.as_str()).collect();
        let old = found.alive.iter().filter(|process| process.origin == ChildOrigin::Adopted || process.outdated);
        let mut old: Vec<&ReplicaProcess> = old.filter(|process| !strange.contains(process.spawn.as_str())).collect();
        old.sort_by_key(|process| {
            (order.iter().position(|service| *service == process.service), process.service.clone(), process.replica)
        });
        let mut replacing = JoinSet::new();
        for process in old {
            let service = process.service.clone();
            let turn = Instant::now();
            let task = replacing.spawn(self.clone().replace(process.clone()));
            while !task.is_finished() && !self.waits_for_an_operator(&service) && turn.elapsed() < 2 * PATIENCE {
                let _ = tokio::time::timeout(LOOK_AGAIN, replacing.join_next()).await;
            }
        }
        while let Some(ended) = replacing.join_next().await {
            if let Err(error) = ended {
                tracing::error!("the replacement of a survivor has failed: {error}");
            }
        }
    }

    /// True if the guard holds heald's own orders for the service until an operator says otherwise.
    fn waits_for_an_operator(&self, service: &ServiceName) -> bool {
        let operator = self.healer.operator();
        let status = operator.services().into_iter().find(|status| status.name == *service);
        operator.is_halted()
            || status.is_some_and(|status| status.desired != Desired::Running || status.mode != Mode::Auto)
    }

    /// Replaces a survivor when the guard admits it, and waits until its successor is ready.
    async fn replace(self, old: ReplicaProcess) {
        match self.healer.operator().replace(&old.service, old.replica).await {
            Ok(done) => tracing::info!(service = %old.service, "replaced a survivor: {}", done.summary),
            Err(error) => {
                tracing::warn!(service = %old.service, "a survivor stays as it is: {error}");
                return;
            }
        }
        // From here on every event is read.
        let mut events = self.supervisor.subscribe();
        let ready = async {
            while !self.is_replaced(&old) {
                // A service that was well all the time tells no change.
                if let Ok(None) = tokio::time::timeout(LOOK_AGAIN, events.recv()).await {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, ready).await.is_err() {
            tracing::warn!(service = %old.service, "is not ready after its replacement; going on");
        }
    }
    /// True if the successor of this process is ready. One that has lived for a second while its service is well is reported as
    /// ready.
    fn is_replaced(&self, old: &ReplicaProcess) -> bool {
        let now = self.supervisor.processes(&old.service).into_iter();
        let Some(new) = now.into_iter().find(|process| process.replica == old.replica && process.spawn != old.spawn)
        else {
            return false;
        };
        let settled = new.is_running() && self.clock.now().since(new.started) >= SETTLED;
        let is_well =
            |(service, status): (ServiceName, ProbeStatus)| service == old.service && status.health == Health::Healthy;
        if !new.ready && settled && self.prober.pulses().into_iter().any(is_well) {
            self.supervisor.ready(&new.service, new.replica, new.incarnation);
            return true;
        }
        new.ready
    }
}
