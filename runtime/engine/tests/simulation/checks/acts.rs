//! What is checked of each act: when its intent is put on record, and when it is done.

use std::collections::BTreeSet;
use std::time::Duration;

use heald_engine::ledger::instance;
use heald_model::*;

use super::counts::{self, Outage};
use crate::plugins;
use crate::scenario::Plan;
use crate::world::{Row, World};

/// So long a relapse, and an attempt that did not help, count.
const COUNTS: Duration = Duration::from_secs(600);

/// A row is written.
pub fn written(world: &mut World, entry: Entry, now: Moment) {
    if plugins::burns(&entry) {
        world.complain(format!("a shadow had an effect: {entry:?}"));
    }
    match &entry.record {
        Record::Intended { intent } => {
            intended(world, intent, now);
            world.intents.insert(intent.id, (now, intent.clone()));
            world.in_flight.insert(intent.id);
        }
        Record::Settled { intent, .. } => {
            world.in_flight.remove(intent);
        }
        _ => {}
    }
    counts::written(world, &entry, now);
    if let Some(id) = entry.incident {
        match world.incidents.get_mut(&id) {
            Some(incident) => incident.apply(&entry),
            None => world.incidents.extend(Incident::open(&entry).map(|incident| (id, incident))),
        }
    }
    world.rows.push(Row { at: now, entry });
}

/// The rows about a service that count now, newest first.
fn recent<'a>(world: &'a World, service: &'a ServiceName, now: Moment) -> impl Iterator<Item = &'a Row> {
    let counts = move |row: &&Row| now.since(row.at) <= COUNTS && row.at >= world.forgot;
    let its = move |row: &&Row| row.entry.service.as_ref() == Some(service);
    let rows = move || world.rows.iter().rev().take_while(counts).filter(its);
    let reset = rows().find(|row| matches!(row.entry.record, Record::Reset { .. })).map(|row| row.at);
    // Virtual time stands still while heald works: what bears the moment of the reset may have come before it.
    let since_reset = move |at: Moment| reset.is_none_or(|reset| at > reset);
    rows().take_while(move |row| since_reset(row.at)).filter(move |row| match &row.entry.record {
        Record::Settled { intent, .. } => world.intents.get(intent).is_some_and(|(at, _)| since_reset(*at)),
        _ => true,
    })
}

/// Whose word an intent is: nobody's but heald's, an operator's, or one's who insists.
fn insists(intent: &Intent) -> Option<bool> {
    match &intent.source {
        Source::Operator(by) => Some(by == "forces" || by == "wishes"),
        _ => None,
    }
}

fn intended(world: &mut World, intent: &Intent, now: Moment) {
    let what = format!("{} {} ({}) by {}", intent.action, intent.service, intent.class, intent.source);
    let mut wrong: Vec<String> = Vec::new();
    if let Some((since, _)) = world.removed.get(&intent.service) {
        wrong.push(format!("touches what was removed {:?} ago", now.since(*since)));
    }
    if intent.class != Class::Message {
        occupied(world, intent, &mut wrong);
        permitted(world, intent, &mut wrong);
        within_budget(world, intent, &mut wrong);
        if insists(intent).is_none() {
            match intent.class {
                Class::Restore => counts::spaced(world, intent, now, &mut wrong),
                _ => tried(world, intent, now, &mut wrong),
            }
        }
    }
    wrong.into_iter().for_each(|why| world.complain(format!("{what}: {why}")));
}

/// At most one action in flight for a service, but for one restore of each copy.
fn occupied(world: &World, intent: &Intent, wrong: &mut Vec<String>) {
    for (_, other) in world.in_flight.iter().filter_map(|id| world.intents.get(id)) {
        let (its, others) = (instance(intent), instance(other));
        let apart = its.is_some() && others.is_some() && its != others;
        let both = intent.class == Class::Restore && other.class == Class::Restore && apart;
        if other.service == intent.service && other.class != Class::Message && !both {
            wrong.push(format!("{} is in flight", other.action));
        }
    }
}

