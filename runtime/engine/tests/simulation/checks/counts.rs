//! What the checks count by themselves, from what was written and with true time: how restores are spaced, and who is ill. It is
//! written apart from the guard's ledger, so that a mistake in one is seen by the other.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use heald_engine::ledger::instance;
use heald_model::*;

use crate::world::World;

/// Within this time many must fall ill to be too many.
const WITHIN: Duration = Duration::from_secs(60);
/// So long nothing is touched then.
const LEFT_ALONE: Duration = Duration::from_secs(600);

/// The restores of one copy.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// Restores of heald's since the copy last stayed up, and when the last ones were.
    streak: u32,
    starts: VecDeque<Moment>,
    /// When its life began, as the record says.
    began: Option<Moment>,
}

/// Who is ill, and whether so many fell ill at once that nothing is to be touched.
#[derive(Clone, Debug, Default)]
pub struct Outage {
    ill: BTreeMap<ServiceName, Moment>,
    since: Option<Moment>,
}

impl Outage {
    /// True if it is on record that a service which is wanted does not do its work.
    pub fn is_down(world: &World, name: &ServiceName) -> bool {
        let of_it = |incident: &&Incident| incident.service == *name && incident.is_open();
        let critical = |concern: &Concern| concern.finding.severity == Severity::Critical;
        let wanted = world.bodies.get(name).is_some_and(|body| body.desired == Desired::Running);
        wanted && world.incidents.values().filter(of_it).any(|incident| incident.concerns.iter().any(critical))
    }

    pub fn holds(&self, world: &World, now: Moment) -> Option<String> {
        // Services that go or are to be stopped are well in their own way.
        if world.unsteady {
            return None;
        }
        let since = self.since.filter(|since| now.since(*since) < LEFT_ALONE)?;
        Some(format!("too many fell ill {:?} ago", now.since(since)))
    }
}

pub fn written(world: &mut World, entry: &Entry, now: Moment) {
    let Some(service) = entry.service.clone() else { return };
    let calm = world.config.backoff.calm;
    match &entry.record {
        Record::ProcessStarted { replica, .. } => pace(world, &service, replica).began = Some(entry.at),
        Record::ProcessExited { replica, wanted, .. } => {
            let pace = pace(world, &service, replica);
            let lived = pace.began.take().map_or(calm, |began| entry.at.since(began));
            if !wanted && lived >= calm {
                pace.streak = 0;
            }
        }
        Record::Intended { intent }
            if intent.class == Class::Restore && !matches!(intent.source, Source::Operator(_)) =>
        {
            let replica = instance(intent).unwrap_or_else(|| Replica::from("0"));
            let pace = pace(world, &service, &replica);
            pace.streak += 1;
            pace.starts.push_back(now);
        }
        Record::Reset { .. } | Record::DependencyReturned { .. } => {
            for (_, pace) in world.paces.iter_mut().filter(|((name, _), _)| *name == service) {
                pace.streak = 0;
                pace.starts.clear();
            }
        }
        Record::Opened { concern, parent, .. } if concern.finding.severity == Severity::Critical => {
            fell_ill(world, &service, parent.is_some(), now);
        }
        Record::Cleared { condition, .. } if condition == heald_engine::native::CONDITION => recovered(world, entry),
        _ => {}
    }
}

fn pace<'a>(world: &'a mut World, service: &ServiceName, replica: &Replica) -> &'a mut Pace {
    world.paces.entry((service.clone(), replica.clone())).or_default()
}

fn fell_ill(world: &mut World, service: &ServiceName, explained: bool, now: Moment) {
    let body = world.bodies.get(service);
    let was_well = body.is_some_and(|body| body.passed && body.desired == Desired::Running);
    // One that needs others is counted when it is clear that they are well: when that is, is not the simulation's to say.
    let needs_others = body.is_some_and(|body| !body.spec.depends_on.is_empty());
    if explained || needs_others || !was_well || !service_counts(service) {
        return;
    }
    let limit = limit(world);
    world.outage.ill.insert(service.clone(), now);
    let count = world.outage.ill.values().filter(|since| now.since(**since) <= WITHIN).count();
    if count > limit {
        world.outage.since.get_or_insert(now);
    }
}

fn limit(world: &World) -> usize {
    ((world.bodies.len() as f64 * world.config.max_unhealthy) as usize).max(4)
}

fn service_counts(service: &ServiceName) -> bool {
    service.plugin().is_none()
}

/// A finding is gone: if it was the last, the service does its work again.
fn recovered(world: &mut World, entry: &Entry) {
    let (Some(service), Some(id)) = (&entry.service, entry.incident) else { return };
    let (Some(incident), Record::Cleared { condition, subject }) = (world.incidents.get(&id), &entry.record) else {
        return;
    };
    let key = (condition.as_str(), subject.as_deref());
    if incident.concerns.iter().any(|concern| concern.finding.key() != key) {
        return;
    }
    world.outage.ill.remove(service);
    if world.outage.ill.len() <= limit(world) / 2 {
        world.outage.since = None;
    }
}

/// The next restore of a copy that does not stay up waits its step's half at least; past the start limit, the longest.
pub fn spaced(world: &World, intent: &Intent, now: Moment, wrong: &mut Vec<String>) {
    let replica = instance(intent).unwrap_or_else(|| Replica::from("0"));
    let Some(pace) = world.paces.get(&(intent.service.clone(), replica)) else { return };
    let Some(last) = pace.starts.back() else { return };
    let (backoff, limit) = (world.config.backoff, world.config.start_limit);
    if pace.streak > 0 {
        let step = f64::from(pace.streak.min(backoff.steps)) / f64::from(backoff.steps);
        let ratio = backoff.max.as_secs_f64() / backoff.first.as_secs_f64();
        let least = backoff.first.mul_f64(ratio.powf(step) / 2.0);
        if now.since(*last) + Duration::from_millis(1) < least {
            wrong.push(format!("restart {} after {:?} instead of {least:?}", pace.streak + 1, now.since(*last)));
        }
    }
    let lately = pace.starts.iter().filter(|start| now.since(**start) <= limit.within).count();
    if lately >= limit.count as usize && now.since(*last) + Duration::from_millis(1) < backoff.max {
        wrong.push(format!("{lately} restarts within {:?}", limit.within));
    }
}
