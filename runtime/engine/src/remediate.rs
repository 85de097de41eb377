//! Remediate: what is on offer, the guard's ruling, the intent on record, the act.
//!
//! Each step puts itself on record before the next begins. Whether an act helped is not judged here: see [`crate::prove`].

use std::time::Duration;

use heald_model::{
    Choice, Class, Decision, Dependency, Ending, Entry, Fact, Incident, Intent, IntentId, Moment, Offer, Outcome,
    Proposal, Receipt, Record, Ruling, ServiceSpec, Source, Stage,
};
use serde_json::json;
use uuid::Uuid;

use crate::context::Context;
use crate::guard::{self, Case, Hold, Judgement, Permit};
use crate::ports::{ActionError, Durability};
use crate::prove;
use crate::service::Service;

/// What can be done for the service, with why the guard would refuse it now.
pub(crate) fn offers(ctx: &Context, service: &Service, incident: Option<&Incident>) -> Vec<Offer> {
    let mut offers = ctx.ports.actions.offers(&service.name);
    let judged = Judged::of(ctx, service);
    for offer in &mut offers {
        let proposal = Proposal { action: offer.action.name.clone(), parameters: json!({}), verify_within: None };
        let intent = draft(ctx, service, incident, &proposal, offer.action.disruptive, offer.source.clone());
        let hold = guard::objection(&ctx.config, &ctx.ledger(), &judged.case(incident), &intent);
        // What merely has to wait is not blocked: a policy should wait for the gentle remedy, not reach for a harsher one.
        let refused = hold.filter(|hold| hold.until.is_none());
        offer.blocked = refused.map(|hold| format!("{}: {}", hold.rule, hold.why));
    }
    offers
}

/// What a proposal would put on record if it were admitted now; it has no id yet.
pub(crate) fn draft(
    ctx: &Context,
    service: &Service,
    incident: Option<&Incident>,
    proposal: &Proposal,
    disruptive: bool,
    source: Source,
) -> Intent {
    let spec = service.spec();
    let class = match disruptive {
        false => Class::Message,
        true if starts(&proposal.action) && ctx.has_died(service) => Class::Restore,
        true => Class::Disrupt,
    };
    let leading = incident.and_then(Incident::leading);
    Intent {
        id: IntentId(Uuid::nil()),
        incident: incident.map(|incident| incident.id),
        service: service.name.clone(),
        signature: incident.map(|incident| incident.signature.clone()),
        action: proposal.action.clone(),
        parameters: proposal.parameters.clone(),
        class,
        source,
        at: ctx.now(),
        cause: leading.and_then(|c| Fact::find_text(&c.finding.evidence, "cause")).map(str::to_owned),
        verify_within: proposal.verify_within.unwrap_or_else(|| prove::window(&spec)).min(ctx.config.verify_max),
    }
}

/// True if a proposed action of that name, as the service is offered it, touches the service. One that nobody offers is taken to.
pub(crate) fn is_disruptive(ctx: &Context, service: &Service, action: &str) -> bool {
    let offers = ctx.ports.actions.offers(&service.name);
    offers.iter().find(|offer| offer.action.name == action).is_none_or(|offer| offer.action.disruptive)
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
struct Judged {
    spec: std::sync::Arc<ServiceSpec>,
    dependencies: Vec<Dependency>,
    now: Moment,
    seed: u64,
    services: usize,
    desired: heald_model::Desired,
    halted: bool,
    approved: Option<heald_model::IncidentId>,
    finished: bool,
}

impl Judged {
    fn of(ctx: &Context, service: &Service) -> Self {
        let died = ctx.ledger().account(&service.name).and_then(|account| account.death);
        Self {
            spec: service.spec(),
            dependencies: ctx.dependencies(service),
            now: ctx.now(),
            seed: seed(service.name.as_str(), died.map_or(0, |death| death.at.nanos())),
            services: ctx.services.len(),
            desired: ctx.desired(service),
            halted: ctx.is_halted(),
            approved: service.lock().approved,
            finished: ctx.has_finished(service),
        }
    }

    fn case<'a>(&'a self, incident: Option<&'a Incident>) -> Case<'a> {
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
        }
    }
}

