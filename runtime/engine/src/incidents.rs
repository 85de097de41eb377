//! A service's incidents on record: what came, changed, cleared, and is over.
//!
//! What belongs together is decided by [`crate::correlate`]; nothing is done about an incident here.

use heald_model::{
    Attempt, Class, Concern, Desired, Ending, Entry, Incident, IncidentId, Intent, Moment, Outcome, Record, Role,
    ServiceName, Severity, Stage,
};

use crate::context::Context;
use crate::correlate::{Change, correlate};
use crate::ledger::instance;
use crate::service::Service;
use crate::service::inbox::News;

/// Compares what holds now with the service's incidents, and puts on record what came, changed and cleared.
pub(crate) fn update(ctx: &Context, service: &Service) {
    let now = ctx.now();
    let wanted = ctx.desired(service);
    let parent = cause(ctx, service);
    let mut state = service.lock();
    // What is to be stopped is not down.
    let concerns = if wanted == Desired::Stopped { Vec::new() } else { state.concerns.clone() };
    let incidents: Vec<&Incident> = state.incidents.values().collect();
    let changes = correlate(&incidents, &concerns, now, ctx.config.reopen_within);
    let (mut entries, mut relapsed) = (Vec::new(), Vec::new());
    for change in changes {
        let (id, record) = match change {
            Change::Open(concern) => {
                let condition = concern.finding.condition.clone();
                (IncidentId(ctx.id(now)), Record::Opened { condition, concern, parent, reopened: 0 })
            }
            Change::Reopen(id, reopened, concern) => {
                let attempt = state.incidents.get(&id).and_then(|incident| relapse(incident, &concern, parent));
                relapsed.extend(attempt.map(|attempt| (id, attempt.clone())));
                (id, Record::Opened { condition: concern.finding.condition.clone(), concern, parent, reopened })
            }
            Change::Concern(id, concern) => {
                // Of several checks that see the same fault, another one may have been the first to find it this time.
                let attempt = state.incidents.get(&id).and_then(|incident| relapse(incident, &concern, parent));
                relapsed.extend(attempt.map(|attempt| (id, attempt.clone())));
                (id, Record::Concerned { concern })
            }
            Change::Clear(id, condition, subject) => (id, Record::Cleared { condition, subject }),
        };
        if let Record::Opened { .. } = record {
            state.held.insert(id, now);
        }
        entries.push(Entry::of_incident(now, service.name.clone(), id, record));
    }
    for (id, attempt) in relapsed {
        ctx.catalog().relapse(&attempt);
        let Intent { id: intent, signature, .. } = &attempt.intent;
        let Some(signature) = signature.clone() else { continue };
        let record = Record::Relapsed { intent: *intent, signature, instance: instance(&attempt.intent) };
        entries.push(Entry::of_incident(now, service.name.clone(), id, record));
    }
    ctx.enter(&mut state, entries);
    if let Some(ok) = state.verdict() {
        state.flapping.hear(ok);
    }
    let critical = state.concerns.iter().any(|concern| concern.finding.severity == Severity::Critical);
    let up = (wanted == Desired::Running && (critical || state.passed.is_some())).then_some(!critical);
    let before = std::mem::replace(&mut state.up, up);
    drop(state);
    service.publish();
    match (before, up) {
        (Some(true), Some(false)) => fell_ill(ctx, service, parent.is_some()),
        (Some(false), Some(true)) => {
            recovered(ctx, service);
            dependency_returned(ctx, &service.name);
        }
        _ => {}
    }
}

/// The attempt that had healed what is back now, if no other cause explains it.
fn relapse<'a>(incident: &'a Incident, concern: &Concern, cause: Option<IncidentId>) -> Option<&'a Attempt> {
    // A message that was sent since heals nothing and spoils nothing.
    let counts = |attempt: &&Attempt| {
        let since_reset = incident.reset.is_none_or(|reset| attempt.intent.at > reset);
        since_reset && attempt.intent.class != Class::Message && attempt.ending != Ending::Unsettled
    };
    let attempt = incident.attempts.iter().rev().find(counts)?;
    let same = attempt.intent.signature.as_ref() == Some(&concern.finding.signature());
    let healed = attempt.ending == Ending::Verified(Outcome::Healed);
    (same && healed && cause.is_none()).then_some(attempt)
}

