//! What a scenario is made of, thrown from its seed: services, what befalls them, what operators do, and when heald itself dies.

use std::time::Duration;

use heald_engine::HealingConfig;
use heald_engine::config::Budget;
use heald_model::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::body::Body;
use crate::world::{START, World, after};

/// By then everything that happens has happened.
pub const CALM_AFTER: f64 = 200.0;

/// What befalls a service.
#[derive(Clone, Copy, Debug)]
pub enum Mishap {
    Crash(usize),
    /// All copies at once.
    CrashAll,
    Hang,
    Leak(usize),
    /// Crashes, and each new process dies young until then.
    CrashLoop(Moment),
    /// Answers badly until then, whatever is done.
    Away(Moment),
    /// Every second answer is bad until then.
    Waver(Moment),
}

/// What happens, and to whom.
#[derive(Clone, Debug)]
pub enum Event {
    Mishap(ServiceName, Mishap),
    /// All services answer badly until then.
    Blackout(Moment),
    Order(ServiceName, &'static str, bool),
    Wish(ServiceName, Desired),
    Halt(bool),
    Reset(ServiceName),
    Approve(ServiceName),
    Add(Box<ServiceSpec>),
    Change(Box<ServiceSpec>, u64),
    Remove(ServiceName),
}

/// The moods of the plug-ins.
#[derive(Clone, Debug, Default)]
pub struct Moods {
    /// The detector fails so many calls, 0..1.
    pub faulty: f64,
    /// It gives no answer in these times.
    pub silent: Vec<(Moment, Moment)>,
    /// It finds something in every second look.
    pub blinks: bool,
    /// It finds something in every look.
    pub chatter: bool,
    /// The policy tells people of everything first.
    pub messages: bool,
    /// Each call takes so long at most.
    pub slow: Duration,
    pub shadows: bool,
    /// Then all is well with them.
    pub until: Moment,
}

/// A death of heald: when, for how long, and what its wall clock shows afterwards, ahead of true time.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    pub at: Moment,
    pub lasts: Duration,
    pub ahead: Duration,
}

/// A whole scenario.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub events: Vec<(Moment, Event)>,
    pub deaths: Vec<Death>,
    pub moods: Moods,
    /// Operators do something; services come, change and go; wall clocks jump.
    pub operators: bool,
    pub comings: bool,
    pub jumps: bool,
    /// Everything falls ill at once, or wavers.
    pub wild: bool,
}

/// A wall clock that is right is two days ahead of the simulation's beginning, so that it can be a day behind.
pub const RIGHT: Duration = Duration::from_secs(2 * 86_400);

impl Plan {
    /// True if how it ends does not depend on when exactly heald lived.
    pub fn is_plain(&self) -> bool {
        !(self.operators || self.comings || self.jumps || self.wild || self.moods.blinks)
    }
}

