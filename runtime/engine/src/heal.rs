//! The loop. Read this first.
//!
//! ```text
//! sample -> detect -> incidents -> decide -> guard -> act -> prove -> settle -> learn
//! ```
//!
//! Each service has one task, which does three things at a time: it *listens* (samples in, incidents out), it *tends* what is
//! wrong, and it asks the shadows. So a slow detector of one service holds up no other, at most one action is in flight for a
//! service, and its most severe incident leads. Tending is level-triggered and re-entrant: it looks at how things are, never at
//! what it was told before, and starts over from the journal's state after a crash.
//!
//! The stages are [`crate::detect`], [`crate::incidents`], [`crate::policies`], [`crate::guard`], [`crate::remediate`],
//! [`crate::prove`] and [`crate::learn`]; no stage knows this file. What they share is the context.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use heald_model::{
    Choice, Class, Decision, Desired, Entry, Incident, IncidentId, Moment, PluginName, Record, ServiceName, Severity,
    Stage,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::HealingConfig;
use crate::context::{Context, Rest};
use crate::detect;
use crate::guard::{Hold, Judgement, Permit};
use crate::incidents;
use crate::learn::Catalog;
use crate::ledger::Ledger;
use crate::operator::{self, Operator, Turn};
use crate::plugin_handle::PluginHandle;
use crate::policies::{self, ShadowQuestion};
use crate::prove;
use crate::quarantine::tracker::PluginFaults;
use crate::remediate::{self, Diagnosed};
use crate::service::inbox::{Mail, News};
use crate::service::list::ServiceList;
use crate::service::{Service, ServiceSetup};

pub use crate::context::Ports;

/// What the next checks will tell (that a process lives again, that a detector answers again) is waited for this long at a time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Questions that wait for a service's shadows at most.
const WAITING_QUESTIONS: usize = 16;

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

/// The healer: services come, are healed, and go.
pub struct Healer {
    ctx: Arc<Context>,
    /// Services whose task is to be started, and where [`Healer::run`] hears of them.
    starting: mpsc::UnboundedSender<Arc<Service>>,
    to_start: tokio::sync::Mutex<mpsc::UnboundedReceiver<Arc<Service>>>,
    /// Open incidents of services that are not configured any more.
    orphans: Vec<Incident>,
}

impl Healer {
    /// A healer of these services that goes on where the past left off. Probes send what they see to `services`.
    pub fn new(
        config: HealingConfig,
        ports: Ports,
        services: Arc<ServiceList>,
        setups: Vec<ServiceSetup>,
        past: Past,
    ) -> Arc<Self> {
        let ledger = Ledger::of(&past.entries, &config, ports.clock.now());
        let (plugins, incidents): (Vec<_>, Vec<_>) =
            past.incidents.into_iter().partition(|incident| incident.service.plugin().is_some());
        let plugins = plugins.into_iter().filter_map(|incident| {
            let plugin = PluginName::from(incident.service.plugin()?);
            Some((plugin, incident))
        });
        let plugin_faults = PluginFaults::with(plugins.collect());
        let ctx = Arc::new(Context::new(config, ports, services, plugin_faults, ledger, past.catalog));
        let (starting, to_start) = mpsc::unbounded_channel();
        let mut known: BTreeMap<ServiceName, Vec<Incident>> = BTreeMap::new();
        for incident in incidents {
            known.entry(incident.service.clone()).or_default().push(incident);
        }
        let mut healer = Self { ctx, starting, to_start: to_start.into(), orphans: Vec::new() };
        for setup in setups {
            let incidents = known.remove(&setup.spec.name).unwrap_or_default();
            healer.add(setup, incidents);
        }
        healer.orphans = known.into_values().flatten().filter(Incident::is_open).collect();
        Arc::new(healer)
    }

    /// Takes a service into care, with its incidents of before; false if there is one of that name.
    pub fn add(&self, setup: ServiceSetup, incidents: Vec<Incident>) -> bool {
        let service = Arc::new(Service::new(setup));
        service.lock().recall(incidents, &service.spec(), self.ctx.now());
        service.publish();
        // Nobody listens any more only when heald ends.
        self.ctx.services.add(Arc::clone(&service)) && self.starting.send(service).is_ok()
    }

    /// The service is configured like this from now on; false if there is none of that name. What is under way goes on.
    pub fn change(&self, setup: ServiceSetup) -> bool {
        let Some(service) = self.ctx.services.get(&setup.spec.name) else { return false };
        service.inbox.tell(News::Setup(Box::new(setup)));
        true
    }

