//! One monitored service: it combines the results of all checks into the circuit, the health and the current incarnation.
//!
//! The rules:
//! - Every failed check counts towards the circuit. A passed check counts only while no other check of the service fails, so
//!   that a healthy port does not hide a failing page. The process probe and exits never count, because they put no load on
//!   the service. Startup probes never count either, because they are expected to fail for a while.
//! - When a connection is refused and the previous check had passed, the check is repeated at once. The second look replaces the
//!   first, which becomes a sample without a verdict: one check is one failure.
//! - While a service starts, a failed check is a sample without a verdict. This ends with the check's first success or at the
//!   startup deadline.
//! - A check that began before an action, or before a new incarnation, becomes a sample and changes nothing else.
//!
//! This module decides no schedule and makes no decision about a failing service.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heald_breaker::{Admission, Transition};
use heald_control::ProbeStatus;
use heald_model::{Breaker, Health, Moment, PROCESS_PROBE, ProbeId, Replica, Role, Sample, ServiceName};
use tokio::sync::watch;

use crate::ports::{ProberPorts, StatusChange};
use crate::prepared::PreparedCheck;
use crate::result::{CheckResult, UNABLE, ending};
use crate::service::ServiceProbes;
use crate::state::{CheckView, METRICS, ProbeState};

/// One configured probe, ready to run.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) id: ProbeId,
    pub(crate) role: Role,
    pub(crate) check: PreparedCheck,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) initial_delay: Duration,
}

/// Tells the timers of a service to begin a new schedule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ScheduleReset {
    /// The service has a new incarnation, so each probe waits its initial delay.
    pub(crate) delayed: bool,
}

/// One service with its probes and the state that their checks made.
pub(crate) struct MonitoredService {
    pub(crate) service: ServiceName,
    pub(crate) probes: Vec<Arc<Probe>>,
    /// How often the processes are measured; `None` if heald does not run them.
    pub(crate) process: Option<Duration>,
    pub(crate) resets: watch::Sender<ScheduleReset>,
    pub(crate) ports: ProberPorts,
    replicas: u32,
    startup: Duration,
    state: Mutex<ProbeState>,
}

/// A check that the circuit admitted.
#[derive(Clone, Copy)]
struct StartedCheck {
    at: Moment,
    incarnation: Option<u64>,
    generation: u64,
    /// The probe was not failing before, so a refused connection is worth a second try.
    fresh: bool,
}

/// A check that has ended, with its result.
struct FinishedCheck {
    started: StartedCheck,
    result: CheckResult,
}

impl MonitoredService {
    pub(crate) fn new(service: ServiceProbes, ports: ProberPorts) -> Self {
        let probes = service.probes.iter().map(|config| {
            Arc::new(Probe {
                id: config.probe(),
                role: config.role,
                check: PreparedCheck::new_or_broken(config),
                period: config.period,
                timeout: config.timeout,
                initial_delay: config.initial_delay,
            })
        });
        // A service that heald runs itself has yet to start.
        let starting = if service.process.is_some() { ports.clock.now() + service.startup } else { Moment::EPOCH };
        let probed = service.probes.iter().any(|config| config.role != Role::Metrics);
        Self {
            probes: probes.collect(),
            process: service.process,
            resets: watch::Sender::new(ScheduleReset::default()),
            replicas: service.replicas,
            startup: service.startup,
            state: Mutex::new(ProbeState { probed, ..ProbeState::new(service.breaker, starting) }),
            service: service.service,
            ports,
        }
    }

    fn lock(&self) -> MutexGuard<'_, ProbeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts, the health and the newest metrics of the service.
    pub(crate) fn pulse(&self) -> ProbeStatus {
        let state = self.lock();
        ProbeStatus { breaker: state.circuit.state(), ..state.pulse.clone() }
    }

    /// The state of the circuit.
    pub(crate) fn breaker(&self) -> Breaker {
        self.lock().circuit.state()
    }