/// The scenario of a seed, and the world as it begins.
pub fn throw(seed: u64, with_deaths: bool) -> (Plan, World) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut often = |chance: f64| dice.random_bool(chance);
    let (operators, comings, jumps, wild) = (often(0.35), often(0.3), often(0.2), often(0.2));
    let (breakers, replicas, follows, modes) = (often(0.4), often(0.35), often(0.4), often(0.25));
    let (faulty, silent, slow) = (often(0.25), often(0.2), often(0.2));
    let (blinks, chatter, messages, shadows) = (often(0.15), often(0.3), often(0.35), often(0.3));
    let moods = Moods {
        faulty: if faulty { dice.random_range(0.0..0.5) } else { 0.0 },
        silent: if silent { spells(&mut dice) } else { Vec::new() },
        slow: if slow { Duration::from_millis(dice.random_range(1..2_000)) } else { Duration::ZERO },
        until: after(CALM_AFTER),
        blinks,
        chatter,
        messages,
        shadows,
    };
    let mut config = HealingConfig::default();
    let restore = dice.random_bool(0.4).then(|| dice.random_range(1..3));
    config.budget = Budget { restore, ..config.budget };
    let mut world = World::new(seed, config);
    world.breakers = breakers;
    world.unsteady = operators || comings;
    world.slow_sinks = if messages { Duration::from_secs(dice.random_range(1..60)) } else { Duration::ZERO };
    let count = dice.random_range(1..8);
    let mut specs: Vec<ServiceSpec> = Vec::new();
    for place in 0..count {
        let spec = spec(&mut dice, place, &specs, replicas, modes);
        let follows = follows && !spec.depends_on.is_empty();
        world.bodies.insert(spec.name.clone(), Body::new(spec.clone(), follows, START, &mut dice));
        specs.push(spec);
    }
    let mut events = mishaps(&mut dice, &specs, wild);
    if operators {
        events.extend(orders(&mut dice, &specs));
    }
    if comings {
        events.extend(changes(&mut dice, &specs, replicas));
    }
    events.sort_by_key(|(at, _)| *at);
    let mut deaths: Vec<Death> = (0..dice.random_range(1..4)).map(|_| death(&mut dice, jumps)).collect();
    deaths.sort_by_key(|death| death.at);
    let deaths = if with_deaths { deaths } else { Vec::new() };
    (Plan { seed, events, deaths, moods, operators, comings, jumps, wild }, world)
}

fn spells(dice: &mut StdRng) -> Vec<(Moment, Moment)> {
    let mut spell = || {
        let from = dice.random_range(5.0..150.0);
        (after(from), after(from + dice.random_range(2.0..40.0)))
    };
    vec![spell(), spell()]
}

fn death(dice: &mut StdRng, jumps: bool) -> Death {
    let lasts = match dice.random_range(0..4) {
        0 => dice.random_range(5.0..60.0),
        _ => dice.random_range(0.1..1.0),
    };
    let day = if jumps { dice.random_range(0.0..2.0) } else { 1.0 };
    let ahead = RIGHT.mul_f64(0.5 + day / 2.0);
    Death { at: after(dice.random_range(1.0..190.0)), lasts: Duration::from_secs_f64(lasts), ahead }
}

fn probe(dice: &mut StdRng, id: &str) -> ProbeSpec {
    ProbeSpec {
        id: ProbeId::from(id),
        role: Role::Liveness,
        period: Duration::from_millis([1_000, 1_000, 2_000, 5_000][dice.random_range(0..4)]),
        timeout: Duration::from_millis(500),
        failure_threshold: dice.random_range(1..4),
        success_threshold: 1,
    }
}

fn spec(dice: &mut StdRng, place: usize, before: &[ServiceSpec], replicas: bool, modes: bool) -> ServiceSpec {
    let needs = !before.is_empty() && dice.random_bool(0.35);
    let supervised = dice.random_bool(0.9);
    let second = dice.random_bool(0.25).then(|| probe(dice, "tcp"));
    ServiceSpec {
        name: ServiceName::from(format!("s{place}")),
        tags: Vec::new(),
        depends_on: if needs { vec![before[dice.random_range(0..before.len())].name.clone()] } else { Vec::new() },
        probes: [probe(dice, "http")].into_iter().chain(second).collect(),
        supervised,
        replicas: match (supervised, replicas) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => dice.random_range(1..4),
        },
        startup: Duration::from_secs(3),
        detectors: vec![PluginName::from("d")],
        policies: vec![PluginName::from("p")],
        mode: match (modes, dice.random_range(0..3)) {
            (true, 0) => Mode::Approve,
            (true, 1) => Mode::Observe,
            _ => Mode::Auto,
        },
        metadata: json!({}),
    }
}

fn one<'a>(dice: &mut StdRng, specs: &'a [ServiceSpec]) -> &'a ServiceSpec {
    &specs[dice.random_range(0..specs.len())]
}