    /// The service is no longer configured: its incidents end, and it is never touched again; false if there is none of that name.
    /// An action that is under way is seen through first.
    pub fn remove(&self, name: &ServiceName) -> bool {
        let Some(service) = self.ctx.services.remove(name) else { return false };
        service.inbox.tell(News::End);
        true
    }

    /// What operators ask of it.
    pub fn operator(&self) -> Operator {
        Operator::of(&self.ctx)
    }

    /// What the plug-in platform does to it.
    pub fn plugins(&self) -> PluginHandle {
        PluginHandle::of(&self.ctx)
    }

    /// Takes in what an adapter witnessed (a process that started or ended, a circuit that moved), and puts it on record.
    pub fn witness(&self, entry: Entry) {
        self.ctx.witness(entry);
    }

    /// Heals until the task of a service fails: a service that nobody tends is worse than a heald that starts anew.
    pub async fn run(&self) {
        prove::settle_strays(&self.ctx);
        for orphan in &self.orphans {
            let record = Record::Staged { stage: Stage::Resolved, why: "the service is no longer configured".into() };
            self.ctx.journal(vec![Entry::of_incident(self.ctx.now(), orphan.service.clone(), orphan.id, record)]);
        }
        let mut to_start = self.to_start.lock().await;
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(ended) = tasks.join_next() => match ended {
                    Ok(name) => tracing::info!(service = %name, "is not healed any more"),
                    Err(error) => {
                        tracing::error!("the task of a service has failed: {error}");
                        return;
                    }
                },
                Some(service) = to_start.recv() => {
                    tasks.spawn(heal(Arc::clone(&self.ctx), service));
                }
            }
        }
    }
}

/// One service's task, until the service is no longer configured.
async fn heal(ctx: Arc<Context>, service: Arc<Service>) -> ServiceName {
    if ctx.desired(&service) == Desired::Stopped {
        // It was to be stopped when heald was last there; what is to be down has no open incidents.
        incidents::close_all(&ctx, &service, "an operator wants it stopped");
    }
    let (shadows, questions) = mpsc::channel(WAITING_QUESTIONS);
    let work = async { tokio::join!(listen(&ctx, &service), tend(&ctx, &service, &shadows)) };
    tokio::select! {
        _ = work => {}
        () = policies::ask_shadows(&ctx, &service, questions) => {}
    }
    incidents::close_all(&ctx, &service, "the service is no longer configured");
    incidents::recovered(&ctx, &service);
    ctx.plugin_faults.allowances().forget(&service.name);
    service.name.clone()
}

/// Samples in, incidents out.
async fn listen(ctx: &Context, service: &Service) {
    loop {
        match service.inbox.next().await {
            Mail::Samples(samples, dropped) => {
                if dropped > 0 {
                    tracing::warn!(service = %service.name, dropped, "samples came faster than its detectors look at them");
                }
                let leftover = detect::observe(ctx, service, samples).await;
                incidents::update(ctx, service);
                incidents::resolve_if_quiet(ctx, service);
                detect::observe_in_shadow(ctx, service, leftover).await;
            }
            Mail::News(News::End) => {
                service.lock().ending = true;
                service.publish();
                return;
            }
            Mail::News(news) => {
                hear(ctx, service, news);
                service.publish();
            }
        }
    }
}

/// Takes in what is told beside samples.
fn hear(ctx: &Context, service: &Service, news: News) {
    // Whoever waits for a reply may have gone away; what was told holds all the same.
    match news {
        // A stop does not wait behind other orders.
        News::Order(order) if order.order.action == "stop" => service.lock().orders.push_front(order),
        News::Order(order) => service.lock().orders.push_back(order),
        News::Desired | News::DependencyReturned => service.lock().generation += 1,
        News::Reset { by, reply } => {
            operator::heard_reset(ctx, service, &by);
            let _ = reply.send(());
        }
        News::Approve { by, reply } => {
            let _ = reply.send(operator::heard_approval(ctx, service, &by));
        }
        News::Setup(setup) => {
            let ServiceSetup { spec, plugins } = *setup;
            service.lock().set_up(&spec, &plugins);
            service.set_plugins(plugins);
            service.set_spec(spec);
        }
        News::Plugins => {
            let plugins = service.plugins();
            service.lock().plugins_changed(&plugins);
        }
        // The listener ends itself.
        News::End => {}
    }
}

