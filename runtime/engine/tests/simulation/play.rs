//! Plays one scenario on virtual time: the world takes its steps, what happens happens, and heald dies and comes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heald_engine::ledger::Ledger;
use heald_engine::ports::SampleSink;
use heald_engine::{Healer, Past, Ports, ServiceList, ServiceSetup};
use heald_model::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Notify;

use crate::body::{Body, Told};
use crate::checks::{self, End};
use crate::plugins::{self, CHATTER};
use crate::ports::Life;
use crate::scenario::{CALM_AFTER, Event, Mishap, Plan, RIGHT, throw};
use crate::world::{Shared, World, after};

/// The longest waits: a plug-in's rest of ten minutes that begins when all is calm, and a dependency's hold.
const LONGEST: f64 = CALM_AFTER + 900.0;
/// What the store gives back of the ledger's rows.
const SPAN: Duration = Duration::from_secs(24 * 3600);
const KINDS: [&str; 9] = [
    "intended",
    "settled",
    "relapsed",
    "opened",
    "staged",
    "dependency-returned",
    "process-started",
    "process-exited",
    "reset",
];

/// A running heald, which can be killed.
struct Runtime {
    life: Arc<Life>,
    healer: Arc<Healer>,
    services: Arc<ServiceList>,
    task: tokio::task::JoinHandle<()>,
}

/// One play of a scenario.
struct Play {
    plan: Plan,
    world: Shared,
    zero: tokio::time::Instant,
    stir: Arc<Notify>,
    lives: u64,
    versions: BTreeMap<ServiceName, u64>,
    runtime: Option<Runtime>,
}

/// Plays a scenario; returns how each service ended where that is no matter of chance.
pub async fn play(seed: u64, with_deaths: bool) -> BTreeMap<ServiceName, End> {
    let (plan, world) = throw(seed, with_deaths);
    let (world, zero) = (Arc::new(Mutex::new(world)), tokio::time::Instant::now());
    let stir = Arc::new(Notify::new());
    let mut play = Play { plan, world, zero, stir, lives: 0, versions: BTreeMap::new(), runtime: None };
    play.boot(RIGHT);
    play.run().await;
    let world = play.world.lock().unwrap();
    checks::tell(&world, &play.plan);
    checks::ended(&world, &play.plan, play.truly())
}

impl Play {
    fn truly(&self) -> Moment {
        crate::world::START + self.zero.elapsed()
    }

