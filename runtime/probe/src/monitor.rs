//! What the checks of one service mean together: its circuit, its health in one word, and which life of it they saw.
//!
//! How things count:
//! - Every failed check counts towards the circuit. A passed one counts only while no other check of the service is failing,
//!   so that a healthy port does not hide a failing page. The process probe and exits never count: they load nobody. Nor do
//!   startup probes: what they are for is failing for a while.
//! - A refused connection is tried again at once when the check before had passed. Both refusals become samples, the check
//!   counts once; if the second try passes, the first is a sample without a verdict.
//! - While a service starts, until a check's first success or the startup deadline, its failures are samples without verdict.
//! - A check that began before something was done to the service (or before its new life) becomes a sample and no more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heald_breaker::{Admission, Move};
use heald_engine::ports::Pulse;
use heald_model::{Breaker, Health, Moment, PROCESS_PROBE, ProbeId, Replica, Role, Sample, ServiceName};
use tokio::sync::watch;

use crate::prepared::Plan;
use crate::prober::Outside;
use crate::result::{Look, UNABLE, ending};
use crate::state::{Standing, View};

/// Something about a service changed. It is in the log already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its health.
    Health {
        /// The service.
        service: ServiceName,
        /// When.
        at: Moment,
        /// What it was.
        from: Health,
        /// What it is.
        to: Health,
        /// What the last check said, if it failed.
        why: Option<String>,
    },
    /// Its circuit.
    Breaker {
        /// The service.
        service: ServiceName,
        /// When.
        at: Moment,
        /// What it was.
        from: Breaker,
        /// What it is.
        to: Breaker,
        /// Why.
        why: String,
    },
}

/// One configured check, made ready.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) id: ProbeId,
    pub(crate) role: Role,
    pub(crate) plan: Plan,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) initial_delay: Duration,
}

/// Tells the timers of a service that things are not as they were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Call {
    /// A new life: each check's initial delay applies.
    pub(crate) delayed: bool,
}

/// One service, and what is known of it.
pub(crate) struct Watched {
    pub(crate) service: ServiceName,
    pub(crate) probes: Vec<Arc<Probe>>,
    /// How often its processes are measured, if heald runs them.
    pub(crate) process: Option<Duration>,
    pub(crate) calls: watch::Sender<Call>,
    pub(crate) outside: Outside,
    replicas: u32,
    startup: Duration,
    state: Mutex<Standing>,
}

/// A check that was let through.
#[derive(Clone, Copy)]
struct Begun {
    at: Moment,
    incarnation: Option<u64>,
    turn: u64,
    /// A refusal would be news.
    fresh: bool,
}

/// Whose sample it is, and what it saw.
struct Seen {
    begun: Begun,
    look: Look,
}

