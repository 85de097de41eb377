//! One service as it truly is: its copies, what its checks see, and its circuit.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use heald_model::*;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::world::News;

/// A process that is doomed dies so soon after its start.
const DOOM: Duration = Duration::from_millis(200);
/// Failures in a row that open a circuit, and the longest time it stays open.
const OPENS: u32 = 5;
const OPEN_MAX: Duration = Duration::from_secs(4);

/// One copy of a service.
#[derive(Clone, Debug)]
pub struct Copy {
    pub alive: bool,
    pub memory: f64,
    pub leaking: bool,
    pub incarnation: u64,
    pub started: Moment,
    /// When it last ended.
    pub died: Moment,
}

/// What the keeper tells of a copy's lives.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    Started(u64, Moment),
    Ended(u64, bool),
}

/// The circuit of one service.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circuit {
    failures: u32,
    pub open_until: Option<Moment>,
    openings: u32,
}

/// One service as it is.
#[derive(Clone, Debug)]
pub struct Body {
    pub spec: ServiceSpec,
    pub copies: Vec<Copy>,
    /// It answers badly until somebody restarts it.
    pub hung: bool,
    /// It answers badly until then, whatever is done.
    pub away_until: Moment,
    /// Its processes die young until then.
    pub doomed_until: Moment,
    /// Every second answer is bad until then.
    pub wavers_until: Moment,
    /// It answers badly while anything that it needs does.
    pub follows: bool,
    pub desired: Desired,
    /// No check looks at it.
    pub unwatched: bool,
    pub looks: BTreeMap<ProbeId, Moment>,
    /// What each configured check last saw, and the newest of all their verdicts.
    pub seen: BTreeMap<ProbeId, (Moment, bool)>,
    pub verdicts: VecDeque<bool>,
    /// A check has passed since heald looks.
    pub passed: bool,
    pub circuit: Circuit,
    /// What no life of heald has heard of yet.
    pub untold: VecDeque<(usize, Told)>,
    /// Ends that nobody wanted, and when the first was.
    pub deaths: u32,
    /// Something went wrong with it that is no other service's doing.
    pub own_trouble: bool,
    /// An operator gave an order about it.
    pub ordered: bool,
}

impl Body {
    pub fn new(spec: ServiceSpec, follows: bool, now: Moment, dice: &mut StdRng) -> Self {
        let copies = if spec.supervised { spec.replicas as usize } else { 0 };
        let copy =
            Copy { alive: true, memory: 20.0, leaking: false, incarnation: 1, started: now, died: Moment::EPOCH };
        let mut body = Self {
            spec,
            copies: vec![copy; copies],
            hung: false,
            away_until: Moment::EPOCH,
            doomed_until: Moment::EPOCH,
            wavers_until: Moment::EPOCH,
            follows,
            desired: Desired::Running,
            unwatched: false,
            looks: BTreeMap::new(),
            seen: BTreeMap::new(),
            verdicts: VecDeque::new(),
            passed: false,
            circuit: Circuit::default(),
            untold: (0..copies).map(|copy| (copy, Told::Started(1, now))).collect(),
            deaths: 0,
            own_trouble: false,
            ordered: false,
        };
        body.watch(now, dice);
        body
    }

    /// Begins to look, each check at its own moment.
    pub fn watch(&mut self, now: Moment, dice: &mut StdRng) {
        let probes = self.spec.probes.iter().map(|probe| (probe.id.clone(), probe.period));
        let process = (!self.copies.is_empty()).then(|| (ProbeId::from(PROCESS_PROBE), Duration::from_secs(1)));
        self.looks = probes.chain(process).map(|(id, period)| (id, now + period.mul_f64(dice.random()))).collect();
        self.seen.clear();
        self.verdicts.clear();
        self.passed = false;
        self.circuit = Circuit::default();
    }

    pub fn end(&mut self, copy: usize, wanted: bool, now: Moment) {
        let Some(one) = self.copies.get_mut(copy).filter(|one| one.alive) else { return };
        one.alive = false;
        one.died = now;
        self.deaths += u32::from(!wanted);
        self.untold.push_back((copy, Told::Ended(one.incarnation, wanted)));
    }

    pub fn start(&mut self, copy: usize, now: Moment) -> u64 {
        self.end(copy, true, now);
        let one = &mut self.copies[copy];
        *one =
            Copy { alive: true, memory: 20.0, leaking: false, incarnation: one.incarnation + 1, started: now, ..*one };
        self.untold.push_back((copy, Told::Started(one.incarnation, now)));
        one.incarnation
    }

    pub fn has_dead_copy(&self) -> bool {
        self.copies.iter().any(|copy| !copy.alive)
    }

