//! What the stages of the loop share: the world, the settings, the services, the ledger, the catalog, and the one way into the
//! journal. It decides nothing.
//!
//! Locks are short and never held over an await. Whoever needs more than one takes them in this order: service list, service
//! state, plug-in incidents, fault tracker, outage, ledger; the journal is written under the ledger's lock.

use std::sync::{Arc, Mutex, MutexGuard};

use heald_model::{
    Dependency, Desired, Entry, Experience, Fact, Intent, Moment, Record, Replica, ServiceView, Signature,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::compare::trials::RunningTrials;
use crate::config::HealingConfig;
use crate::learn::Catalog;
use crate::ledger::Ledger;
use crate::outage::Outage;
use crate::ports::{Actions, Clock, DesiredStates, Entropy, Journal, Probes, Processes};
use crate::quarantine::tracker::PluginFaults;
use crate::service::inbox::News;
use crate::service::list::ServiceList;
use crate::service::state::ServiceState;
use crate::service::{Service, lock};

/// The world, as the engine sees it.
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and random numbers.
    pub entropy: Arc<dyn Entropy>,
    /// The record.
    pub journal: Arc<dyn Journal>,
    /// The probes.
    pub probes: Arc<dyn Probes>,
    /// What can be done.
    pub actions: Arc<dyn Actions>,
    /// The processes that heald runs.
    pub processes: Arc<dyn Processes>,
    /// What the operator wants.
    pub desired_states: Arc<dyn DesiredStates>,
}

/// How long tending may rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Until then, if nothing changes before.
    pub(crate) until: Moment,
    /// It waits for a place in a budget, too.
    pub(crate) for_budget: bool,
    /// It waits for the next look at the service, too.
    pub(crate) for_look: bool,
}

impl Rest {
    /// Not at all: look again at once.
    pub(crate) const NONE: Self = Self { until: Moment::EPOCH, for_budget: false, for_look: false };

    /// Until then.
    pub(crate) const fn until(until: Moment) -> Self {
        Self { until, for_budget: false, for_look: false }
    }

    /// Until either ends.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            until: self.until.min(other.until),
            for_budget: self.for_budget || other.for_budget,
            for_look: self.for_look || other.for_look,
        }
    }
}

/// What the stages share.
pub(crate) struct Context {
    pub(crate) ports: Ports,
    pub(crate) config: HealingConfig,
    pub(crate) services: Arc<ServiceList>,
    pub(crate) plugin_faults: PluginFaults,
    pub(crate) trials: RunningTrials,
    ledger: Mutex<Ledger>,
    catalog: Mutex<Catalog>,
    outage: Mutex<Outage>,
    /// Counts what frees a place in a budget.
    settled: watch::Sender<u64>,
}

impl Context {
    pub(crate) fn new(
        config: HealingConfig,
        ports: Ports,
        services: Arc<ServiceList>,
        plugin_faults: PluginFaults,
        ledger: Ledger,
        catalog: Catalog,
    ) -> Self {
        Self {
            ports,
            config,
            services,
            plugin_faults,
            trials: RunningTrials::default(),
            ledger: Mutex::new(ledger),
            catalog: Mutex::new(catalog),
            outage: Mutex::default(),
            settled: watch::Sender::new(0),
        }
    }

    /// Takes in what an adapter witnessed (a process that started or ended, a circuit that moved), and puts it on record.
    pub(crate) fn witness(&self, entry: Entry) {
        self.ledger().apply(&entry, &self.config);
        self.ports.journal.write(vec![entry]);
    }

    /// Hands entries to the journal, and to all that is derived from it but the incidents themselves.
    pub(crate) fn journal(&self, entries: Vec<Entry>) {
        let mut ledger = self.ledger();
        for entry in &entries {
            ledger.apply(entry, &self.config);
        }
        // Under the ledger's lock, so that the journal has the entries in the order in which they were judged.
        self.ports.journal.write(entries);
    }

    /// An entry about an intent, of now.
    pub(crate) fn entry(&self, intent: &Intent, record: Record) -> Entry {
        Entry { at: self.now(), service: Some(intent.service.clone()), incident: intent.incident, record }
    }

    /// Records entries of a service's incidents: in memory and in the journal.
    pub(crate) fn record(&self, service: &Service, entries: Vec<Entry>) {
        self.enter(&mut service.lock(), entries);
    }