    async fn run(&mut self) {
        let mut deaths = self.plan.deaths.clone().into_iter().peekable();
        let mut events = self.plan.events.clone().into_iter().peekable();
        let mut returns = None;
        loop {
            let now = self.truly();
            while let Some((_, event)) = events.next_if(|(at, _)| *at <= now) {
                self.happens(event, now);
            }
            if let Some(death) = deaths.next_if(|death| death.at <= now)
                && let Some(runtime) = self.runtime.take()
            {
                runtime.life.alive.store(false, Ordering::Relaxed);
                runtime.task.abort();
                let _ = runtime.task.await;
                returns = Some((now + death.lasts, death.ahead));
            }
            if let Some((at, ahead)) = returns
                && now >= at
            {
                returns = None;
                self.boot(ahead);
            }
            let quiet = now > after(CALM_AFTER);
            let next = self.step(now, quiet);
            if quiet && self.is_over(now) {
                return;
            }
            let due =
                [events.peek().map(|(at, _)| *at), deaths.peek().map(|death| death.at), returns.map(|(at, _)| at)];
            let due = due.into_iter().flatten().chain([next, now + Duration::from_secs(5)]).min().unwrap();
            let wake = self.zero + due.max(now + Duration::from_millis(1)).since(crate::world::START);
            tokio::select! {
                biased;
                () = self.stir.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// One step of the world; what is seen of it goes to heald.
    fn step(&mut self, now: Moment, quiet: bool) -> Moment {
        let (news, next) = {
            let mut world = self.world.lock().unwrap();
            let stepped = world.step(now, self.runtime.is_some(), quiet);
            checks::standing(&mut world, now, self.runtime.is_some(), &self.plan);
            if let Some(violation) = world.violations.first() {
                let violation = violation.clone();
                checks::tell(&world, &self.plan);
                drop(world);
                panic!("seed {} at {:.3}: {violation}", self.plan.seed, now.since(crate::world::START).as_secs_f64());
            }
            stepped
        };
        let Some(runtime) = &self.runtime else { return next };
        assert!(!runtime.task.is_finished(), "the task of a service has failed");
        for (at, service, record) in news.witnessed {
            runtime.healer.witness(Entry::of_service(runtime.life.wall(at), service, record));
        }
        for sample in news.samples {
            runtime.services.send(Sample { at: runtime.life.wall(sample.at), ..sample });
        }
        next
    }

    /// Nothing more is to be expected.
    fn is_over(&self, now: Moment) -> bool {
        let world = self.world.lock().unwrap();
        let open = |incident: &Incident| incident.is_open() && incident.condition != CHATTER;
        let calm = world.in_flight.is_empty() && !world.incidents.values().any(open);
        now >= after(LONGEST) || (now >= after(CALM_AFTER + 30.0) && calm && self.runtime.is_some())
    }

    /// heald comes up, with what the store gives back of its past.
    fn boot(&mut self, ahead: Duration) {
        self.lives += 1;
        let now = self.truly();
        let seed = self.plan.seed + 1_000_003 * self.lives;
        let life = Arc::new(Life {
            zero: self.zero,
            ahead,
            alive: AtomicBool::new(true),
            world: Arc::clone(&self.world),
            stir: Arc::clone(&self.stir),
            dice: Mutex::new(StdRng::seed_from_u64(seed)),
        });
        let mut world = self.world.lock().unwrap();
        if self.plan.jumps {
            world.forgot = now;
            world.paces.clear();
        }
        world.alive_since = now;
        world.outage = Default::default();
        world.approved.clear();
        let wall = life.wall(now);
        let lately = wall - world.config.reopen_within;
        let incidents = world.incidents.values().filter(|known| known.is_open() || known.resolved >= Some(lately));
        let entries = world.rows.iter().map(|row| &row.entry).filter(|entry| entry.at >= wall - SPAN);
        let whole: Vec<Entry> = entries.cloned().collect();
        let mut entries = whole.clone();
        entries.retain(|entry| KINDS.contains(&entry.record.kind()));
        let (all, kept) = (Ledger::of(&whole, &world.config, wall), Ledger::of(&entries, &world.config, wall));
        // Where the clock was ahead, each row that is ahead frees its service, of whatever kind it is.
        let same = self.plan.jumps || all == kept;
        let past = Past { incidents: incidents.cloned().collect(), entries, ..Past::default() };
        let config = world.config.clone();
        let specs: Vec<ServiceSpec> = world.bodies.values().map(|body| body.spec.clone()).collect();
        if !same {
            world.complain("the ledger is another one when it is folded from the store's rows");
        }
        let World { bodies, dice, .. } = &mut *world;
        bodies.values_mut().for_each(|body| body.watch(now, dice));
        drop(world);
        let ports = Ports {
            clock: life.clone(),
            entropy: life.clone(),
            journal: life.clone(),
            probes: life.clone(),
            actions: life.clone(),
            processes: life.clone(),
            desired_states: life.clone(),
        };
        let setups = specs.into_iter().map(|spec| self.setup(&life, spec)).collect();
        let services = Arc::new(ServiceList::default());
        let healer = Healer::new(config, ports, Arc::clone(&services), setups, past);
        let healing = Arc::clone(&healer);
        let task = tokio::spawn(async move { healing.run().await });
        self.runtime = Some(Runtime { life, healer, services, task });
    }

    fn setup(&self, life: &Arc<Life>, spec: ServiceSpec) -> ServiceSetup {
        let version = self.versions.get(&spec.name).copied().unwrap_or_default();
        let salt = spec.name.as_str().bytes().fold(self.lives, |salt, byte| salt * 31 + u64::from(byte));
        let plugins = plugins::chain(life, &self.plan.moods, version, self.plan.seed ^ salt);
        ServiceSetup { spec, plugins }
    }

    fn happens(&mut self, event: Event, now: Moment) {
        match event {
            Event::Mishap(name, mishap) => {
                if let Some(body) = self.world.lock().unwrap().bodies.get_mut(&name) {
                    befalls(body, mishap, now);
                }
            }
            Event::Blackout(until) => {
                for body in self.world.lock().unwrap().bodies.values_mut() {
                    befalls(body, Mishap::Away(until), now);
                }
            }
            Event::Add(spec) => self.comes(*spec, now),
            Event::Remove(name) => self.goes(&name, now),
            Event::Change(spec, version) => self.changes(*spec, version, now),
            event => self.asks(event),
        }
    }

    /// An operator asks for something, if anybody is there to be asked.
    fn asks(&self, event: Event) {
        let Some(runtime) = &self.runtime else { return };
        let (operator, world) = (runtime.healer.operator(), Arc::clone(&self.world));
        if let Event::Order(name, ..) | Event::Wish(name, _) | Event::Reset(name) = &event
            && let Some(body) = world.lock().unwrap().bodies.get_mut(name)
        {
            body.ordered = true;
        }
        if let Event::Approve(name) = &event {
            world.lock().unwrap().approved.insert(name.clone());
        }
        tokio::spawn(async move {
            match event {
                Event::Order(service, action, force) => {
                    let by = if force { "forces" } else { "asks" }.to_owned();
                    let order =
                        Order { service, action: action.into(), parameters: serde_json::Value::Null, by, force };
                    let _ = operator.order(order).await;
                }
                Event::Wish(name, desired) => {
                    let _ = operator.set_desired(&name, desired, "wishes").await;
                }
                Event::Halt(halted) => {
                    let _ = operator.halt(halted, "halts").await;
                }
                Event::Reset(name) => {
                    let _ = operator.reset(&name, "resets").await;
                }
                Event::Approve(name) => {
                    let approved = operator.approve(&name, "approves").await.is_ok();
                    world.lock().unwrap().approved.retain(|known| approved || *known != name);
                }
                _ => {}
            }
        });
    }

    fn comes(&mut self, spec: ServiceSpec, now: Moment) {
        let setup = {
            let mut world = self.world.lock().unwrap();
            if world.bodies.contains_key(&spec.name)
                || spec.depends_on.iter().any(|name| !world.bodies.contains_key(name))
            {
                return;
            }
            world.removed.remove(&spec.name);
            let mut dice = StdRng::seed_from_u64(self.plan.seed ^ now.nanos());
            // Its processes go on being counted, so that no life is taken for an earlier one.
            let mut body = Body::new(spec.clone(), false, now, &mut dice);
            body.untold.clear();
            for (place, copy) in body.copies.iter_mut().enumerate() {
                copy.incarnation = now.millis();
                body.untold.push_back((place, Told::Started(copy.incarnation, now)));
            }
            world.bodies.insert(spec.name.clone(), body);
            self.runtime.as_ref().map(|runtime| (runtime.life.clone(), spec))
        };
        if let (Some((life, spec)), Some(runtime)) = (setup, &self.runtime) {
            let name = spec.name.clone();
            let lately = life.wall(now) - Duration::from_secs(600);
            let world = self.world.lock().unwrap();
            let known =
                world.incidents.values().filter(|known| known.service == name && known.resolved >= Some(lately));
            let known: Vec<Incident> = known.filter(|known| !known.is_open()).cloned().collect();
            drop(world);
            assert!(runtime.healer.add(self.setup(&life, spec), known), "{name} is there already");
        }
    }

    fn goes(&mut self, name: &ServiceName, now: Moment) {
        {
            let world = self.world.lock().unwrap();
            let needed = world.bodies.values().any(|body| body.spec.depends_on.contains(name));
            if !world.bodies.contains_key(name) || (needed && self.plan.seed.is_multiple_of(2)) {
                return;
            }
        }
        if let Some(runtime) = &self.runtime {
            assert!(runtime.healer.remove(name), "{name} is not there");
        }
        let mut world = self.world.lock().unwrap();
        if let Some(body) = world.bodies.remove(name) {
            world.removed.insert(name.clone(), (now, body));
        }
    }

    fn changes(&mut self, spec: ServiceSpec, version: u64, now: Moment) {
        let mut world = self.world.lock().unwrap();
        if !world.bodies.contains_key(&spec.name) || spec.depends_on.iter().any(|name| !world.bodies.contains_key(name))
        {
            return;
        }
        let World { bodies, dice, .. } = &mut *world;
        let body = bodies.get_mut(&spec.name).unwrap();
        body.spec = spec.clone();
        body.ordered = true;
        // What was seen counts until the next look.
        let seen = std::mem::take(&mut body.seen);
        body.watch(now, dice);
        body.seen = seen.into_iter().filter(|(id, _)| body.looks.contains_key(id)).collect();
        drop(world);
        self.versions.insert(spec.name.clone(), version);
        if let Some(runtime) = &self.runtime {
            assert!(runtime.healer.change(self.setup(&runtime.life, spec)), "it is not there");
        }
    }
}

fn befalls(body: &mut Body, mishap: Mishap, now: Moment) {
    body.own_trouble = true;
    match mishap {
        Mishap::Hang => body.hung = true,
        Mishap::Leak(copy) => body.copies[copy].leaking = true,
        Mishap::Away(until) => body.away_until = body.away_until.max(until),
        Mishap::Waver(until) => body.wavers_until = body.wavers_until.max(until),
        Mishap::Crash(copy) => body.end(copy, false, now),
        Mishap::CrashAll => (0..body.copies.len()).for_each(|copy| body.end(copy, false, now)),
        Mishap::CrashLoop(until) => {
            body.doomed_until = body.doomed_until.max(until);
            (0..body.copies.len()).for_each(|copy| body.end(copy, false, now));
        }
    }
}
