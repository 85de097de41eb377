//! The world as one life of heald reaches it. What a dead life still asks for is not done: its ports answer nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use heald_engine::guard::Permit;
use heald_engine::ports::*;
use heald_model::*;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use std::sync::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::body::{Body, Copy};
use crate::checks;
use crate::world::{START, Shared, World};

/// One life of heald: what its wall clock shows, and whether it still lives.
pub struct Life {
    pub zero: tokio::time::Instant,
    /// The wall clock is ahead of true time by so much.
    pub ahead: Duration,
    pub alive: AtomicBool,
    pub world: Shared,
    /// The world has something new to do.
    pub stir: Arc<Notify>,
    pub dice: Mutex<StdRng>,
}

impl Life {
    pub fn truly(&self) -> Moment {
        START + self.zero.elapsed()
    }

    pub fn wall(&self, truly: Moment) -> Moment {
        truly + self.ahead
    }

    pub fn is_over(&self) -> bool {
        !self.alive.load(Ordering::Relaxed)
    }

    fn with<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        f(&mut self.world.lock().unwrap())
    }

    fn of_body<T: Default>(&self, name: &ServiceName, f: impl FnOnce(&mut Body) -> T) -> T {
        self.with(|world| world.bodies.get_mut(name).map(f)).unwrap_or_default()
    }

    /// Whoever lives no more gets no further than here.
    async fn unless_dead(&self) {
        if self.is_over() {
            std::future::pending::<()>().await;
        }
    }

    async fn pause(&self, most: Duration) {
        let part = self.with(|world| world.dice.random::<f64>());
        tokio::time::sleep(most.mul_f64(part).max(Duration::from_millis(1))).await;
        self.unless_dead().await;
    }

    fn take(&self, entries: Vec<Entry>) {
        let now = self.truly();
        if !self.is_over() {
            self.with(|world| entries.into_iter().for_each(|entry| checks::written(world, entry, now)));
        }
    }
}

#[async_trait]
impl Clock for Life {
    fn now(&self) -> Moment {
        self.wall(self.truly())
    }

    async fn sleep_until(&self, then: Moment) {
        if then == Moment::NEVER {
            return std::future::pending().await;
        }
        tokio::time::sleep_until(self.zero + then.since(self.wall(START))).await;
    }
}

impl Entropy for Life {
    fn id(&self, _: Moment) -> Uuid {
        Uuid::from_u128(self.dice.lock().unwrap().random())
    }

    fn roll(&self) -> u64 {
        self.dice.lock().unwrap().random()
    }
}

#[async_trait]
impl Journal for Life {
    fn write(&self, entries: Vec<Entry>) {
        self.take(entries);
    }

    fn keep(&self, _: Recording) {}

    async fn commit(&self, entries: Vec<Entry>, _: Durability) -> Result<(), JournalError> {
        self.take(entries);
        self.pause(Duration::from_millis(3)).await;
        Ok(())
    }
}

fn info(name: &str, disruptive: bool) -> ActionInfo {
    let (summary, parameters, facts) = (String::new(), json!({}), Vec::new());
    ActionInfo { name: name.into(), summary, parameters, disruptive, undoable: false, facts }
}

#[async_trait]
impl Actions for Life {
    fn offers(&self, service: &ServiceName) -> Vec<Offer> {
        let supervised = self.of_body(service, |body| body.spec.supervised);
        let offer = |name, disruptive| Offer { action: info(name, disruptive), source: Source::Native, blocked: None };
        let messages = ["notify", "webhook"].map(|name| offer(name, false));
        let acts = ["restart", "start", "stop", "signal", "clear-cache"].map(|name| offer(name, true));
        acts.into_iter().filter(|_| supervised).chain(messages).collect()
    }

    async fn perform(&self, permit: Permit, _: Option<&Incident>) -> Result<Receipt, ActionError> {
        let intent = permit.intent().clone();
        let now = self.truly();
        let (most, fails) = self.with(|world| {
            checks::performing(world, &intent, now);
            let slow = if intent.class == Class::Message { world.slow_sinks } else { Duration::from_millis(200) };
            (slow, world.dice.random_bool(0.05))
        });
        self.pause(most).await;
        if fails {
            return Err(ActionError::Failed("dice".into()));
        }
        let now = self.truly();
        let incarnation =
            self.with(|world| world.bodies.get_mut(&intent.service).and_then(|body| has_effect(body, &intent, now)));
        let (summary, facts) = (format!("{} done", intent.action), Vec::new());
        let receipt = Receipt { summary, changed: true, incarnation, facts, undo: None, at: self.wall(now) };
        self.with(|world| world.done.insert(intent.id, receipt.clone()));
        self.stir.notify_one();
        // heald may die between the effect and the word of it.
        self.pause(Duration::from_millis(50)).await;
        Ok(receipt)
    }

