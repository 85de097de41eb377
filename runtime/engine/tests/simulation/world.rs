//! What heald watches, as it truly is: the services, and the record of all that happened. It knows true time alone; what a wall
//! clock shows is a life's own affair.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heald_engine::HealingConfig;
use heald_model::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::body::Body;
use crate::checks;

pub const START: Moment = Moment::from_millis(1_700_000_000_000);

pub fn after(seconds: f64) -> Moment {
    START + Duration::from_secs_f64(seconds)
}

/// A row of the journal, and when it was truly written.
#[derive(Clone, Debug)]
pub struct Row {
    pub at: Moment,
    pub entry: Entry,
}

/// All of it.
pub struct World {
    pub seed: u64,
    pub config: HealingConfig,
    pub bodies: BTreeMap<ServiceName, Body>,
    /// Services that are configured no more, since when, and as they were.
    pub removed: BTreeMap<ServiceName, (Moment, Body)>,
    pub halted: bool,
    /// Approvals that no action has used up.
    pub approved: BTreeSet<ServiceName>,
    pub breakers: bool,
    /// Operators and configurations make services come, go, stop and start.
    pub unsteady: bool,
    /// Messages take so long at most.
    pub slow_sinks: Duration,
    pub rows: Vec<Row>,
    pub incidents: BTreeMap<IncidentId, Incident>,
    pub intents: BTreeMap<IntentId, (Moment, Intent)>,
    pub performed: BTreeSet<IntentId>,
    pub in_flight: BTreeSet<IntentId>,
    pub done: BTreeMap<IntentId, Receipt>,
    /// What counts before this was forgotten: the wall clock jumped.
    pub forgot: Moment,
    /// Since when heald lives.
    pub alive_since: Moment,
    /// How the restores of each copy are spaced, and who fell ill lately, as the checks count it.
    pub paces: BTreeMap<(ServiceName, Replica), checks::Pace>,
    pub outage: checks::Outage,
    /// What must not be, as the checks saw it.
    pub violations: Vec<String>,
    pub dice: StdRng,
}

pub type Shared = Arc<Mutex<World>>;

/// What the checks and the keeper have to tell in one step.
#[derive(Default)]
pub struct News {
    pub witnessed: Vec<(Moment, ServiceName, Record)>,
    pub samples: Vec<Sample>,
}

impl World {
    pub fn new(seed: u64, config: HealingConfig) -> Self {
        Self {
            seed,
            config,
            bodies: BTreeMap::new(),
            removed: BTreeMap::new(),
            halted: false,
            approved: BTreeSet::new(),
            breakers: false,
            unsteady: false,
            slow_sinks: Duration::ZERO,
            rows: Vec::new(),
            incidents: BTreeMap::new(),
            intents: BTreeMap::new(),
            performed: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            done: BTreeMap::new(),
            forgot: Moment::EPOCH,
            alive_since: START,
            paces: BTreeMap::new(),
            outage: checks::Outage::default(),
            violations: Vec::new(),
            dice: StdRng::seed_from_u64(seed ^ 0xd1ce),
        }
    }

    pub fn complain(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Whether a service does its work.
    pub fn answers(&self, name: &ServiceName, now: Moment) -> bool {
        let Some(body) = self.bodies.get(name) else { return true };
        let runs = body.copies.is_empty() || body.copies.iter().any(|copy| copy.alive);
        let fed = !body.follows || body.spec.depends_on.iter().all(|needed| self.answers(needed, now));
        runs && !body.hung && now >= body.away_until && fed
    }

    /// All that a service needs, and what that needs.
    pub fn needs(&self, name: &ServiceName) -> BTreeSet<ServiceName> {
        let direct = self.bodies.get(name).map(|body| body.spec.depends_on.clone()).unwrap_or_default();
        direct.iter().flat_map(|needed| self.needs(needed).into_iter().chain([needed.clone()])).collect()
    }

    /// Looks at a service at once, through an open circuit too.
    pub fn expect(&mut self, name: &ServiceName, now: Moment) {
        let soon = now + Duration::from_millis(self.dice.random_range(1..40));
        if let Some(body) = self.bodies.get_mut(name) {
            body.looks.values_mut().for_each(|look| *look = soon.min(*look));
            body.circuit.open_until = None;
        }
    }

    /// One step: what is due now happens, and what is seen of it is told where somebody listens. Returns when the next is due.
    pub fn step(&mut self, now: Moment, heard: bool, quiet: bool) -> (News, Moment) {
        let mut news = News::default();
        let names: Vec<ServiceName> = self.bodies.keys().cloned().collect();
        let mut next = Moment::NEVER;
        for name in names {
            let answers = self.answers(&name, now);
            let breakers = self.breakers;
            let body = self.bodies.get_mut(&name).unwrap();
            body.meet_doom(now);
            if heard {
                body.tell(now, &mut news);
                body.look(now, answers, breakers, quiet, &mut news);
            }
            let due = body.next();
            next = next.min(if heard || due > now { due } else { Moment::NEVER });
        }
        (news, next)
    }
}
