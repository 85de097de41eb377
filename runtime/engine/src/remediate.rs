//! Remediate: what is on offer, the guard's ruling, the intent on record, the act.
//!
//! Each step puts itself on record before the next begins. Whether an act helped is not judged here: see [`crate::prove`].

use std::sync::Arc;
use std::time::Duration;

use heald_model::time::text;
use heald_model::{
    Breaker, Choice, Class, Decision, Dependency, Desired, Ending, Entry, Incident, IncidentId, Intent, IntentId,
    Moment, Offer, Outcome, Proposal, Receipt, Record, Replica, Ruling, ServiceName, ServiceSpec, Severity, Source,
    Stage,
};
use serde_json::json;
use uuid::Uuid;

use crate::context::{Context, Rest};
use crate::guard::{self, Case, Hold, Judgement, Permit};
use crate::incidents;
use crate::ledger::{Account, instance};
use crate::looks::{ask_for_look, unclear_dependency};
use crate::ports::{ActionError, Durability};
use crate::prove;
use crate::service::Service;

/// What can be done for the service, with why the guard would refuse it now.
pub(crate) fn offers(ctx: &Context, service: &Service, incident: Option<&Incident>) -> Vec<Offer> {
    let mut offers = ctx.ports.actions.offers(&service.name);
    // Whether a verdict is stale only makes an action wait, and working it out asks for looks: the judgement does that.
    let facts = Facts::of(ctx, service, None);
    for offer in &mut offers {
        let proposal = Proposal { action: offer.action.name.clone(), parameters: json!({}), verify_within: None };
        let intent = draft(ctx, service, incident, &proposal, offer.action.disruptive, offer.source.clone());
        let hold = guard::objection(&ctx.config, &ctx.ledger(), &facts.case(incident, false), &intent);
        // What merely has to wait is not blocked: a policy should wait for the gentle remedy, not reach for a harsher one.
        let refused = hold.filter(|hold| hold.until.is_none());
        offer.blocked = refused.map(|hold| format!("{}: {}", hold.rule, hold.why));
    }
    offers
}

/// What a proposal would put on record if it were admitted now; it has no id yet. Of several copies, a restore names the one that
/// it brings back.
pub(crate) fn draft(
    ctx: &Context,
    service: &Service,
    incident: Option<&Incident>,
    proposal: &Proposal,
    disruptive: bool,
    source: Source,
) -> Intent {
    let spec = service.spec();
    let dead = if starts(&proposal.action) { ctx.dead_copies(service) } else { Vec::new() };
    let class = match disruptive {
        false => Class::Message,
        true if dead.is_empty() => Class::Disrupt,
        true => Class::Restore,
    };
    let mut parameters = proposal.parameters.clone();
    if class == Class::Restore
        && spec.replicas > 1
        && !matches!(source, Source::Operator(_))
        && let Some(parameters) = parameters.as_object_mut()
        && let Some(copy) = free_copy(ctx, service, &dead).and_then(|copy| copy.as_str().parse::<u64>().ok())
    {
        parameters.entry("replica").or_insert(copy.into());
    }
    let leading = incident.and_then(Incident::leading);
    Intent {
        id: IntentId(Uuid::nil()),
        incident: incident.map(|incident| incident.id),
        service: service.name.clone(),
        signature: incident.map(|incident| incident.signature.clone()),
        action: proposal.action.clone(),
        parameters,
        class,
        source,
        at: ctx.now(),
        cause: leading.and_then(|concern| concern.finding.cause()).map(str::to_owned),
        verify_within: proposal.verify_within.unwrap_or_else(|| prove::window(&spec)).min(ctx.config.verify_max),
    }
}

/// The first dead copy that nobody is bringing back.
fn free_copy<'a>(ctx: &Context, service: &Service, dead: &'a [Replica]) -> Option<&'a Replica> {
    let ledger = ctx.ledger();
    let brought_back =
        |copy: &Replica| ledger.flights_of(&service.name).any(|(_, flight)| flight.instance.as_ref() == Some(copy));
    dead.iter().find(|copy| !brought_back(copy))
}