    async fn undo(&self, _: Permit, _: &Attempt) -> Result<Receipt, ActionError> {
        Err(ActionError::Failed("nothing can be undone here".into()))
    }

    async fn recall(&self, intent: &Intent) -> Option<Receipt> {
        self.with(|world| world.done.get(&intent.id).cloned())
    }
}

/// What an action does to a service; the new life of its process, if there is one.
fn has_effect(body: &mut Body, intent: &Intent, now: Moment) -> Option<u64> {
    let its = heald_engine::ledger::instance(intent);
    let copies: Vec<usize> =
        (0..body.copies.len()).filter(|copy| its.as_ref().is_none_or(|its| its.as_str() == copy.to_string())).collect();
    let one_of_several = body.copies.len() > 1 && its.is_some();
    match intent.action.as_str() {
        "restart" => {
            body.hung &= one_of_several;
            let lives: Vec<u64> = copies.into_iter().map(|copy| body.start(copy, now)).collect();
            lives.into_iter().min()
        }
        "start" => {
            let dead: Vec<usize> = copies.into_iter().filter(|copy| !body.copies[*copy].alive).collect();
            let lives: Vec<u64> = dead.into_iter().map(|copy| body.start(copy, now)).collect();
            lives.into_iter().min()
        }
        "stop" => {
            copies.into_iter().for_each(|copy| body.end(copy, true, now));
            None
        }
        "signal" => {
            body.end(0, false, now);
            None
        }
        "clear-cache" => {
            body.copies.iter_mut().for_each(|copy| copy.memory = 20.0);
            None
        }
        _ => None,
    }
}

impl Processes for Life {
    fn of(&self, service: &ServiceName) -> Vec<ProcessState> {
        let state = |(copy, one): (usize, &Copy)| ProcessState {
            replica: Replica::from(copy.to_string()),
            incarnation: one.incarnation,
            pid: one.alive.then_some(1),
            started: self.wall(one.started),
            ended: None,
            finished: false,
        };
        self.of_body(service, |body| body.copies.iter().enumerate().map(state).collect())
    }
}

impl Probes for Life {
    fn expect(&self, service: &ServiceName, _: Option<u64>) {
        let now = self.truly();
        if !self.is_over() {
            self.with(|world| world.expect(service, now));
            self.stir.notify_one();
        }
    }

    fn breaker(&self, service: &ServiceName) -> Breaker {
        match self.of_body(service, |body| body.circuit.open_until) {
            Some(_) => Breaker::Open,
            None => Breaker::Closed,
        }
    }

    fn hold(&self, service: &ServiceName, held: bool) {
        let now = self.truly();
        self.with(|world| {
            let (body, dice) = (world.bodies.get_mut(service), &mut world.dice);
            if let Some(body) = body.filter(|body| body.unwatched != held) {
                body.unwatched = held;
                body.watch(now, dice);
            }
        });
        self.stir.notify_one();
    }
}

#[async_trait]
impl DesiredStates for Life {
    fn desired(&self, service: &ServiceName) -> Desired {
        self.with(|world| world.bodies.get(service).map_or(Desired::Running, |body| body.desired))
    }

    async fn set_desired(&self, service: &ServiceName, desired: Desired) -> Result<(), JournalError> {
        self.pause(Duration::from_millis(3)).await;
        self.of_body(service, |body| body.desired = desired);
        Ok(())
    }

    fn halted(&self) -> bool {
        self.with(|world| world.halted)
    }

    async fn set_halted(&self, halted: bool) -> Result<(), JournalError> {
        self.pause(Duration::from_millis(3)).await;
        self.with(|world| {
            world.halted = halted;
            if !halted {
                world.outage = checks::Outage::default();
            }
        });
        Ok(())
    }
}