/// Tends a service for as long as it is in heald's care. The leading incident is treated first; what it leaves to be done for the
/// others is done in the same round. Whether actions may overlap is the guard's to say; here they may.
async fn tend(ctx: &Context, service: &Service, shadows: &mpsc::Sender<ShadowQuestion>) {
    let mut attempts: Attempts<'_> = FuturesUnordered::new();
    attempts.extend(prove::unsettled(service).into_iter().map(|attempt| prove::resume(ctx, service, attempt).boxed()));
    // Nobody waits for a message: it is delivered beside the healing.
    let mut messages: Attempts<'_> = FuturesUnordered::new();
    let mut settlements = ctx.settlements();
    let mut looks = service.changes();
    first_look(ctx, service, &mut attempts).await;
    loop {
        let before = Attention::of(service);
        settlements.mark_unchanged();
        looks.mark_unchanged();
        if service.lock().ending {
            // What has begun is seen through.
            while attempts.next().await.is_some() {}
            while messages.next().await.is_some() {}
            return;
        }
        // What is under way goes on while the next thing is decided.
        let (round, settled) = {
            let mut settled = false;
            let mut round = std::pin::pin!(tend_once(ctx, service, shadows, !attempts.is_empty()));
            loop {
                tokio::select! {
                    biased;
                    Some(()) = attempts.next() => settled = true,
                    Some(()) = messages.next() => settled = true,
                    round = &mut round => break (round, settled),
                }
            }
        };
        let rest = match round {
            Round::Act(act) => {
                attempts.push(act);
                continue;
            }
            Round::Message(message) => {
                messages.push(message);
                continue;
            }
            Round::Rest(rest) => rest,
        };
        if settled || rest == Rest::NONE {
            continue;
        }
        tokio::select! {
            biased;
            Some(()) = attempts.next() => {}
            Some(()) = messages.next() => {}
            () = changed(service, &before) => {}
            _ = settlements.changed(), if rest.for_budget => {}
            _ = looks.changed(), if rest.for_look => {}
            () = ctx.ports.clock.sleep_until(rest.until) => {}
        }
    }
}

/// The actions under way for one service, each with its proof.
type Attempts<'a> = FuturesUnordered<BoxFuture<'a, ()>>;

/// What comes of one round.
enum Round<'a> {
    /// This act begins.
    Act(BoxFuture<'a, ()>),
    /// This message is to be delivered.
    Message(BoxFuture<'a, ()>),
    /// Nothing can be done before this.
    Rest(Rest),
}

/// What the journal says may be over by now: a fresh look comes first, and what was under way is seen through. That a process is not
/// there is a fact without a look.
async fn first_look(ctx: &Context, service: &Service, attempts: &mut Attempts<'_>) {
    let mut changes = service.changes();
    loop {
        let looked = {
            let state = service.lock();
            state.observed || state.ending || state.leading().is_none() || !state.orders.is_empty()
        };
        if attempts.is_empty() && (looked || ctx.has_died(service)) {
            return;
        }
        tokio::select! {
            biased;
            Some(()) = attempts.next() => {}
            // The sender lives in the service, which is borrowed here.
            _ = changes.changed() => {}
        }
    }
}

/// One round: the order whose turn it is, then every open incident. `busy`: an action is under way.
async fn tend_once<'a>(
    ctx: &'a Context,
    service: &'a Service,
    shadows: &mpsc::Sender<ShadowQuestion>,
    busy: bool,
) -> Round<'a> {
    let mut rest = match operator::take_order(ctx, service) {
        Turn::Carry(order, permit) => {
            let message = permit.intent().class == Class::Message;
            let carried = operator::carry_out(ctx, service, *order, *permit).boxed();
            return if message { Round::Message(carried) } else { Round::Act(carried) };
        }
        Turn::Answered => return Round::Rest(Rest::NONE),
        Turn::Wait(rest) => rest,
    };
    // While an action is under way only another dead copy is brought back; the rest waits for its outcome.
    if busy && !remediate::has_free_copy(ctx, service) {
        return Round::Rest(rest);
    }
    let open: Vec<Incident> = service.lock().open().into_iter().cloned().collect();
    for incident in &open {
        match treat(ctx, service, incident, shadows).await {
            Step::Act(permit, _) if permit.intent().class == Class::Message => {
                // Once it is on record the question is another one, and the policy goes on with its answer.
                return match remediate::intend(ctx, service, &permit).await {
                    Ok(()) => Round::Message(remediate::deliver(ctx, service, *permit).boxed()),
                    Err(until) => Round::Rest(Rest::until(until)),
                };
            }
            Step::Act(permit, diagnosed) => {
                return Round::Act(remediate::carry_out(ctx, service, *permit, diagnosed).boxed());
            }
            Step::LookAgain => return Round::Rest(Rest::NONE),
            Step::Rest(its) => rest = rest.or(its),
        }
    }
    Round::Rest(rest)
}

/// What comes of looking at one incident.
enum Step {
    /// This is admitted.
    Act(Box<Permit>, Diagnosed),
    /// It is not what it was: look again at once.
    LookAgain,
    /// Nothing can be done before this.
    Rest(Rest),
}

