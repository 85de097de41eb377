//! What must hold when all is over.

use std::collections::{BTreeMap, BTreeSet};

use heald_model::*;

use super::Outage;
use crate::body::Body;
use crate::plugins::CHATTER;
use crate::scenario::Plan;
use crate::world::{START, World};

/// Whether a service serves, and what is still open of it; None where that is a matter of chance.
pub type End = Option<(bool, Vec<(String, bool)>)>;

pub fn ended(world: &World, plan: &Plan, now: Moment) -> BTreeMap<ServiceName, End> {
    let seed = world.seed;
    for incident in world.incidents.values() {
        if let Some(why) = unended(world, plan, incident, now) {
            panic!("seed {seed}: {why}: {} {} {:#?}", incident.service, incident.condition, incident);
        }
    }
    for (name, body) in &world.bodies {
        if let Some(why) = unhealed(world, plan, body, now) {
            panic!("seed {seed}: {name} {why}");
        }
    }
    if plan.moods.shadows {
        let heard = world.rows.iter().any(|row| matches!(row.entry.record, Record::Shadowed { agrees: false, .. }));
        assert!(heard, "seed {seed}: the shadows were never heard");
    }
    world.bodies.iter().map(|(name, body)| (name.clone(), how(world, plan, body, now))).collect()
}

/// Why an incident is not as it should be at the end, if so.
fn unended(world: &World, plan: &Plan, incident: &Incident, now: Moment) -> Option<&'static str> {
    // The last attempt at what cannot be cured may be under way just now.
    if !incident.is_open() {
        let acts = |attempt: &Attempt| attempt.intent.class != Class::Message && attempt.ending == Ending::Unsettled;
        return incident.attempts.iter().any(acts).then_some("it is resolved and something is still under way");
    }
    if incident.service.plugin().is_some() {
        // A plug-in that is asked no more about a service gives no answer that could end it.
        let asked = !plan.comings && world.bodies.values().all(|body| body.desired != Desired::Stopped);
        return asked.then_some("the plug-in answers and its incident goes on");
    }
    let Some(body) = world.bodies.get(&incident.service) else {
        return Some("the service is configured no more and its incident goes on");
    };
    if body.desired == Desired::Stopped {
        return Some("the service is stopped and its incident goes on");
    }
    if incident.condition == CHATTER || incident.unsettled().is_some() || incident.stage == Stage::Escalated {
        return None;
    }
    // What is gone is over as soon as a check passes.
    if incident.concerns.is_empty() && !world.answers(&incident.service, now) {
        return None;
    }
    let ill = |name: &ServiceName| Outage::is_down(world, name);
    let explained = body.spec.depends_on.iter().any(ill);
    let Some(held) = &incident.held else {
        return (!explained).then_some("it is left without an end");
    };
    let still = match held.rule.as_str() {
        "halted" => world.halted,
        "paused" => body.desired == Desired::Paused,
        "observe" => body.spec.mode == Mode::Observe,
        "approve" => body.spec.mode == Mode::Approve,
        "dependency" => explained,
        "unconfirmed" | "budget" | "flapping" => false,
        "back-off" | "cooldown" => held.until.is_some(),
        _ => true,
    };
    (!still).then_some("what holds it is no more")
}