    /// The one way into a service's incidents: memory, log and journal. It takes the service's locked state, so that the journal
    /// has the entries in the order of the memory.
    pub(crate) fn enter(&self, state: &mut ServiceState, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        for entry in &entries {
            state.apply(entry);
            tell(state, entry);
        }
        self.journal(entries);
    }

    /// How the service stands, as plug-ins are told.
    pub(crate) fn view(&self, service: &Service) -> ServiceView {
        let spec = service.spec();
        let processes = self.ports.processes.of(&service.name);
        let running =
            u32::try_from(processes.iter().filter(|process| process.pid.is_some()).count()).unwrap_or(u32::MAX);
        ServiceView {
            name: service.name.clone(),
            tags: spec.tags.clone(),
            depends_on: self.dependencies(service),
            wanted: spec.replicas,
            running,
            ready: if service.up() == Some(false) { 0 } else { running },
            breaker: self.ports.probes.breaker(&service.name),
            metadata: spec.metadata.clone(),
            facts: vec![Fact::text("desired", self.desired(service).to_string())],
        }
    }

    /// The services that it needs, and whether each serves.
    pub(crate) fn dependencies(&self, service: &Service) -> Vec<Dependency> {
        service
            .spec()
            .depends_on
            .iter()
            .map(|name| {
                let needed = self.services.get(name).filter(|needed| self.desired(needed) == Desired::Running);
                Dependency { service: name.clone(), up: needed.and_then(|needed| needed.up()) }
            })
            .collect()
    }

    /// What the operator wants of the service.
    pub(crate) fn desired(&self, service: &Service) -> Desired {
        self.ports.desired_states.desired(&service.name)
    }

    /// True if a process that heald should be running is not.
    pub(crate) fn has_died(&self, service: &Service) -> bool {
        !self.dead_copies(service).is_empty()
    }

    /// The copies that heald should be running and that are not.
    pub(crate) fn dead_copies(&self, service: &Service) -> Vec<Replica> {
        let spec = service.spec();
        let processes = self.ports.processes.of(&service.name);
        let accounted: Vec<&Replica> = processes
            .iter()
            .filter(|process| process.pid.is_some() || process.finished)
            .map(|process| &process.replica)
            .collect();
        let copies = (0..spec.replicas).map(|copy| Replica::from(copy.to_string()));
        copies.filter(|copy| spec.supervised && !accounted.contains(&copy)).collect()
    }

    /// True if every process of it ended for good.
    pub(crate) fn has_finished(&self, service: &Service) -> bool {
        let processes = self.ports.processes.of(&service.name);
        !processes.is_empty() && processes.iter().all(|process| process.finished)
    }

    pub(crate) fn experience(&self, signature: &Signature) -> Vec<Experience> {
        self.catalog().experience(signature)
    }

    /// An action is settled: whoever waits for a place in a budget looks again.
    pub(crate) fn budget_freed(&self) {
        self.settled.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Every service is looked at again.
    pub(crate) fn wake_all(&self) {
        self.services.all().iter().for_each(|service| service.inbox.tell(News::Desired));
    }

    /// Tells whenever a place in a budget may be free.
    pub(crate) fn settlements(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    pub(crate) fn now(&self) -> Moment {
        self.ports.clock.now()
    }

    pub(crate) fn id(&self, now: Moment) -> Uuid {
        self.ports.entropy.id(now)
    }

    pub(crate) fn roll(&self) -> u64 {
        self.ports.entropy.roll()
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.ports.desired_states.halted()
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(crate) fn outage(&self) -> MutexGuard<'_, Outage> {
        lock(&self.outage)
    }

    pub(crate) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        lock(&self.catalog)
    }
}

/// Logs what was just put on record of an incident; the incident's id joins the lines of one story.
fn tell(state: &ServiceState, entry: &Entry) {
    let incident = entry.incident.and_then(|id| state.incidents.get(&id));
    if let Some((incident, event)) = incident.and_then(|incident| Some((incident, incident.timeline.last()?))) {
        let (kind, source) = (&event.kind, &event.source);
        tracing::info!(service = %incident.service, incident = %incident.id, %source, "{kind}: {}", event.text);
    }
}
