//! The loop. Read this first.
//!
//! ```text
//! sample -> observe (detectors) -> correlate -> incident -> tend: decide -> judge -> perform -> verify -> settle -> learn
//! ```
//!
//! One task watches each service, so that a slow detector of one cannot hold up another; one task tends it while it has an
//! open incident, so that at most one action is in flight for a service and its most severe incident leads. Tending is
//! level-triggered and re-entrant: it looks at how things are, never at what it was told before, and starts over from the
//! journal's state after a crash. The stages themselves are in [`crate::observe`], [`crate::consultants`], [`crate::guard`],
//! [`crate::treat`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use heald_model::{
    Choice, Dependency, Desired, Entry, Experience, Fault, Incident, Moment, PluginName, Record, Sample, ServiceName,
    ServiceView, Severity, Signature, Stage,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::agreement::Trials;
use crate::config::HealingConfig;
use crate::correlate::{Change, correlate};
use crate::guard::{Hold, Judgement};
use crate::learn::Catalog;
use crate::ledger::Ledger;
use crate::ports::{Actions, Clock, Entropy, Journal, Probes, Processes, SampleReceiver, Wishes};
use crate::strikes::Strikes;
use crate::ward::{Charge, State, Ward};

/// What the next checks will tell (that a process lives again, that a detector answers again) is waited for this long at a time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The world, as the engine sees it.
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and dice.
    pub entropy: Arc<dyn Entropy>,
    /// The record.
    pub journal: Arc<dyn Journal>,
    /// The probes.
    pub probes: Arc<dyn Probes>,
    /// What can be done.
    pub actions: Arc<dyn Actions>,
    /// The processes heald runs.
    pub processes: Arc<dyn Processes>,
    /// What the operator wants.
    pub wishes: Arc<dyn Wishes>,
}

/// What the journal gave back at start-up.
#[derive(Default)]
pub struct Past {
    /// Incidents that are open, or were resolved lately.
    pub incidents: Vec<Incident>,
    /// What the guard's ledger is a fold of, oldest first.
    pub entries: Vec<Entry>,
    /// What was learned so far.
    pub catalog: Catalog,
}

/// The healer. Cheap to share; every method takes `&self`.
pub struct Healer {
    pub(crate) ports: Ports,
    pub(crate) wards: BTreeMap<ServiceName, Arc<Ward>>,
    config: HealingConfig,
    ledger: Mutex<Ledger>,
    strikes: Mutex<Strikes>,
    trials: Mutex<Trials>,
    /// Counts what was compared and what failed on trial: whoever judges trials listens.
    pub(crate) judged: watch::Sender<u64>,
    /// Itself, for work that goes on beside the healing.
    pub(crate) me: Weak<Self>,
    faults: Mutex<BTreeMap<PluginName, Incident>>,
    last_faults: Mutex<BTreeMap<PluginName, Fault>>,
    catalog: Mutex<Catalog>,
    halted: AtomicBool,
    /// Counts what may let a waiting service go on: an action that settled, a dependency that returned, an operator's word.
    pub(crate) turn: watch::Sender<u64>,
    /// Open incidents of services that are no longer configured.
    pub(crate) orphans: Mutex<Vec<Incident>>,
}