impl Watched {
    pub(crate) fn new(service: crate::prober::ServiceProbes, outside: Outside) -> Self {
        let probes = service.probes.iter().map(|config| {
            Arc::new(Probe {
                id: config.probe(),
                role: config.role,
                plan: Plan::best(config),
                period: config.period,
                timeout: config.timeout,
                initial_delay: config.initial_delay,
            })
        });
        // What heald runs itself is not up yet.
        let starting = if service.process.is_some() { outside.clock.now() + service.startup } else { Moment::EPOCH };
        let probed = service.probes.iter().any(|config| config.role != Role::Metrics);
        Self {
            probes: probes.collect(),
            process: service.process,
            calls: watch::Sender::new(Call::default()),
            replicas: service.replicas,
            startup: service.startup,
            state: Mutex::new(Standing { probed, ..Standing::new(service.breaker, starting) }),
            service: service.service,
            outside,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How its checks went.
    pub(crate) fn pulse(&self) -> Pulse {
        let state = self.lock();
        Pulse { breaker: state.circuit.state(), ..state.pulse.clone() }
    }

    /// Its circuit.
    pub(crate) fn breaker(&self) -> Breaker {
        self.lock().circuit.state()
    }

    /// Whether a check is not to be made for now: the service is held, or starting, or has started.
    pub(crate) fn rests(&self, probe: &Probe) -> bool {
        let state = self.lock();
        match probe.role {
            _ if state.held => true,
            Role::Startup => state.view(&probe.id).is_some_and(|view| view.passed),
            Role::Liveness | Role::Readiness | Role::Metrics => self
                .probes
                .iter()
                .filter(|probe| probe.role == Role::Startup)
                .any(|probe| !state.view(&probe.id).is_some_and(|view| view.passed)),
        }
    }

    /// Whether the service's processes are not to be looked at for now.
    pub(crate) fn held(&self) -> bool {
        self.lock().held
    }

    /// How long until this check is made again while the service starts; None: it has started.
    pub(crate) fn eager(&self, probe: &Probe) -> Option<Duration> {
        let now = self.outside.clock.now();
        (probe.role != Role::Metrics && self.lock().excuses(&probe.id, now))
            .then(|| probe.period.min(probe.plan.eagerness()))
    }

    /// Makes one check, if the circuit lets it through.
    pub(crate) async fn check(&self, probe: &Probe) {
        let Some(begun) = self.begin(probe) else { return };
        let look = probe.plan.look(probe.timeout).await;
        if !(begun.fresh && look.refused()) {
            self.finish(probe, Seen { begun, look });
            return;
        }
        let at = self.outside.clock.now();
        let again = probe.plan.look(probe.timeout).await;
        let ok = if again.ok == Some(true) { None } else { look.ok };
        self.send(self.sample(probe, &begun, Look { ok, ..look }));
        self.finish(probe, Seen { begun: Begun { at, ..begun }, look: again });
    }

    fn begin(&self, probe: &Probe) -> Option<Begun> {
        let now = self.outside.clock.now();
        let mut state = self.lock();
        if state.held {
            return None;
        }
        let let_through = match state.circuit.admit(now) {
            Admission::Check(moved) => {
                self.moved(moved, now);
                true
            }
            Admission::Skip => false,
        };
        if state.suspended == let_through {
            state.suspended = !let_through;
            // While a trial is under way, the word stays.
            if !let_through {
                self.refresh(&mut state, now);
            }
        }
        let fresh = !state.excuses(&probe.id, now) && state.view(&probe.id).is_none_or(|v| v.verdict != Some(false));
        let_through.then_some(Begun { at: now, incarnation: state.incarnation, turn: state.turn, fresh })
    }

    fn finish(&self, probe: &Probe, seen: Seen) {
        let Seen { begun, look } = seen;
        let now = self.outside.clock.now();
        let mut state = self.lock();
        let excused = probe.role == Role::Metrics || state.excuses(&probe.id, begun.at);
        let mut sample = self.sample(probe, &begun, look);
        if probe.role == Role::Metrics || (excused && sample.ok == Some(false)) {
            sample.ok = None;
        }
        if begun.turn == state.turn && !state.held {
            state.pulse.last_check = Some(begun.at);
            state.measured(&sample);
            if let Some(ok) = sample.ok {
                let roll = self.outside.entropy.roll();
                let counted = state.count(ok, &sample) && probe.role != Role::Startup;
                if counted {
                    state.tried = true;
                    let moved = state.circuit.record(ok, now, roll);
                    self.moved(moved, now);
                }
                let opens_gate = state.saw(&sample, ok) && probe.role == Role::Startup;
                self.refresh(&mut state, now);
                if opens_gate {
                    self.calls.send_replace(Call::default());
                }
            }
        }
        self.complain(&sample);
        self.send(sample);
    }

    /// The service's processes were looked at. `alive` is what is known of one: true after it lived long enough.
    pub(crate) fn measured(&self, sample: Sample) {
        let now = self.outside.clock.now();
        let mut state = self.lock();
        let key = (sample.probe.clone(), sample.replica.clone());
        let ended = state.views.get(&key).map_or(0, |view| view.ended);
        if state.held || sample.incarnation.is_some_and(|incarnation| incarnation <= ended) {
            return; // It ended while it was looked at.
        }
        if self.probes.is_empty() {
            state.pulse.last_check = Some(sample.at);
        }
        state.measured(&sample);
        if let Some(ok) = sample.ok {
            if self.probes.is_empty() {
                state.tally(ok);
            }
            state.saw(&sample, ok);
            self.refresh(&mut state, now);
        }
        drop(state);
        self.send(sample);
    }

    /// A process ended: a fact, told at once.
    pub(crate) fn exited(&self, replica: &Replica, incarnation: u64, status: i32, at: Moment) {
        let now = self.outside.clock.now();
        let mut sample = Sample::new(self.service.clone(), ProbeId::from(PROCESS_PROBE), at);
        sample.replica = self.replica(replica);
        sample.incarnation = Some(incarnation);
        sample.fault = Some(if status < 0 { "signal" } else { "exit" }.to_owned());
        sample.message = Some(ending(status));
        sample.status = Some(status);
        let mut state = self.lock();
        sample.ok = (!state.held).then_some(false);
        let view = state.views.entry((sample.probe.clone(), sample.replica.clone())).or_default();
        let news = view.ended < incarnation;
        view.ended = view.ended.max(incarnation);
        if news && !state.held {
            if self.probes.is_empty() {
                state.tally(false);
            }
            state.saw(&sample, false);
            self.refresh(&mut state, now);
        }
        drop(state);
        self.complain(&sample);
        self.send(sample);
    }

    /// Something was done to the service.
    pub(crate) fn expect(&self, incarnation: Option<u64>) {
        let now = self.outside.clock.now();
        let mut state = self.lock();
        state.turn += 1;
        let fresh = incarnation.is_some() && incarnation != state.incarnation;
        if fresh {
            state.incarnation = incarnation;
            state.begin_life(now + self.startup);
        }
        // A circuit that never counted anything has nothing to try again.
        if state.tried {
            let moved = state.circuit.half_open();
            self.moved(moved, now);
        }
        if std::mem::take(&mut state.suspended) {
            self.refresh(&mut state, now);
        }
        self.calls.send_replace(Call { delayed: fresh });
    }

    /// Stops looking, or looks again.
    pub(crate) fn hold(&self, held: bool) {
        let now = self.outside.clock.now();
        let mut state = self.lock();
        if state.held == held {
            return;
        }
        state.held = held;
        state.turn += 1;
        state.suspended = false;
        if held {
            // What it was does not matter any more, and its being down is no fault.
            for view in state.views.values_mut() {
                *view = View { ended: view.ended, ..View::default() };
            }
            state.pulse.consecutive_failures = 0;
        } else {
            if self.process.is_some() {
                state.begin_life(now + self.startup);
            }
            if state.circuit.state() == Breaker::Open {
                let moved = state.circuit.half_open();
                self.moved(moved, now);
            }
        }
        self.refresh(&mut state, now);
        self.calls.send_replace(Call { delayed: !held });
    }

    /// Forgets copies that are no more.
    pub(crate) fn retain(&self, replicas: &[Option<Replica>]) {
        let now = self.outside.clock.now();
        let mut state = self.lock();
        let before = state.views.len();
        state.views.retain(|(probe, replica), _| probe.as_str() != PROCESS_PROBE || replicas.contains(replica));
        if state.views.len() != before {
            self.refresh(&mut state, now);
        }
    }

    /// A copy's name in samples: none if there is but one.
    pub(crate) fn replica(&self, replica: &Replica) -> Option<Replica> {
        (self.replicas > 1).then(|| replica.clone())
    }

    fn sample(&self, probe: &Probe, begun: &Begun, look: Look) -> Sample {
        Sample {
            incarnation: begun.incarnation,
            ok: look.ok,
            fault: look.fault.map(str::to_owned),
            message: look.message,
            reported: look.answer.reported,
            // Whole microseconds: more is noise, and what is stored is what was judged.
            latency: look
                .latency
                .map(|took| Duration::from_micros(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))),
            status: look.status,
            cpu: look.answer.cpu,
            memory: look.answer.memory,
            error_rate: look.answer.error_rate,
            values: look.answer.values,
            ..Sample::new(self.service.clone(), probe.id.clone(), begun.at)
        }
    }

    fn send(&self, sample: Sample) {
        // Nobody listens any more: heald is ending.
        let _ = self.outside.samples.send(sample);
    }

    /// One line for every failed check.
    fn complain(&self, sample: &Sample) {
        let Some(message) = &sample.message else { return };
        // That heald itself cannot look is no verdict, and somebody must know.
        if sample.ok == Some(false) || sample.fault.as_deref() == Some(UNABLE) {
            tracing::warn!("{}: {message}", self.service);
        } else {
            tracing::debug!("{}: no verdict: {message}", self.service);
        }
    }

    fn moved(&self, moved: Option<Move>, at: Moment) {
        let Some(Move { from, to, why }) = moved else { return };
        let service = self.service.clone();
        if to == Breaker::Open {
            tracing::warn!("{service}: {from} -> {to} ({why})");
        } else {
            tracing::info!("{service}: {from} -> {to} ({why})");
        }
        let _ = self.outside.changes.send(Change::Breaker { service, at, from, to, why: why.to_string() });
    }

    /// Says in one word how things stand, and tells if that is a new word.
    fn refresh(&self, state: &mut Standing, at: Moment) {
        let (to, why) = state.stand();
        let from = std::mem::replace(&mut state.pulse.health, to);
        state.pulse.error.clone_from(&why);
        if from == to {
            return;
        }
        let service = self.service.clone();
        let reason = why.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
        if to == Health::Unhealthy || to == Health::CircuitOpen {
            tracing::warn!("{service}: {from} -> {to}{reason}");
        } else {
            tracing::info!("{service}: {from} -> {to}{reason}");
        }
        let _ = self.outside.changes.send(Change::Health { service, at, from, to, why });
    }
}