/// True if a dead copy of several is brought back by nobody: it does not wait for another copy's restore.
pub(crate) fn has_free_copy(ctx: &Context, service: &Service) -> bool {
    service.spec().replicas > 1 && free_copy(ctx, service, &ctx.dead_copies(service)).is_some()
}

/// True if a proposed action of that name, as the service is offered it, touches the service; None: nobody offers it.
pub(crate) fn disruptive(ctx: &Context, service: &Service, action: &str) -> Option<bool> {
    let offers = ctx.ports.actions.offers(&service.name);
    offers.iter().find(|offer| offer.action.name == action).map(|offer| offer.action.disruptive)
}

fn starts(action: &str) -> bool {
    matches!(action, "start" | "restart")
}

/// True if an end is to be answered with a start, and somebody has answered already: the keeper in heald's absence, or an
/// operator. What lives is not to be restarted because an earlier life ended.
pub(crate) fn lives_again(ctx: &Context, service: &Service, intent: &Intent) -> bool {
    let ended = matches!(intent.cause.as_deref(), Some("exit" | "signal" | "missing"));
    let supervised = service.spec().supervised;
    ended && starts(&intent.action) && supervised && !ctx.has_died(service) && !ctx.has_finished(service)
}

/// What the guard may know of a service, held while it judges.
struct Facts {
    spec: Arc<ServiceSpec>,
    dependencies: Vec<Dependency>,
    now: Moment,
    seed: u64,
    services: usize,
    desired: Desired,
    halted: bool,
    approved: Option<IncidentId>,
    finished: bool,
    stale: Option<String>,
    flapping: bool,
    outage: Option<(String, Moment)>,
}

impl Facts {
    fn of(ctx: &Context, service: &Service, incident: Option<&Incident>) -> Self {
        let (died, returned) = {
            let ledger = ctx.ledger();
            let account = ledger.account(&service.name);
            let deaths = account.into_iter().flat_map(|account| account.lives.values());
            (
                deaths.filter_map(|lives| lives.death).map(|death| death.at).max(),
                account.and_then(|a| a.dependency_returned),
            )
        };
        let (approved, flapping) = {
            let state = service.lock();
            (state.approved, state.flapping.is_on())
        };
        let now = ctx.now();
        let outage = {
            let outage = ctx.outage();
            outage.hold(&service.name, now).map(|why| (why, outage.trial_at().unwrap_or(Moment::NEVER)))
        };
        Self {
            spec: service.spec(),
            dependencies: ctx.dependencies(service),
            now,
            seed: seed(service.name.as_str(), died.map_or(0, Moment::nanos)),
            services: ctx.services.len(),
            desired: ctx.desired(service),
            halted: ctx.is_halted(),
            approved,
            finished: ctx.has_finished(service),
            stale: incident.and_then(|incident| stale(ctx, service, incident, returned, now)),
            flapping,
            outage,
        }
    }

    fn case<'a>(&'a self, incident: Option<&'a Incident>, forced: bool) -> Case<'a> {
        Case {
            now: self.now,
            seed: self.seed,
            spec: &self.spec,
            services: self.services,
            desired: self.desired,
            halted: self.halted,
            dependencies: &self.dependencies,
            incident,
            approved: incident.is_some_and(|incident| self.approved == Some(incident.id)),
            finished: self.finished,
            forced,
            stale: self.stale.as_deref(),
            flapping: self.flapping,
            outage: self.outage.as_ref().map(|(why, until)| (why.as_str(), *until)),
        }
    }
}