/// One turn of the healing of one incident: decide, then ask the guard.
async fn treat(ctx: &Context, service: &Service, incident: &Incident, shadows: &mpsc::Sender<ShadowQuestion>) -> Step {
    let nothing = Step::Rest(Rest::until(Moment::NEVER));
    if incident.concerns.is_empty() {
        // Nothing of it holds; it is over as soon as a check says so.
        return nothing;
    }
    if service.lock().unconfirmed(&incident.condition) {
        // Nothing is done on the word of a detector that does not answer: it may be long over.
        let why = "the detector that found it does not answer now".to_owned();
        let hold = Hold { rule: "unconfirmed", until: Some(Moment::NEVER), why, escalate: false };
        remediate::withhold(ctx, service, incident, "healing", &hold);
        return Step::Rest(Rest::until(ctx.now() + LOOK_AGAIN));
    }
    let diagnosed = Diagnosed::now(ctx, service);
    let Some((decision, again_at)) = decide(ctx, service, incident, shadows).await else { return Step::LookAgain };
    // Deciding takes time, and nothing is to be done about what is over meanwhile.
    let Some(incident) = service.lock().still(incident.id).cloned() else { return Step::LookAgain };
    let rest = match &decision.choice {
        Choice::NoAction | Choice::Pass => Rest::until(Moment::NEVER),
        Choice::Escalate => Rest::until(remediate::escalate(ctx, service, &incident, &decision.reason)),
        Choice::Act(proposal) => {
            let Some(disruptive) = remediate::disruptive(ctx, service, &proposal.action) else {
                return Step::Rest(remediate::not_on_offer(ctx, service, &incident, &decision, &proposal.action));
            };
            let source = decision.source.clone();
            let draft = remediate::draft(ctx, service, Some(&incident), proposal, disruptive, source);
            if remediate::lives_again(ctx, service, &draft) {
                return Step::Rest(Rest::until(ctx.now() + LOOK_AGAIN));
            }
            match remediate::judge(ctx, service, Some(&incident), draft, false) {
                Judgement::Hold(hold) => remediate::withhold(ctx, service, &incident, &proposal.action, &hold),
                Judgement::Admit(permit, notice) => {
                    if let Some(why) = notice {
                        remediate::escalate(ctx, service, &incident, &why);
                    }
                    return Step::Act(Box::new(permit), diagnosed);
                }
            }
        }
    };
    Step::Rest(rest.or(Rest::until(again_at)))
}

/// What is to be done about an incident, and when that is to be asked again. The policies are asked when the question is another
/// one than before, or when they named a time. None: it is over meanwhile.
async fn decide(
    ctx: &Context,
    service: &Service,
    incident: &Incident,
    shadows: &mpsc::Sender<ShadowQuestion>,
) -> Option<(Decision, Moment)> {
    if let Some(known) = policies::known(ctx, service, incident) {
        let insisting = remediate::insist(ctx, service, incident, &known.decision);
        if let Some(insisting) = &insisting {
            policies::note_decision(ctx, service, incident, insisting);
        }
        return Some((insisting.unwrap_or(known.decision), known.again_at));
    }
    let mut deliberation = policies::decide(ctx, service, incident).await;
    let incident = service.lock().still(incident.id).cloned()?;
    let again_at = policies::remember(service, &incident, &deliberation);
    if let Some(insisting) = remediate::insist(ctx, service, &incident, &deliberation.decision) {
        deliberation.decision = insisting;
    }
    Some((policies::note(ctx, service, &incident, deliberation, shadows), again_at))
}

/// An open incident: how often it came back, and the subject and severity of what holds in it.
type OpenIncident = (IncidentId, u32, Vec<(Option<String>, Severity)>);

/// What makes tending look again: which incidents are open, what holds in each, and what was told.
#[derive(PartialEq)]
struct Attention {
    open: Vec<OpenIncident>,
    orders: usize,
    generation: u64,
    ending: bool,
}

impl Attention {
    fn of(service: &Service) -> Self {
        let state = service.lock();
        let concerns = |incident: &Incident| {
            incident.concerns.iter().map(|known| (known.finding.subject.clone(), known.finding.severity)).collect()
        };
        let open = state.open().into_iter().map(|incident| (incident.id, incident.reopened, concerns(incident)));
        Self { open: open.collect(), orders: state.orders.len(), generation: state.generation, ending: state.ending }
    }
}

/// Returns when something needs attention that did not before.
async fn changed(service: &Service, before: &Attention) {
    let mut changes = service.changes();
    while Attention::of(service) == *before {
        // The sender lives in the service, which is borrowed here.
        let _ = changes.changed().await;
    }
}