fn mishaps(dice: &mut StdRng, specs: &[ServiceSpec], wild: bool) -> Vec<(Moment, Event)> {
    let mut events: Vec<(Moment, Event)> = Vec::new();
    for _ in 0..dice.random_range(1..12) {
        let when = after(dice.random_range(2.0..140.0));
        let within = |dice: &mut StdRng, most: u64| when + Duration::from_secs(dice.random_range(3..most));
        let spec = one(dice, specs);
        let copy = dice.random_range(0..spec.replicas.max(1) as usize);
        let mishap = match dice.random_range(0..if wild { 14 } else { 12 }) {
            0..=2 => Mishap::Crash(copy),
            3 => Mishap::CrashAll,
            4..=5 => Mishap::Hang,
            6..=7 => Mishap::Leak(copy),
            8 => Mishap::CrashLoop(within(dice, 60)),
            9 => Mishap::CrashLoop(Moment::NEVER),
            10 => Mishap::Away(within(dice, 50)),
            11 if dice.random_bool(0.3) => Mishap::Away(Moment::NEVER),
            11 => Mishap::Hang,
            _ => Mishap::Waver(within(dice, 55)),
        };
        // What heald does not run cannot be helped, so it helps itself.
        let mishap = match (spec.supervised, mishap) {
            (false, Mishap::Waver(_) | Mishap::Away(_)) | (true, _) => mishap,
            (false, _) => Mishap::Away(within(dice, 50)),
        };
        events.push((when, Event::Mishap(spec.name.clone(), mishap)));
    }
    if wild && dice.random_bool(0.5) {
        let when = dice.random_range(10.0..120.0);
        events.push((after(when), Event::Blackout(after(when + dice.random_range(10.0..70.0)))));
    }
    events
}

fn orders(dice: &mut StdRng, specs: &[ServiceSpec]) -> Vec<(Moment, Event)> {
    let mut events = Vec::new();
    for _ in 0..dice.random_range(1..10) {
        let when = after(dice.random_range(2.0..150.0));
        let name = one(dice, specs).name.clone();
        let actions = ["restart", "restart", "signal", "start", "stop", "clear-cache", "notify", "no-such-action"];
        events.push((
            when,
            match dice.random_range(0..10) {
                0..=3 => Event::Order(name, actions[dice.random_range(0..actions.len())], dice.random_bool(0.4)),
                4 => Event::Wish(name, Desired::Paused),
                5 => Event::Wish(name, Desired::Stopped),
                6 => Event::Wish(name, Desired::Running),
                7 => Event::Halt(dice.random_bool(0.6)),
                8 => Event::Reset(name),
                _ => Event::Approve(name),
            },
        ));
    }
    // Most operators tidy up after themselves.
    if dice.random_bool(0.7) {
        events.push((after(155.0), Event::Halt(false)));
        let running = specs.iter().filter(|_| dice.random_bool(0.8));
        events.extend(running.map(|spec| (after(160.0), Event::Wish(spec.name.clone(), Desired::Running))));
    }
    events
}

fn changes(dice: &mut StdRng, specs: &[ServiceSpec], replicas: bool) -> Vec<(Moment, Event)> {
    let mut events = Vec::new();
    for place in 0..dice.random_range(1..6) {
        let when = after(dice.random_range(2.0..150.0));
        let at = dice.random_range(0..specs.len());
        match dice.random_range(0..4) {
            0 => {
                let spec = spec(dice, 100 + place, specs, replicas, false);
                events.push((when, Event::Add(Box::new(spec))));
            }
            1 => {
                events.push((when, Event::Remove(specs[at].name.clone())));
                // It may come back soon.
                if dice.random_bool(0.5) {
                    let back = when + Duration::from_secs_f64(dice.random_range(0.0..30.0));
                    events.push((back, Event::Add(Box::new(specs[at].clone()))));
                }
            }
            _ => {
                // The checks, what it needs and who is asked; not whether heald runs it, nor how.
                let fresh = spec(dice, at, &specs[..at], replicas, false);
                let ServiceSpec { supervised, replicas, mode, .. } = specs[at].clone();
                let fresh = ServiceSpec { supervised, replicas, mode, ..fresh };
                events.push((when, Event::Change(Box::new(fresh), dice.random_range(0..3))));
            }
        }
    }
    events
}