/// What operators say comes first.
fn permitted(world: &mut World, intent: &Intent, wrong: &mut Vec<String>) {
    let Some(body) = world.bodies.get(&intent.service) else { return };
    let insisted = insists(intent);
    let passes = insisted == Some(true) || (insisted.is_some() && intent.action == "stop");
    if world.halted && !passes {
        wrong.push("all healing is halted".into());
    }
    if body.desired == Desired::Paused && !passes {
        wrong.push("the service is paused".into());
    }
    if body.spec.mode == Mode::Observe && !passes {
        wrong.push("the service is only observed".into());
    }
    if body.desired == Desired::Stopped && matches!(intent.action.as_str(), "start" | "restart") {
        wrong.push("the service is to be stopped".into());
    }
    let asks = body.spec.mode == Mode::Approve && intent.class == Class::Disrupt && insisted.is_none();
    let down = |needed: &ServiceName| Outage::is_down(world, needed);
    let needs_down = body.spec.depends_on.iter().any(down);
    if insisted.is_none() && intent.class == Class::Disrupt && needs_down {
        wrong.push("what it needs is down".into());
    }
    if asks && !world.approved.remove(&intent.service) {
        wrong.push("nobody approved it".into());
    }
}

fn within_budget(world: &World, intent: &Intent, wrong: &mut Vec<String>) {
    let budget = world.config.budget;
    let most = match intent.class {
        Class::Restore => budget.restore.map_or(usize::MAX, |most| most as usize),
        _ => (budget.disrupt as usize).min((world.bodies.len() as f64 * budget.disrupt_share) as usize).max(1),
    };
    let flights = world.in_flight.iter().filter_map(|id| world.intents.get(id));
    let same = flights.filter(|(_, other)| other.class == intent.class).map(|(_, other)| &other.service);
    let healing = same.collect::<BTreeSet<_>>().len();
    let stop = insists(intent).is_some() && intent.action == "stop";
    if healing >= most && !stop {
        wrong.push(format!("{healing} of at most {most} are in healing"));
    }
}