    /// Whether a probe pauses: the service is held, the startup probes have yet to pass, or this startup probe has passed.
    pub(crate) fn is_paused(&self, probe: &Probe) -> bool {
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

    /// Whether the service is held, so that nothing is checked.
    pub(crate) fn held(&self) -> bool {
        self.lock().held
    }

    /// The period of a probe while the service starts; `None` once it has started.
    pub(crate) fn startup_period(&self, probe: &Probe) -> Option<Duration> {
        let now = self.ports.clock.now();
        (probe.role != Role::Metrics && self.lock().excuses(&probe.id, now))
            .then(|| probe.period.min(probe.check.startup_period()))
    }

    /// Makes one check, if the circuit admits it.
    pub(crate) async fn check(&self, probe: &Probe) {
        let Some(started) = self.begin(probe) else { return };
        let result = probe.check.run(probe.timeout).await;
        if !(started.fresh && result.refused()) {
            self.finish(probe, FinishedCheck { started, result });
            return;
        }
        let at = self.ports.clock.now();
        let again = probe.check.run(probe.timeout).await;
        self.send(self.sample(probe, &started, CheckResult { ok: None, ..result }));
        self.finish(probe, FinishedCheck { started: StartedCheck { at, ..started }, result: again });
    }

    fn begin(&self, probe: &Probe) -> Option<StartedCheck> {
        let now = self.ports.clock.now();
        let mut state = self.lock();
        if state.held {
            return None;
        }
        let let_through = match state.circuit.admit(now) {
            Admission::Check(transition) => {
                self.report_transition(transition, now);
                true
            }
            Admission::Skip => false,
        };
        if state.suspended == let_through {
            state.suspended = !let_through;
            // While the circuit tries again, the health stays as it is until the check has a result.
            if !let_through {
                self.refresh_health(&mut state, now);
            }
        }
        let fresh = !state.excuses(&probe.id, now) && state.view(&probe.id).is_none_or(|v| v.verdict != Some(false));
        let_through.then_some(StartedCheck {
            at: now,
            incarnation: state.incarnation,
            generation: state.generation,
            fresh,
        })
    }

    fn finish(&self, probe: &Probe, finished: FinishedCheck) {
        let FinishedCheck { started, result } = finished;
        let now = self.ports.clock.now();
        let mut state = self.lock();
        let excused = probe.role == Role::Metrics || state.excuses(&probe.id, started.at);
        let mut sample = self.sample(probe, &started, result);
        if probe.role == Role::Metrics || (excused && sample.ok == Some(false)) {
            sample.ok = None;
        }
        if started.generation == state.generation && !state.held {
            state.pulse.last_check = Some(started.at);
            if state.keep_metrics(&sample) {
                let told = format!(
                    "the service reports ever new names of metrics; the newest {METRICS} are kept, and the oldest are forgotten"
                );
                tracing::warn!("{}: {told}", self.service);
                sample.message.get_or_insert(told);
            }
            if let Some(ok) = sample.ok {
                let roll = self.ports.entropy.roll();
                let counted = state.count(ok, &sample) && probe.role != Role::Startup;
                if counted {
                    state.tried = true;
                    let transition = state.circuit.record(ok, now, roll);
                    self.report_transition(transition, now);
                }
                let opens_gate = state.keep_verdict(&sample, ok) && probe.role == Role::Startup;
                self.refresh_health(&mut state, now);
                if opens_gate {
                    self.resets.send_replace(ScheduleReset::default());
                }
            }
        }
        self.log_failure(&sample);
        self.send(sample);
    }

    /// Takes in a measurement of a process. Its `ok` is true once the process has lived long enough.
    pub(crate) fn measured(&self, sample: Sample) {
        let now = self.ports.clock.now();
        let mut state = self.lock();
        let key = (sample.probe.clone(), sample.replica.clone());
        let ended = state.views.get(&key).map_or(0, |view| view.ended);
        if state.held || sample.incarnation.is_some_and(|incarnation| incarnation <= ended) {
            return; // The process ended while it was measured.
        }
        if self.probes.is_empty() {
            state.pulse.last_check = Some(sample.at);
        }
        state.keep_metrics(&sample);
        if let Some(ok) = sample.ok {
            if self.probes.is_empty() {
                state.count_process(ok);
            }
            state.keep_verdict(&sample, ok);
            self.refresh_health(&mut state, now);
        }
        drop(state);
        self.send(sample);
    }

    /// Takes in the exit of a process. The sample is sent before this returns.
    pub(crate) fn exited(&self, replica: &Replica, incarnation: u64, status: i32, at: Moment) {
        let now = self.ports.clock.now();
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
                state.count_process(false);
            }
            state.keep_verdict(&sample, false);
            self.refresh_health(&mut state, now);
        }
        drop(state);
        self.log_failure(&sample);
        self.send(sample);
    }

    /// An action was performed on the service, or it has a new incarnation.
    pub(crate) fn expect(&self, incarnation: Option<u64>) {
        let now = self.ports.clock.now();
        let mut state = self.lock();
        state.generation += 1;
        let fresh = incarnation.is_some() && incarnation != state.incarnation;
        if fresh {
            state.incarnation = incarnation;
            state.begin_life(now + self.startup);
        }
        // A circuit that has counted no verdict stays closed.
        if state.tried {
            let transition = state.circuit.half_open();
            self.report_transition(transition, now);
        }
        if std::mem::take(&mut state.suspended) {
            self.refresh_health(&mut state, now);
        }
        self.resets.send_replace(ScheduleReset { delayed: fresh });
    }

    /// Stops all checks of the service, or starts them again.
    pub(crate) fn hold(&self, held: bool) {
        let now = self.ports.clock.now();
        let mut state = self.lock();
        if state.held == held {
            return;
        }
        state.held = held;
        state.generation += 1;
        state.suspended = false;
        if held {
            // A held service may be down, so its verdicts are dropped.
            for view in state.views.values_mut() {
                *view = CheckView { ended: view.ended, ..CheckView::default() };
            }
            state.pulse.consecutive_failures = 0;
        } else {
            if self.process.is_some() {
                state.begin_life(now + self.startup);
            }
            if state.circuit.state() == Breaker::Open {
                let transition = state.circuit.half_open();
                self.report_transition(transition, now);
            }
        }
        self.refresh_health(&mut state, now);
        self.resets.send_replace(ScheduleReset { delayed: !held });
    }

    /// Drops the verdicts of replicas that no longer exist.
    pub(crate) fn retain(&self, replicas: &[Option<Replica>]) {
        let now = self.ports.clock.now();
        let mut state = self.lock();
        let before = state.views.len();
        state.views.retain(|(probe, replica), _| probe.as_str() != PROCESS_PROBE || replicas.contains(replica));
        if state.views.len() != before {
            self.refresh_health(&mut state, now);
        }
    }

    /// The replica as samples name it; `None` if the service has only one.
    pub(crate) fn replica(&self, replica: &Replica) -> Option<Replica> {
        (self.replicas > 1).then(|| replica.clone())
    }

    fn sample(&self, probe: &Probe, started: &StartedCheck, result: CheckResult) -> Sample {
        Sample {
            incarnation: started.incarnation,
            ok: result.ok,
            fault: result.fault.map(str::to_owned),
            message: result.message,
            reported: result.body.reported,
            // Whole microseconds, so that the stored value is the judged value.
            latency: result
                .latency
                .map(|took| Duration::from_micros(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))),
            status: result.status,
            cpu: result.body.cpu,
            memory: result.body.memory,
            error_rate: result.body.error_rate,
            values: result.body.values,
            ..Sample::new(self.service.clone(), probe.id.clone(), started.at)
        }
    }

    fn send(&self, sample: Sample) {
        self.ports.samples.send(sample);
    }

    /// Logs one line for every failed check.
    fn log_failure(&self, sample: &Sample) {
        let Some(message) = &sample.message else { return };
        // A check that heald could not make has no verdict, but the operator must know.
        if sample.ok == Some(false) || sample.fault.as_deref() == Some(UNABLE) {
            tracing::warn!("{}: {message}", self.service);
        } else {
            tracing::debug!("{}: no verdict: {message}", self.service);
        }
    }

    fn report_transition(&self, transition: Option<Transition>, at: Moment) {
        let Some(Transition { from, to, why }) = transition else { return };
        let service = self.service.clone();
        if to == Breaker::Open {
            tracing::warn!("{service}: {from} -> {to} ({why})");
        } else {
            tracing::info!("{service}: {from} -> {to} ({why})");
        }
        let _ = self.ports.changes.send(StatusChange::Breaker { service, at, from, to, why: why.to_string() });
    }

    /// Computes the health again and reports a change.
    fn refresh_health(&self, state: &mut ProbeState, at: Moment) {
        let (to, why) = state.health();
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
        let _ = self.ports.changes.send(StatusChange::Health { service, at, from, to, why });
    }
}