/// Why what was seen of the service, or of what it needs, is too old to touch the service on, if so.
fn stale(
    ctx: &Context,
    service: &Service,
    incident: &Incident,
    returned: Option<Moment>,
    now: Moment,
) -> Option<String> {
    let spec = service.spec();
    let (judged_on, unseen) = {
        let state = service.lock();
        (state.judged_on(&spec.probes), state.unseen(incident).map(str::to_owned))
    };
    if let Some(check) = unseen {
        return Some(format!(
            "{check} has not looked at {} since heald came back; it is looked at first",
            service.name
        ));
    }
    if let Some((ended, bound)) = judged_on {
        let age = now.since(ended);
        // While the circuit is open no check is made: what it opened on grows old.
        let suspended = ctx.ports.probes.breaker(&service.name) == Breaker::Open && age > bound / 3;
        if age > bound || suspended || returned.is_some_and(|returned| ended < returned) {
            let age = text::format(Duration::from_millis(age.as_millis() as u64));
            return Some(format!("{} was last checked {age} ago; it is looked at first", service.name));
        }
    }
    if returned.is_some_and(|returned| !service.lock().failed_enough_since(returned)) {
        return Some(format!("what {} needs is back; it may take a moment to notice", service.name));
    }
    unclear_dependency(ctx, service, incident, now)
}

/// Asks the guard. An admitted intent gets its id and is in flight from this moment: judging and entering happen under one lock.
pub(crate) fn judge(
    ctx: &Context,
    service: &Service,
    incident: Option<&Incident>,
    draft: Intent,
    forced: bool,
) -> Judgement {
    let facts = Facts::of(ctx, service, incident);
    let intent = Intent { id: IntentId(ctx.id(draft.at)), ..draft };
    let mut ledger = ctx.ledger();
    let judgement = guard::judge(&ctx.config, &ledger, &facts.case(incident, forced), intent);
    if let Judgement::Admit(permit, _) = &judgement {
        ledger.apply(&intended(permit.intent()), &ctx.config);
    }
    judgement
}

fn intended(intent: &Intent) -> Entry {
    let record = Record::Intended { intent: intent.clone() };
    Entry { at: intent.at, service: Some(intent.service.clone()), incident: intent.incident, record }
}

/// Puts a hold on record when it changed, tells people where the rule says so, and answers what to wait for.
pub(crate) fn withhold(ctx: &Context, service: &Service, incident: &Incident, action: &str, hold: &Hold) -> Rest {
    let known = incident.held.as_ref().is_some_and(|held| held.rule == hold.rule && held.until == hold.until);
    // That an action of its own is under way is in the incident already; a look takes a moment and is asked for each time anew.
    if hold.rule == guard::STALE {
        ask_for_look(ctx, service);
    } else if !known && hold.rule != guard::IN_FLIGHT {
        let record = Record::Ruled { action: action.to_owned(), ruling: hold.ruling() };
        ctx.record(service, vec![Entry::of_incident(ctx.now(), service.name.clone(), incident.id, record)]);
    }
    let again = if hold.escalate { escalate(ctx, service, incident, &hold.why) } else { Moment::NEVER };
    Rest {
        until: hold.until.unwrap_or(Moment::NEVER).min(again),
        for_budget: hold.rule == guard::BUDGET,
        for_look: hold.rule == guard::STALE || hold.rule == guard::FLAPPING,
    }
}

/// Hands the incident to people, once, and answers when to look again: a dead process that is wanted running is still brought
/// back, at the longest back-off. What an ill dependency explains is told with the dependency.
pub(crate) fn escalate(ctx: &Context, service: &Service, incident: &Incident, why: &str) -> Moment {
    let now = ctx.now();
    let explained = incidents::cause(ctx, service).is_some();
    if incident.stage != Stage::Escalated && !explained {
        if unclear_dependency(ctx, service, incident, now).is_some() {
            return now + guard::LOOK;
        }
        let dependents = incidents::dependents(ctx, &service.name);
        let why = match dependents.as_slice() {
            [] => why.to_owned(),
            [one] => format!("{why}; {one} needs it"),
            many => format!("{why}; {} services need it: {}", many.len(), some_of(many)),
        };
        tracing::error!(service = %service.name, incident = %incident.id, "escalated: {why}");
        let record = Record::Staged { stage: Stage::Escalated, why };
        ctx.record(service, vec![Entry::of_incident(now, service.name.clone(), incident.id, record)]);
    }
    if ctx.has_died(service) { now + ctx.config.backoff.max } else { Moment::NEVER }
}