/// Asks the guard. An admitted intent gets its id and is in flight from this moment: judging and entering happen under one lock.
pub(crate) fn judge(ctx: &Context, service: &Service, incident: Option<&Incident>, draft: Intent) -> Judgement {
    let judged = Judged::of(ctx, service);
    let intent = Intent { id: IntentId(ctx.id(draft.at)), ..draft };
    let mut ledger = ctx.ledger();
    let judgement = guard::judge(&ctx.config, &ledger, &judged.case(incident), intent);
    if let Judgement::Admit(permit) = &judgement {
        ledger.apply(&intended(permit.intent()), &ctx.config);
    }
    judgement
}

fn intended(intent: &Intent) -> Entry {
    let record = Record::Intended { intent: intent.clone() };
    Entry { at: intent.at, service: Some(intent.service.clone()), incident: intent.incident, record }
}

/// Puts a hold on record when it changed, tells people where the rule says so, and answers when to ask again.
pub(crate) fn withhold(ctx: &Context, service: &Service, incident: &Incident, action: &str, hold: &Hold) -> Moment {
    let known = incident.held.as_ref().is_some_and(|held| held.rule == hold.rule && held.until == hold.until);
    if !known {
        let record = Record::Ruled { action: action.to_owned(), ruling: hold.ruling() };
        ctx.record(service, vec![Entry::of_incident(ctx.now(), service.name.clone(), incident.id, record)]);
    }
    if hold.escalate {
        escalate(ctx, service, incident, &hold.why);
    }
    hold.until.unwrap_or(Moment::NEVER)
}

/// Hands the incident to people, once, and answers when to look again: a dead process that is wanted running is still brought
/// back, at the longest back-off.
pub(crate) fn escalate(ctx: &Context, service: &Service, incident: &Incident, why: &str) -> Moment {
    let now = ctx.now();
    if incident.stage != Stage::Escalated {
        tracing::error!(service = %service.name, incident = %incident.id, "escalated: {why}");
        let record = Record::Staged { stage: Stage::Escalated, why: why.to_owned() };
        ctx.record(service, vec![Entry::of_incident(now, service.name.clone(), incident.id, record)]);
    }
    if ctx.has_died(service) { now + ctx.config.backoff.max } else { Moment::NEVER }
}

/// After people were told about a process that does not stay up, it is still brought back at the longest back-off, where the
/// decision is to escalate.
pub(crate) fn insist(ctx: &Context, service: &Service, incident: &Incident, decision: &Decision) -> Option<Decision> {
    let due = decision.choice == Choice::Escalate
        && incident.stage == Stage::Escalated
        && ctx.has_died(service)
        && ctx.now().since(incident.updated) >= ctx.config.backoff.max;
    due.then(|| Decision {
        choice: Choice::Act(Proposal { action: "restart".into(), parameters: json!({}), verify_within: None }),
        confidence: 0.1,
        reason: "people were told; a dead process is still tried now and then".into(),
        considered: Vec::new(),
        facts: Vec::new(),
        again_in: None,
        source: Source::Native,
    })
}

/// Does what is permitted, and sees it through to its ending. None: look again at once.
pub(crate) async fn carry_out(ctx: &Context, service: &Service, permit: Permit) -> Option<Moment> {
    let intent = permit.intent().clone();
    if let Err(retry) = intend(ctx, service, &permit).await {
        return Some(retry);
    }
    match perform(ctx, service, permit).await {
        Ok(receipt) if intent.class == Class::Message => {
            let ending = Ending::Verified(Outcome::Unknown);
            ctx.record(service, vec![ctx.entry(&intent, Record::Settled { intent: intent.id, ending })]);
            tracing::debug!(service = %intent.service, "{}", receipt.summary);
            Some(Moment::NEVER)
        }
        Ok(receipt) => {
            prove::verify(ctx, service, &intent, Some(&receipt)).await;
            None
        }
        // A message that cannot be sent is tried again in its time.
        Err(_) if intent.class == Class::Message => Some(ctx.now() + ctx.config.cooldown),
        // The level is looked at again: the guard spaces what fails.
        Err(_) => None,
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