/// Why a service should not be as it is at the end, if so.
fn unhealed(world: &World, plan: &Plan, body: &Body, now: Moment) -> Option<String> {
    let name = &body.spec.name;
    let wanted = body.desired == Desired::Running && body.spec.mode != Mode::Observe && !world.halted;
    let doomed = body.doomed_until == Moment::NEVER;
    if wanted && !doomed {
        // A restore may have failed a moment ago.
        let long = body.copies.iter().any(|copy| !copy.alive && now.since(copy.died).as_secs() > 150);
        if long {
            return Some("is dead, is wanted, and nobody brings it back".into());
        }
    }
    let rows = || world.rows.iter().filter(|row| row.entry.service.as_ref() == Some(name));
    if body.follows && !body.own_trouble && !plan.operators && !plan.comings && !plan.wild {
        for row in rows() {
            if let Record::Intended { intent } = &row.entry.record
                && intent.action == "restart"
            {
                let at = row.at.since(START).as_secs_f64();
                return Some(format!("was restarted at {at:.3} for what it needs"));
            }
        }
    }
    // Decisions about a service that dies and has no other trouble.
    let simple = plan.is_plain() && plan.deaths.is_empty() && !plan.moods.messages && !plan.moods.chatter;
    let fine = simple && plan.moods.faulty == 0.0 && plan.moods.silent.is_empty() && body.spec.depends_on.is_empty();
    if fine && body.deaths > 0 {
        let decided = rows().filter(|row| matches!(row.entry.record, Record::Decided { .. })).count();
        let opened = rows().filter(|row| match &row.entry.record {
            Record::Opened { concern, .. } => {
                !matches!(concern.finding.cause(), Some("signal" | "missing" | "refused"))
            }
            Record::Concerned { .. } => true,
            _ => false,
        });
        let other = opened.count() + 1;
        if decided > 2 * (body.deaths as usize + other) {
            return Some(format!("died {} times and was decided about {decided} times", body.deaths));
        }
    }
    None
}

fn how(world: &World, plan: &Plan, body: &Body, now: Moment) -> End {
    let name = &body.spec.name;
    // Whether an attempt was proved before heald died decides whether it counts, and after three that count people are asked.
    if !plan.is_plain() || vain(world, name) >= 2 || body.spec.mode != Mode::Auto {
        return None;
    }
    let hopeless = |body: &Body| body.doomed_until == Moment::NEVER || body.away_until == Moment::NEVER;
    // A service behind a dependency that never comes back may have to wait, and whether it does is a matter of moments.
    let needs = world.needs(name);
    if needs.iter().any(|needed| {
        world.bodies.get(needed).is_some_and(|needed| hopeless(needed) || vain(world, &needed.spec.name) >= 2)
    }) {
        return None;
    }
    let full = body.copies.iter().any(|copy| copy.memory > 90.0);
    let serves = world.answers(name, now) && !full && !hopeless(body) && !body.has_dead_copy();
    let its = |incident: &&Incident| incident.service == *name && incident.is_open() && incident.condition != CHATTER;
    let open: BTreeSet<(String, bool)> = world
        .incidents
        .values()
        .filter(its)
        .map(|incident| (incident.condition.clone(), incident.stage == Stage::Escalated))
        .collect();
    Some((serves, open.into_iter().collect()))
}

/// How many disruptive attempts at a service did not help, or not for long.
fn vain(world: &World, service: &ServiceName) -> usize {
    let in_vain = |row: &&crate::world::Row| match &row.entry.record {
        Record::Relapsed { .. } => true,
        Record::Settled { intent, ending } => {
            let helped = matches!(ending, Ending::Verified(Outcome::Healed | Outcome::Unknown) | Ending::Withheld(_));
            let disrupts = world.intents.get(intent).is_some_and(|(_, known)| known.class == Class::Disrupt);
            disrupts && !helped
        }
        _ => false,
    };
    world.rows.iter().filter(|row| row.entry.service.as_ref() == Some(service)).filter(in_vain).count()
}

/// The story of a scenario, for the one who looks into a single seed.
pub fn tell(world: &World, plan: &Plan) {
    if std::env::var_os("HEALD_SIM_SEED").is_none() {
        return;
    }
    let seconds = |at: Moment| at.since(START).as_secs_f64();
    println!("==== {} services, {:?}", world.bodies.len(), plan.moods);
    for body in world.bodies.values() {
        println!("---- {:?} follows {}", body.spec, body.follows);
    }
    plan.events.iter().for_each(|(at, event)| println!("{:9.3} {event:?}", seconds(*at)));
    plan.deaths.iter().for_each(|death| println!("{:9.3} {death:?}", seconds(death.at)));
    for row in world.rows.iter().filter(|row| !matches!(row.entry.record, Record::Shadowed { .. })) {
        let service = row.entry.service.as_ref().map_or("", ServiceName::as_str);
        let record = serde_json::to_string(&row.entry.record).unwrap();
        println!("{:9.3} {service:4} {}", seconds(row.at), record.chars().take(300).collect::<String>());
    }
}
