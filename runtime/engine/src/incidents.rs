//! A service's incidents on record: what came, changed, cleared, and is over.
//!
//! What belongs together is decided by [`crate::correlate`]; nothing is done about an incident here.

use heald_model::{Desired, Entry, Incident, IncidentId, Moment, Record, Role, ServiceName, Severity, Stage};

use crate::context::Context;
use crate::correlate::{Change, correlate};
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
    let mut entries = Vec::new();
    for change in changes {
        let (id, record) = match change {
            Change::Open(concern) => {
                let condition = concern.finding.condition.clone();
                (IncidentId(ctx.id(now)), Record::Opened { condition, concern, parent, reopened: 0 })
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
        entries.push(Entry::of_incident(now, service.name.clone(), id, record));
    }
    ctx.enter(&mut state, entries);
    let critical = state.concerns.iter().any(|concern| concern.finding.severity == Severity::Critical);
    let up = (wanted == Desired::Running && (critical || state.passed.is_some())).then_some(!critical);
    let before = std::mem::replace(&mut state.up, up);
    drop(state);
    service.publish();
    if (before, up) == (Some(false), Some(true)) {
        dependency_returned(ctx, &service.name);
    }
}

/// The open incident of a dependency that explains what is wrong here.
fn cause(ctx: &Context, service: &Service) -> Option<IncidentId> {
    service.spec().depends_on.iter().find_map(|name| ctx.services.get(name)?.snapshot().critical)
}

/// A dependency serves again: its dependents' back-off is forgotten and they are looked at anew.
fn dependency_returned(ctx: &Context, returned: &ServiceName) {
    for service in ctx.services.all().iter().filter(|service| service.spec().depends_on.contains(returned)) {
        ctx.ledger().forgive(&service.name, false);
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
            Some(resolved(now, service, incident.id, why))
        })
        .collect();
    if !over.is_empty() {
        ctx.enter(&mut state, over);
        drop(state);
        service.publish();
    }
}

/// Ends every open incident of a service for this reason, but for those with an action under way.
pub(crate) fn close_all(ctx: &Context, service: &Service, why: &str) {
    let now = ctx.now();
    let mut state = service.lock();
    let over = state.open().into_iter().filter(|incident| incident.unsettled().is_none());
    let entries = over.map(|incident| resolved(now, service, incident.id, why)).collect();
    ctx.enter(&mut state, entries);
    drop(state);
    service.publish();
}

fn resolved(now: Moment, service: &Service, incident: IncidentId, why: &str) -> Entry {
    let record = Record::Staged { stage: Stage::Resolved, why: why.to_owned() };
    Entry::of_incident(now, service.name.clone(), incident, record)
}