    /// Copies that are doomed die.
    pub fn meet_doom(&mut self, now: Moment) {
        for copy in 0..self.copies.len() {
            let one = &self.copies[copy];
            if one.alive && now < self.doomed_until && now >= one.started + DOOM {
                self.end(copy, false, now);
            }
        }
    }

    pub fn next(&self) -> Moment {
        let looks = self.looks.values().copied().filter(|_| !self.unwatched);
        let dooms = self.copies.iter().filter(|copy| copy.alive).map(|copy| copy.started + DOOM);
        looks.chain(dooms.filter(|doom| *doom < self.doomed_until)).min().unwrap_or(Moment::NEVER)
    }
}

impl Body {
    /// What the keeper has to tell of it.
    pub fn tell(&mut self, now: Moment, news: &mut News) {
        let name = self.spec.name.clone();
        while let Some((copy, told)) = self.untold.pop_front() {
            let replica = Replica::from(copy.to_string());
            match told {
                Told::Started(incarnation, at) => {
                    news.witnessed.push((at, name.clone(), Record::ProcessStarted { replica, incarnation, pid: 1 }));
                }
                Told::Ended(incarnation, wanted) => {
                    let status = Some(-9);
                    let record =
                        Record::ProcessExited { replica: replica.clone(), incarnation, pid: 1, status, wanted };
                    news.witnessed.push((now, name.clone(), record));
                    if !wanted {
                        let blank = Sample::new(name.clone(), ProbeId::from(PROCESS_PROBE), now);
                        let (ok, fault) = (Some(false), Some("signal".into()));
                        let incarnation = Some(incarnation);
                        news.samples.push(Sample { ok, fault, incarnation, replica: Some(replica), ..blank });
                    }
                }
            }
        }
    }

    /// What its checks see, where they are due.
    pub fn look(&mut self, now: Moment, answers: bool, breakers: bool, quiet: bool, news: &mut News) {
        let due: Vec<ProbeId> = self.looks.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
        for id in due.into_iter().filter(|_| !self.unwatched) {
            let blank = Sample::new(self.spec.name.clone(), id.clone(), now);
            if id.as_str() == PROCESS_PROBE {
                let pace = if quiet && !self.has_dead_copy() { 5 } else { 1 };
                self.looks.insert(id, now + Duration::from_secs(pace));
                for (copy, one) in self.copies.iter_mut().enumerate() {
                    if one.leaking {
                        one.memory = (one.memory + 15.0).min(99.0);
                        one.leaking = one.memory < 99.0;
                    }
                    let aged = now.since(one.started) >= Duration::from_secs(1);
                    let incarnation = Some(one.incarnation);
                    let blank = Sample { incarnation, replica: Some(Replica::from(copy.to_string())), ..blank.clone() };
                    news.samples.push(match one.alive {
                        true => Sample { ok: aged.then_some(true), memory: Some(one.memory), ..blank },
                        false => Sample { ok: Some(false), fault: Some("missing".into()), ..blank },
                    });
                }
                continue;
            }
            let Some(probe) = self.spec.probes.iter().find(|probe| probe.id == id) else {
                self.looks.remove(&id);
                continue;
            };
            let wavers = now < self.wavers_until && self.verdicts.back() == Some(&true);
            let ok = answers && !wavers;
            let runs = self.copies.is_empty() || self.copies.iter().any(|copy| copy.alive);
            let fault = (!ok).then(|| if runs { "status".into() } else { "refused".into() });
            let incarnation = match self.copies.as_slice() {
                [only] => Some(only.incarnation),
                _ => None,
            };
            news.samples.push(Sample { ok: Some(ok), fault, incarnation, ..blank });
            self.seen.insert(id.clone(), (now, ok));
            self.passed |= ok;
            self.verdicts.push_back(ok);
            while self.verdicts.len() > 21 {
                self.verdicts.pop_front();
            }
            let pause = self.circuit.hear(ok, now, probe.period, breakers);
            self.looks.insert(id, now + pause);
        }
    }
}

impl Circuit {
    /// Takes in a verdict; returns when the next look comes.
    fn hear(&mut self, ok: bool, now: Moment, period: Duration, works: bool) -> Duration {
        self.open_until = None;
        self.failures = if ok { 0 } else { self.failures + 1 };
        if ok {
            self.openings = 0;
        }
        if !works || self.failures < OPENS {
            return period;
        }
        let open = OPEN_MAX.min(Duration::from_secs(1 << self.openings.min(8))).max(period);
        self.openings += 1;
        self.open_until = Some(now + open);
        open
    }
}