fn fell_ill(ctx: &Context, service: &Service, explained: bool) {
    if explained {
        return;
    }
    let (services, share) = (ctx.services.len(), ctx.config.max_unhealthy);
    let told = ctx.outage().fell_ill(&service.name, services, share, ctx.now());
    if let Some(text) = told {
        tracing::error!("{text}");
        ctx.journal(vec![Entry::of_heald(ctx.now(), Record::Note { text })]);
    }
}

/// A service is well again, or gone.
pub(crate) fn recovered(ctx: &Context, service: &Service) {
    let (services, share) = (ctx.services.len(), ctx.config.max_unhealthy);
    let over = ctx.outage().recovered(&service.name, services, share);
    if over {
        let text = "enough services are well again: healing goes on".to_owned();
        tracing::warn!("{text}");
        ctx.journal(vec![Entry::of_heald(ctx.now(), Record::Note { text })]);
        ctx.wake_all();
    }
}

/// The open incident of a dependency that explains what is wrong here. One that is paused or to be stopped explains nothing: nobody
/// is told of it.
pub(crate) fn cause(ctx: &Context, service: &Service) -> Option<IncidentId> {
    let needed = |name| ctx.services.get(name).filter(|needed| ctx.desired(needed) == Desired::Running);
    service.spec().depends_on.iter().find_map(|name| needed(name)?.snapshot().critical)
}

/// The services that need this one, also by way of others.
pub(crate) fn dependents(ctx: &Context, needed: &ServiceName) -> Vec<ServiceName> {
    let services = ctx.services.all();
    let mut found: Vec<ServiceName> = vec![needed.clone()];
    let mut place = 0;
    while let Some(name) = found.get(place).cloned() {
        let more = services.iter().filter(|service| service.spec().depends_on.contains(&name));
        for service in more {
            if !found.contains(&service.name) {
                found.push(service.name.clone());
            }
        }
        place += 1;
    }
    found.split_off(1)
}

/// A dependency serves again: what holds back its dependents' restores is forgotten, and they are looked at at once.
fn dependency_returned(ctx: &Context, returned: &ServiceName) {
    for service in ctx.services.all().iter().filter(|service| service.spec().depends_on.contains(returned)) {
        let record = Record::DependencyReturned { dependency: returned.clone() };
        ctx.journal(vec![Entry::of_service(ctx.now(), service.name.clone(), record)]);
        ctx.ports.probes.expect(&service.name, None);
        service.inbox.tell(News::DependencyReturned);
    }
}

/// Resolves what no longer holds, once a check has passed since it last held; nothing is over on the word of an action.
pub(crate) fn resolve_if_quiet(ctx: &Context, service: &Service) {
    let now = ctx.now();
    let stopped = ctx.desired(service) == Desired::Stopped;
    let spec = service.spec();
    let judged = spec.supervised || spec.probes.iter().any(|probe| probe.role != Role::Metrics);
    let mut state = service.lock();
    let over: Vec<Entry> = state
        .incidents
        .values()
        .filter(|incident| incident.is_open() && incident.concerns.is_empty() && !is_acted_on(incident))
        .filter_map(|incident| {
            let held = state.held.get(&incident.id).copied().unwrap_or(Moment::NEVER);
            let shown = state.passed.is_some_and(|passed| passed > held || held == Moment::NEVER);
            let why = match () {
                () if stopped => "it is to be stopped",
                () if shown => "the finding is gone and checks pass",
                () if !judged => "the finding is gone",
                () => return None,
            };
            Some(resolved(now, service, incident.id, why))
        })
        .collect();
    if !over.is_empty() {
        ctx.enter(&mut state, over);
        drop(state);
        service.publish();
    }
}

/// True while an action is under way; a message holds up nothing.
fn is_acted_on(incident: &Incident) -> bool {
    let acts = |attempt: &&Attempt| attempt.intent.class != Class::Message;
    incident.attempts.iter().filter(acts).any(|attempt| attempt.ending == Ending::Unsettled)
}

/// Ends every open incident of a service for this reason, but for those with an action under way.
pub(crate) fn close_all(ctx: &Context, service: &Service, why: &str) {
    let now = ctx.now();
    let mut state = service.lock();
    let over = state.open().into_iter().filter(|incident| !is_acted_on(incident));
    let entries = over.map(|incident| resolved(now, service, incident.id, why)).collect();
    ctx.enter(&mut state, entries);
    drop(state);
    service.publish();
}

fn resolved(now: Moment, service: &Service, incident: IncidentId, why: &str) -> Entry {
    let record = Record::Staged { stage: Stage::Resolved, why: why.to_owned() };
    Entry::of_incident(now, service.name.clone(), incident, record)
}