impl Healer {
    /// A healer of these services that goes on where the past left off.
    pub fn new(config: HealingConfig, ports: Ports, charges: Vec<Charge>, past: Past) -> Arc<Self> {
        let mut ledger = Ledger::default();
        for entry in &past.entries {
            ledger.apply(entry, &config);
        }
        let wards: BTreeMap<_, _> =
            charges.into_iter().map(|charge| (charge.spec.name.clone(), Arc::new(Ward::new(charge)))).collect();
        let mut faults = BTreeMap::new();
        let mut orphans = Vec::new();
        for incident in past.incidents {
            if let Some(plugin) = incident.service.plugin() {
                faults.insert(PluginName::from(plugin), incident);
            } else if let Some(ward) = wards.get(&incident.service) {
                // What was down is taken to be down until a check says otherwise.
                if incident.is_open() && incident.severity == Severity::Critical {
                    ward.set_up(Some(false));
                }
                let mut state = ward.lock();
                // What a detector said stands until it answers again.
                if incident.is_open() {
                    state.concerns.extend(incident.concerns.iter().cloned());
                }
                state.incidents.insert(incident.id, incident);
            } else if incident.is_open() {
                orphans.push(incident);
            }
        }
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            trials: Mutex::default(),
            judged: watch::Sender::new(0),
            ports,
            wards,
            config,
            ledger: Mutex::new(ledger),
            strikes: Mutex::default(),
            faults: Mutex::new(faults),
            last_faults: Mutex::default(),
            catalog: Mutex::new(past.catalog),
            halted: AtomicBool::new(false),
            turn: watch::Sender::new(0),
            orphans: Mutex::new(orphans),
        })
    }

    /// Heals until the stream of samples ends.
    pub async fn run(self: Arc<Self>, mut samples: SampleReceiver) {
        self.settle_strays();
        self.resolve_orphans();
        self.lay_to_rest();
        let mut watches = JoinSet::new();
        let mut inboxes = BTreeMap::new();
        for (name, ward) in &self.wards {
            let (inbox, mail) = mpsc::unbounded_channel();
            inboxes.insert(name.clone(), inbox);
            watches.spawn(Arc::clone(&self).watch(Arc::clone(ward), mail));
        }
        loop {
            let sample = tokio::select! {
                biased;
                // A watch ends only with this loop. One that ends before has failed, and a service that nobody watches is worse
                // than a heald that starts anew.
                Some(ended) = watches.join_next() => {
                    tracing::error!("the watch over a service has ended by itself: {ended:?}");
                    return;
                }
                sample = samples.recv() => sample,
            };
            let Some(sample) = sample else { break };
            if let Some(inbox) = inboxes.get(&sample.service) {
                // Should the watch have ended just now, the next turn of this loop sees it.
                let _ = inbox.send(sample);
            }
        }
        drop(inboxes);
        while watches.join_next().await.is_some() {}
    }

    /// Watches one service: samples in, incidents out.
    async fn watch(self: Arc<Self>, ward: Arc<Ward>, mut mail: mpsc::UnboundedReceiver<Sample>) {
        // Ends with this watch: aborting a tender loses nothing, its stages are in the journal.
        let mut tender = JoinSet::new();
        if ward.claim() {
            tender.spawn(Arc::clone(&self).go_on(Arc::clone(&ward)));
        }
        while let Some(first) = mail.recv().await {
            let mut samples = vec![first];
            while let Ok(more) = mail.try_recv() {
                samples.push(more);
            }
            let leftover = self.observe(&ward, samples).await;
            self.correlate(&ward);
            self.resolve_if_quiet(&ward);
            ward.ring();
            while let Some(ended) = tender.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(service = %ward.spec.name, "the tending of a service has failed: {error}");
                    return;
                }
            }
            if ward.claim() {
                tender.spawn(Arc::clone(&self).tend(Arc::clone(&ward)));
            }
            self.observe_in_shadow(&ward, leftover).await;
        }
    }

    /// Goes on with what the journal says was under way when heald last ended.
    async fn go_on(self: Arc<Self>, ward: Arc<Ward>) {
        self.resume(&ward).await;
        let mut bell = ward.bell.subscribe();
        // What the journal says may be over by now: a fresh look comes first. That a process is not there is a fact without one.
        while !ward.lock().observed && !self.has_died(&ward) {
            // The sender lives in the ward, which is held here.
            let _ = bell.changed().await;
        }
        self.tend(ward).await;
    }

    /// Tends one service until no incident of it is open. The leading incident is treated first; what it leaves to be done for
    /// the others is done in the same round.
    async fn tend(self: Arc<Self>, ward: Arc<Ward>) {
        let mut turn = self.turn.subscribe();
        loop {
            let open = ward.to_tend();
            if open.is_empty() {
                return;
            }
            turn.mark_unchanged();
            let Some(rest_until) = self.treat_all(&ward, &open).await else { continue };
            tokio::select! {
                biased;
                () = self.changed(&ward, &open) => {}
                _ = turn.changed() => {}
                () = self.ports.clock.sleep_until(rest_until) => {}
            }
        }
    }

    /// One round over the open incidents. None: something was done, look again at once; else rest until the earliest time.
    async fn treat_all(&self, ward: &Arc<Ward>, open: &[Incident]) -> Option<Moment> {
        let mut rest_until = Moment::NEVER;
        for incident in open {
            rest_until = rest_until.min(self.treat(ward, incident).await?);
        }
        Some(rest_until)
    }

    /// One turn of the healing of one incident. None: look again at once; else rest until then, or until something changes.
    async fn treat(&self, ward: &Arc<Ward>, incident: &Incident) -> Option<Moment> {
        if incident.concerns.is_empty() {
            // Nothing of it holds; it is over as soon as a check says so.
            return Some(Moment::NEVER);
        }
        if ward.lock().unconfirmed(&incident.condition) {
            // Nothing is done on the word of a detector that does not answer: it may be long over.
            let why = "the detector that found it does not answer now".to_owned();
            let hold = Hold { rule: "unconfirmed", until: Some(Moment::NEVER), why, escalate: false };
            self.withhold(ward, incident, "healing", &hold);
            return Some(self.now() + LOOK_AGAIN);
        }
        let mut deliberation = self.decide(ward, incident).await;
        if deliberation.decision.choice == Choice::Escalate
            && let Some(insisting) = self.insist(ward, incident)
        {
            deliberation.decision = insisting;
        }
        // Deciding takes time, and nothing is to be done about what is over meanwhile.
        let still = ward.lock().still(incident.id).cloned();
        let incident = &still?;
        let decision = self.note(ward, incident, deliberation);
        match &decision.choice {
            Choice::NoAction | Choice::Pass => {
                Some(decision.again_in.map_or(Moment::NEVER, |again_in| self.now() + again_in))
            }
            Choice::Escalate => Some(self.escalate(ward, incident, &decision.reason)),
            Choice::Act(proposal) => {
                let intent = self.intent(ward, Some(incident), proposal, decision.source.clone());
                if self.lives_again(ward, &intent) {
                    return Some(self.now() + LOOK_AGAIN);
                }
                match self.judge(ward, Some(incident), intent) {
                    Judgement::Hold(hold) => Some(self.withhold(ward, incident, &proposal.action, &hold)),
                    Judgement::Admit(permit) => self.carry_out(ward, permit).await,
                }
            }
        }
    }

    /// Puts on record what came, changed and cleared.
    fn correlate(&self, ward: &Ward) {
        let now = self.now();
        let wanted = self.desired(ward);
        let parent = self.cause(ward);
        let mut state = ward.lock();
        // What is to be stopped is not down.
        let concerns = if wanted == Desired::Stopped { Vec::new() } else { state.concerns.clone() };
        let incidents: Vec<&Incident> = state.incidents.values().collect();
        let changes = correlate(&incidents, &concerns, now, self.config.reopen_within);
        let entries: Vec<Entry> = changes
            .into_iter()
            .map(|change| {
                let (id, record) = match change {
                    Change::Open(concern) => {
                        let condition = concern.finding.condition.clone();
                        let id = heald_model::IncidentId(self.id(now));
                        (id, Record::Opened { condition, concern, parent, reopened: 0 })
                    }
                    Change::Reopen(id, reopened, concern) => {
                        (id, Record::Opened { condition: concern.finding.condition.clone(), concern, parent, reopened })
                    }
                    Change::Concern(id, concern) => (id, Record::Concerned { concern }),
                    Change::Clear(id, condition, subject) => (id, Record::Cleared { condition, subject }),
                };
                if let Record::Opened { .. } = record {
                    state.held.insert(id, now);
                }
                Entry::of_incident(now, ward.spec.name.clone(), id, record)
            })
            .collect();
        self.enter(&mut state, entries);
        let critical = state.concerns.iter().any(|concern| concern.finding.severity == Severity::Critical);
        let up =
            if wanted == Desired::Running && (critical || state.passed.is_some()) { Some(!critical) } else { None };
        drop(state);
        if ward.set_up(up) {
            self.dependency_returned(&ward.spec.name);
        }
    }

    /// Resolves what no longer holds, once a check has passed since it last held; nothing is over on the word of an action.
    pub(crate) fn resolve_if_quiet(&self, ward: &Ward) {
        let now = self.now();
        let stopped = self.desired(ward) == Desired::Stopped;
        let judged = ward.spec.supervised || ward.spec.probes.iter().any(|p| p.role != heald_model::Role::Metrics);
        let mut state = ward.lock();
        let over: Vec<Entry> = state
            .incidents
            .values()
            .filter(|incident| incident.is_open() && incident.concerns.is_empty() && incident.unsettled().is_none())
            .filter_map(|incident| {
                let held = state.held.get(&incident.id).copied().unwrap_or(Moment::NEVER);
                let shown = state.passed.is_some_and(|passed| passed > held || held == Moment::NEVER);
                let why = match () {
                    () if stopped => "it is to be stopped",
                    () if shown => "the finding is gone and checks pass",
                    () if !judged => "the finding is gone",
                    () => return None,
                };
                let record = Record::Staged { stage: Stage::Resolved, why: why.into() };
                Some(Entry::of_incident(now, ward.spec.name.clone(), incident.id, record))
            })
            .collect();
        if !over.is_empty() {
            self.enter(&mut state, over);
            self.take_turn();
        }
    }

    /// A dependency serves again: its dependents' back-off is forgotten and they are looked at anew.
    fn dependency_returned(&self, service: &ServiceName) {
        let mut ledger = self.ledger();
        for ward in self.wards.values().filter(|ward| ward.spec.depends_on.contains(service)) {
            ledger.forgive(&ward.spec.name, false);
        }
        drop(ledger);
        self.take_turn();
    }

    /// The open incident of a dependency that explains what is wrong here.
    fn cause(&self, ward: &Ward) -> Option<heald_model::IncidentId> {
        ward.spec.depends_on.iter().find_map(|name| {
            let dependency = self.wards.get(name)?.lock();
            dependency.leading().filter(|incident| incident.severity == Severity::Critical).map(|incident| incident.id)
        })
    }

    /// Takes in what an adapter witnessed (a process that started or ended, a circuit that moved), and puts it on record.
    pub fn witness(&self, entry: Entry) {
        self.ledger().apply(&entry, &self.config);
        self.ports.journal.write(vec![entry]);
    }

    /// Hands entries to the journal, and to all that is derived from it but the incidents themselves.
    pub(crate) fn journal(&self, entries: Vec<Entry>) {
        let mut ledger = self.ledger();
        for entry in &entries {
            ledger.apply(entry, &self.config);
        }
        // Under the ledger's lock, so that the journal has them in the order in which they were judged.
        self.ports.journal.write(entries);
    }

    /// Records entries of one incident: in memory and in the journal.
    pub(crate) fn record(&self, ward: &Ward, entries: Vec<Entry>) {
        self.enter(&mut ward.lock(), entries);
    }

    /// The one way into a service's incidents: memory, log and journal. Under the ward's lock, since two tasks write about one
    /// service and the journal must have it in the order of the memory.
    fn enter(&self, state: &mut State, entries: Vec<Entry>) {
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
    pub(crate) fn view(&self, ward: &Ward) -> ServiceView {
        let processes = self.ports.processes.of(&ward.spec.name);
        let running =
            u32::try_from(processes.iter().filter(|process| process.pid.is_some()).count()).unwrap_or(u32::MAX);
        ServiceView {
            name: ward.spec.name.clone(),
            tags: ward.spec.tags.clone(),
            depends_on: self.dependencies(ward),
            wanted: ward.spec.replicas,
            running,
            ready: if ward.up() == Some(false) { 0 } else { running },
            breaker: self.ports.probes.breaker(&ward.spec.name),
            metadata: ward.spec.metadata.clone(),
            facts: vec![heald_model::Fact::text("desired", self.desired(ward).to_string())],
        }
    }

    pub(crate) fn dependencies(&self, ward: &Ward) -> Vec<Dependency> {
        ward.spec
            .depends_on
            .iter()
            .map(|name| {
                let ward = self.wards.get(name).filter(|ward| self.desired(ward) == Desired::Running);
                Dependency { service: name.clone(), up: ward.and_then(|ward| ward.up()) }
            })
            .collect()
    }

    pub(crate) fn desired(&self, ward: &Ward) -> Desired {
        self.ports.wishes.desired(&ward.spec.name)
    }

    pub(crate) fn experience(&self, signature: &Signature) -> Vec<Experience> {
        self.catalog().experience(signature)
    }

    /// Lets every waiting tender look again.
    pub(crate) fn take_turn(&self) {
        self.turn.send_modify(|turn| *turn = turn.wrapping_add(1));
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

    /// The `[healing]` section it goes by.
    pub fn config(&self) -> &HealingConfig {
        &self.config
    }

    pub(crate) fn halt_all(&self, halted: bool) {
        self.halted.store(halted, Ordering::Relaxed);
        self.take_turn();
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn strikes(&self) -> MutexGuard<'_, Strikes> {
        self.strikes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn trials(&self) -> MutexGuard<'_, Trials> {
        self.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn last_faults(&self) -> MutexGuard<'_, BTreeMap<PluginName, Fault>> {
        self.last_faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, BTreeMap<PluginName, Incident>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says in the log what was just put on record of an incident; the incident's id joins the lines of one story.
fn tell(state: &State, entry: &Entry) {
    let incident = entry.incident.and_then(|id| state.incidents.get(&id));
    if let Some((incident, event)) = incident.and_then(|incident| Some((incident, incident.timeline.last()?))) {
        let (kind, source) = (&event.kind, &event.source);
        tracing::info!(service = %incident.service, incident = %incident.id, %source, "{kind}: {}", event.text);
    }
}
