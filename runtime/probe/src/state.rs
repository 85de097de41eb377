//! How a service stands, by what its checks said: counts, the last word of each, and the health that follows. Pure; who holds the
//! lock, asks the clock and tells the world is [`crate::watch`].

use std::collections::BTreeMap;

use heald_breaker::{BreakerConfig, Circuit};
use heald_engine::ports::Pulse;
use heald_model::{Health, Moment, PROCESS_PROBE, ProbeId, Replica, Sample};

/// How a service stands.
pub(crate) struct Standing {
    pub(crate) circuit: Circuit,
    pub(crate) pulse: Pulse,
    pub(crate) views: BTreeMap<(ProbeId, Option<Replica>), View>,
    /// Counts what was done to the service; a check belongs to the turn in which it began.
    pub(crate) turn: u64,
    pub(crate) incarnation: Option<u64>,
    /// Until when it may be starting.
    pub(crate) starting: Moment,
    pub(crate) held: bool,
    /// A check was skipped, and none was let through since.
    pub(crate) suspended: bool,
    /// The circuit has counted a verdict.
    pub(crate) tried: bool,
    /// There are checks to pass beside being alive.
    pub(crate) probed: bool,
}

/// What one probe (of one replica) said last.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) verdict: Option<bool>,
    pub(crate) at: Moment,
    pub(crate) message: Option<String>,
    /// It passed once in this life.
    pub(crate) passed: bool,
    /// The newest life of a process that is known to be over.
    pub(crate) ended: u64,
}

impl Standing {
    /// Of a service that may be starting until then.
    pub(crate) fn new(breaker: BreakerConfig, starting: Moment) -> Self {
        Self {
            circuit: Circuit::new(breaker),
            pulse: Pulse::default(),
            views: BTreeMap::new(),
            turn: 0,
            incarnation: None,
            starting,
            held: false,
            suspended: false,
            tried: false,
            probed: false,
        }
    }

    pub(crate) fn view(&self, probe: &ProbeId) -> Option<&View> {
        self.views.get(&(probe.clone(), None))
    }

    /// Whether a failure of this check at that time is excused, because the service may still be starting.
    pub(crate) fn excuses(&self, probe: &ProbeId, at: Moment) -> bool {
        at < self.starting && !self.view(probe).is_some_and(|view| view.passed)
    }

    pub(crate) fn begin_life(&mut self, deadline: Moment) {
        self.starting = deadline;
        for view in self.views.values_mut() {
            view.passed = false;
        }
    }

    /// Counts a configured check's verdict. False: it passed while another is failing, so it ends no row of failures.
    pub(crate) fn count(&mut self, ok: bool, sample: &Sample) -> bool {
        self.pulse.total_checks += 1;
        if !ok {
            self.pulse.consecutive_failures += 1;
            return true;
        }
        self.pulse.successful_checks += 1;
        self.pulse.response_time = sample.latency.or(self.pulse.response_time);
        let others = self.views.iter().any(|((probe, _), view)| {
            *probe != sample.probe && probe.as_str() != PROCESS_PROBE && view.verdict == Some(false)
        });
        if !others {
            self.pulse.consecutive_failures = 0;
        }
        !others
    }

    /// Counts a look at a process, where there is nothing else to count.
    pub(crate) fn tally(&mut self, ok: bool) {
        self.pulse.total_checks += 1;
        self.pulse.successful_checks += u64::from(ok);
        self.pulse.consecutive_failures = if ok { 0 } else { self.pulse.consecutive_failures + 1 };
    }

    /// Keeps a verdict. True if it is the first success of this life.
    pub(crate) fn saw(&mut self, sample: &Sample, ok: bool) -> bool {
        let view = self.views.entry((sample.probe.clone(), sample.replica.clone())).or_default();
        view.verdict = Some(ok);
        view.at = sample.at;
        view.message.clone_from(&sample.message);
        let first = ok && !view.passed;
        view.passed |= ok;
        first
    }

    /// Keeps the newest metrics.
    pub(crate) fn measured(&mut self, sample: &Sample) {
        let named = [("cpu", sample.cpu), ("memory", sample.memory), ("error_rate", sample.error_rate)];
        let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        self.pulse.metrics.extend(named);
        self.pulse.metrics.extend(sample.values.iter().map(|(name, value)| (name.clone(), *value)));
    }

    pub(crate) fn stand(&self) -> (Health, Option<String>) {
        if self.held {
            return (Health::Unknown, None);
        }
        if self.suspended {
            let count = self.circuit.tripped_by();
            let failures = if count == 1 { "failure" } else { "failures" };
            return (Health::CircuitOpen, Some(format!("Circuit open due to {count} consecutive {failures}")));
        }
        let failing = self.views.values().filter(|view| view.verdict == Some(false)).max_by_key(|view| view.at);
        if let Some(failing) = failing {
            return (Health::Unhealthy, failing.message.clone());
        }
        // A process that merely lives has passed none of the checks that it was given.
        let counts = |probe: &ProbeId| !self.probed || probe.as_str() != PROCESS_PROBE;
        let passed = self.views.iter().any(|((probe, _), view)| counts(probe) && view.verdict == Some(true));
        (if passed { Health::Healthy } else { Health::Unknown }, None)
    }
}