/// A policy asks for what nobody offers: that is told, with what there is, and people are asked.
pub(crate) fn not_on_offer(
    ctx: &Context,
    service: &Service,
    incident: &Incident,
    decision: &Decision,
    action: &str,
) -> Rest {
    let offers = ctx.ports.actions.offers(&service.name);
    let offered: Vec<&str> = offers.iter().map(|offer| offer.action.name.as_str()).collect();
    let of_a_process = starts(action) || matches!(action, "stop" | "signal");
    let why = match of_a_process && !service.spec().supervised {
        true => format!("heald does not run {}", service.name),
        false => format!("no plug-in among the `actions` of {} offers it", service.name),
    };
    let offered = if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") };
    let why = format!("{} asks for {action}, which is not on offer: {why}; on offer: {offered}", decision.source);
    let hold = Hold { rule: "not-on-offer", until: None, why, escalate: true };
    withhold(ctx, service, incident, action, &hold)
}

/// The first of many names.
fn some_of(names: &[ServiceName]) -> String {
    /// Enough to know what is meant.
    const SHOWN: usize = 20;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(ServiceName::as_str).collect();
    let rest = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{}{rest}", shown.join(", "))
}

/// Telling people brings back no process. After they were told of one that does not stay up, it is still brought back at the
/// longest back-off, where the decision is to escalate; and where the decision is a message that was sent, it is brought back now.
pub(crate) fn insist(ctx: &Context, service: &Service, incident: &Incident, decision: &Decision) -> Option<Decision> {
    let due = decision.choice == Choice::Escalate
        && incident.stage == Stage::Escalated
        && ctx.has_died(service)
        && ctx.now().since(incident.updated) >= ctx.config.backoff.max;
    let said = match &decision.choice {
        Choice::Act(proposal) => was_said(ctx, service, incident, &proposal.action),
        Choice::Escalate | Choice::NoAction | Choice::Pass => false,
    };
    let dead = said && incident.severity == Severity::Critical && ctx.has_died(service);
    (due || dead).then(|| Decision {
        choice: Choice::Act(Proposal { action: "restart".into(), parameters: json!({}), verify_within: None }),
        confidence: 0.1,
        reason: "people were told; a dead process is still tried now and then".into(),
        considered: Vec::new(),
        facts: Vec::new(),
        again_in: None,
        source: Source::Native,
    })
}

/// True if the action is a message, and people were told it in this incident.
fn was_said(ctx: &Context, service: &Service, incident: &Incident, action: &str) -> bool {
    let said = |account: &Account| account.told.contains_key(&(action.to_owned(), Some(incident.id)));
    disruptive(ctx, service, action) == Some(false) && ctx.ledger().account(&service.name).is_some_and(said)
}

/// The lives that a diagnosis is about: an action touches these, or none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Diagnosed(Vec<(Replica, u64, Option<u32>)>);

impl Diagnosed {
    pub(crate) fn now(ctx: &Context, service: &Service) -> Self {
        let processes = ctx.ports.processes.of(&service.name);
        Self(processes.into_iter().map(|process| (process.replica, process.incarnation, process.pid)).collect())
    }

    /// Those that an intent is about.
    fn of(&self, intent: &Intent) -> Vec<&(Replica, u64, Option<u32>)> {
        let its = instance(intent);
        self.0.iter().filter(|(copy, ..)| its.as_ref().is_none_or(|its| its == copy)).collect()
    }
}