/// What was tried before holds back what heald does to a service that runs.
fn tried(world: &World, intent: &Intent, now: Moment, wrong: &mut Vec<String>) {
    let of = |id: &IntentId| world.intents.get(id).map(|(_, known)| known);
    let (mut relapses, mut failures, mut healed, mut over, mut another) = (0, 0, 0, false, false);
    for row in recent(world, &intent.service, now) {
        match &row.entry.record {
            Record::Relapsed { signature, .. } if Some(signature) == intent.signature.as_ref() => relapses += 1,
            Record::Staged { stage: Stage::Resolved, .. } => over = true,
            Record::Intended { intent: known }
                if insists(known).is_none()
                    && known.action == intent.action
                    && known.class == Class::Disrupt
                    && now.since(row.at) + Duration::from_millis(5) < world.config.cooldown =>
            {
                wrong.push(format!("the last one was {:?} ago", now.since(row.at)));
            }
            Record::Settled { intent: id, ending } => {
                let Some(known) = of(id).filter(|known| known.class != Class::Message) else { continue };
                if known.signature != intent.signature {
                    // What had another cause between is no relapse.
                    another = true;
                    continue;
                }
                match ending {
                    Ending::Verified(Outcome::NotHealed | Outcome::Worse) | Ending::Failed(_)
                        if !over && known.class == Class::Disrupt =>
                    {
                        failures += 1;
                    }
                    Ending::Verified(Outcome::Healed) if !another => healed += 1,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if relapses >= 2 {
        wrong.push(format!("it came back {relapses} times after being healed"));
    }
    if failures >= world.config.attempts {
        wrong.push(format!("{failures} attempts did not heal it"));
    }
    let alone = world.bodies.get(&intent.service).is_some_and(|body| body.spec.depends_on.is_empty());
    if healed >= 2 && alone {
        wrong.push(format!("it was healed of the same {healed} times within ten minutes"));
    }
    if let Some(why) = world.outage.holds(world, now) {
        wrong.push(why);
    }
}

/// An act begins.
pub fn performing(world: &mut World, intent: &Intent, now: Moment) {
    let what = format!("{} {} by {}", intent.action, intent.service, intent.source);
    let Some((since, _)) = world.intents.get(&intent.id) else {
        return world.complain(format!("{what} was performed with no intent on record"));
    };
    let mut wrong: Vec<String> = Vec::new();
    if let Some((gone, _)) = world.removed.get(&intent.service)
        && since > gone
    {
        wrong.push("it was removed before".into());
    }
    if world.performed.contains(&intent.id) {
        wrong.push("was performed twice".into());
    }
    if let Some(body) = world.bodies.get(&intent.service)
        && intent.class == Class::Disrupt
        && insists(intent).is_none()
    {
        let bound = |id: &ProbeId| {
            let probe = body.spec.probes.iter().find(|probe| probe.id == *id);
            probe.map_or(Duration::MAX, |probe| (3 * probe.period).max(probe.period + probe.timeout))
        };
        let failing = body.seen.iter().filter(|(_, (_, ok))| !ok).min_by_key(|(_, (at, _))| *at);
        match failing.or_else(|| body.seen.iter().max_by_key(|(_, (at, _))| *at)) {
            Some((probe, (at, _))) if now.since(*at) > bound(probe) + Duration::from_millis(10) => {
                wrong.push(format!("the verdict of {probe} is {:?} old", now.since(*at)));
            }
            None if intent.action == "restart" => wrong.push("no check has looked at it".into()),
            _ => {}
        }
        let changes = body.verdicts.iter().zip(body.verdicts.iter().skip(1)).filter(|(a, b)| a != b).count();
        if changes >= 18 && body.spec.probes.len() == 1 {
            wrong.push(format!("its checks pass and fail in turn, {changes} times of 20"));
        }
    }
    world.performed.insert(intent.id);
    wrong.into_iter().for_each(|why| world.complain(format!("{what}: {why}")));
}

/// What must hold at every moment: a first death is answered at once, whoever else is being told of it.
pub fn standing(world: &mut World, now: Moment, heard: bool, plan: &Plan) {
    let patience = Duration::from_secs(6) + 5 * plan.moods.slow;
    if !heard || world.halted || world.config.budget.restore.is_some() {
        return;
    }
    let mut wrong = Vec::new();
    for (name, body) in &world.bodies {
        let left_alone = body.ordered || body.desired != Desired::Running || body.spec.mode == Mode::Observe;
        if body.deaths != 1 || left_alone || !body.spec.depends_on.is_empty() {
            continue;
        }
        let Some(copy) = body.copies.iter().find(|copy| !copy.alive) else { continue };
        let since = copy.died.max(world.alive_since);
        let act = |row: &Row| match &row.entry.record {
            Record::Intended { intent } => intent.class != Class::Message,
            Record::Settled { intent, .. } => {
                world.intents.get(intent).is_some_and(|(_, known)| known.class != Class::Message)
            }
            Record::DesiredChanged { .. } | Record::Note { .. } => true,
            _ => false,
        };
        let mut rows = world.rows.iter().rev().take_while(|row| row.at >= since);
        let flights = world.in_flight.iter().filter_map(|id| world.intents.get(id));
        let mut busy = flights.filter(|(_, known)| known.service == *name && known.class != Class::Message);
        if now.since(since) > patience && busy.next().is_none() && !rows.any(act) {
            wrong.push(format!("{name} has been dead for {:?} and nobody brings it back", now.since(copy.died)));
        }
    }
    wrong.into_iter().for_each(|why| world.complain(why));
}