/// Does what is permitted, and sees it through to its ending.
pub(crate) async fn carry_out(ctx: &Context, service: &Service, permit: Permit, diagnosed: Diagnosed) {
    let intent = permit.intent().clone();
    if intend(ctx, service, &permit).await.is_err() {
        return;
    }
    if Diagnosed::now(ctx, service).of(&intent) != diagnosed.of(&intent) {
        let why = "the processes are not those that were diagnosed".to_owned();
        return prove::settle(ctx, service, &intent, Ending::Withheld(why));
    }
    // What failed is settled; the level is looked at again, and the guard spaces what fails.
    if let Ok(receipt) = perform(ctx, service, permit).await {
        prove::verify(ctx, service, &intent, Some(&receipt)).await;
    }
}

/// Delivers a message whose intent is on record. That it was delivered is all there is to prove.
pub(crate) async fn deliver(ctx: &Context, service: &Service, permit: Permit) {
    let intent = permit.intent().clone();
    if let Ok(receipt) = perform(ctx, service, permit).await {
        prove::settle(ctx, service, &intent, Ending::Verified(Outcome::Unknown));
        tracing::debug!(service = %intent.service, "{}", receipt.summary);
    }
}

/// Puts the intent on record before its effect. If the journal cannot be written, what brings back the dead goes on, with the
/// intent in memory; everything else waits.
///
/// # Errors
/// When to try again, if the journal cannot be written.
pub(crate) async fn intend(ctx: &Context, service: &Service, permit: &Permit) -> Result<(), Moment> {
    /// How soon a journal that failed is tried again.
    const RETRY: Duration = Duration::from_secs(1);
    let intent = permit.intent();
    let why = match intent.class {
        Class::Restore => "a dead process that is wanted running".to_owned(),
        class => format!("class {class}, within every rule"),
    };
    let ruled = Record::Ruled { action: intent.action.clone(), ruling: Ruling::Admit { why } };
    // Both bear the moment of the judgement.
    let entries = vec![Entry { at: intent.at, ..ctx.entry(intent, ruled) }, intended(intent)];
    if intent.class == Class::Disrupt {
        ctx.outage().touched(&service.name);
        let mut state = service.lock();
        state.approved = state.approved.filter(|approved| Some(*approved) != intent.incident);
    }
    ctx.record(service, entries);
    if intent.incident.is_none() {
        tracing::info!(service = %intent.service, source = %intent.source, "intent: {} {}", intent.action, intent.service);
    }
    // Nothing more to write: this waits until what was handed over is safe.
    let Err(error) = ctx.ports.journal.commit(Vec::new(), Durability::Process).await else { return Ok(()) };
    tracing::error!(service = %intent.service, "intent is not on record: {error}");
    if intent.class == Class::Restore {
        return Ok(());
    }
    let ending = Ending::Withheld(error.to_string());
    ctx.record(service, vec![ctx.entry(intent, Record::Settled { intent: intent.id, ending })]);
    Err(ctx.now() + RETRY)
}

/// The act itself.
///
/// # Errors
/// What the action says of its failure; the attempt is settled then.
pub(crate) async fn perform(ctx: &Context, service: &Service, permit: Permit) -> Result<Receipt, ActionError> {
    let intent = permit.intent().clone();
    let incident = intent.incident.and_then(|id| service.lock().incidents.get(&id).cloned());
    let result = ctx.ports.actions.perform(permit, incident.as_ref()).await;
    match &result {
        Ok(receipt) => {
            let record = Record::Performed { intent: intent.id, receipt: receipt.clone() };
            ctx.record(service, vec![ctx.entry(&intent, record)]);
        }
        Err(error) => {
            tracing::warn!(service = %intent.service, action = %intent.action, "{error}");
            prove::settle(ctx, service, &intent, Ending::Failed(error.to_string()));
        }
    }
    result
}

/// A number that stays the same for one death of one service (FNV-1a, with the finaliser of SplitMix64).
fn seed(name: &str, salt: u64) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ salt, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
