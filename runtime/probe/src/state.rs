//! The state of one monitored service: counts, the newest verdict of each probe, and the health that follows from them.
//!
//! It is pure: [`crate::monitor`] holds the lock, reads the clock and reports changes.

use std::collections::{BTreeMap, BTreeSet};

use heald_breaker::{BreakerConfig, Circuit};
use heald_control::ProbeStatus;
use heald_model::{Health, Moment, PROCESS_PROBE, ProbeId, Replica, Sample};

/// The most metric names of a service that are kept. A check has 64 custom ones at most; with more names than this a service
/// makes up new ones, and would fill the memory with them.
pub(crate) const METRICS: usize = 256;

/// The state that the checks of a service made.
pub(crate) struct ProbeState {
    pub(crate) circuit: Circuit,
    pub(crate) pulse: ProbeStatus,
    pub(crate) views: BTreeMap<(ProbeId, Option<Replica>), CheckView>,
    /// When each metric was last seen, counted in samples: the ones that were not seen for longest go first.
    pub(crate) seen: BTreeMap<String, u64>,
    pub(crate) samples: u64,
    /// It was told that the service has too many metrics.
    pub(crate) told: bool,
    /// Counts actions, holds and releases. A check that began in an earlier generation changes nothing.
    pub(crate) generation: u64,
    pub(crate) incarnation: Option<u64>,
    /// The startup deadline.
    pub(crate) starting: Moment,
    pub(crate) held: bool,
    /// The circuit skipped a check and has admitted none since.
    pub(crate) suspended: bool,
    /// The circuit has counted a verdict.
    pub(crate) tried: bool,
    /// There are probes that give verdicts, besides the process probe.
    pub(crate) probed: bool,
}

/// The newest verdict of one probe, of one replica.
#[derive(Default)]
pub(crate) struct CheckView {
    pub(crate) verdict: Option<bool>,
    pub(crate) at: Moment,
    pub(crate) message: Option<String>,
    /// The probe has passed once in this incarnation.
    pub(crate) passed: bool,
    /// The newest incarnation of the process that has ended.
    pub(crate) ended: u64,
}

impl ProbeState {
    /// The state of a service whose startup deadline is `starting`.
    pub(crate) fn new(breaker: BreakerConfig, starting: Moment) -> Self {
        Self {
            circuit: Circuit::new(breaker),
            pulse: ProbeStatus::default(),
            views: BTreeMap::new(),
            seen: BTreeMap::new(),
            samples: 0,
            told: false,
            generation: 0,
            incarnation: None,
            starting,
            held: false,
            suspended: false,
            tried: false,
            probed: false,
        }
    }

    pub(crate) fn view(&self, probe: &ProbeId) -> Option<&CheckView> {
        self.views.get(&(probe.clone(), None))
    }

    /// Whether a failure of this probe at that time is excused, because the service may still be starting.
    pub(crate) fn excuses(&self, probe: &ProbeId, at: Moment) -> bool {
        at < self.starting && !self.view(probe).is_some_and(|view| view.passed)
    }

    pub(crate) fn begin_life(&mut self, deadline: Moment) {
        self.starting = deadline;
        for view in self.views.values_mut() {
            view.passed = false;
        }
    }

    /// Counts the verdict of a configured probe. Returns false if it passed while another probe fails, so that the failures in a
    /// row go on.
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

    /// Counts a verdict of the process probe, for a service without other probes.
    pub(crate) fn count_process(&mut self, ok: bool) {
        self.pulse.total_checks += 1;
        self.pulse.successful_checks += u64::from(ok);
        self.pulse.consecutive_failures = if ok { 0 } else { self.pulse.consecutive_failures + 1 };
    }

    /// Keeps a verdict. Returns true for the first success of this incarnation.
    pub(crate) fn keep_verdict(&mut self, sample: &Sample, ok: bool) -> bool {
        let view = self.views.entry((sample.probe.clone(), sample.replica.clone())).or_default();
        view.verdict = Some(ok);
        view.at = sample.at;
        view.message.clone_from(&sample.message);
        let first = ok && !view.passed;
        view.passed |= ok;
        first
    }

    /// Keeps the newest metrics. Returns true the first time that there are too many names: the oldest are then forgotten.
    pub(crate) fn keep_metrics(&mut self, sample: &Sample) -> bool {
        let named = [("cpu", sample.cpu), ("memory", sample.memory), ("error_rate", sample.error_rate)];
        let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        self.samples += 1;
        for (name, value) in named.chain(sample.values.iter().map(|(name, value)| (name.clone(), *value))) {
            self.seen.insert(name.clone(), self.samples);
            self.pulse.metrics.insert(name, value);
        }
        let over = self.seen.len().saturating_sub(METRICS);
        if over == 0 {
            return false;
        }
        let oldest: BTreeSet<(u64, String)> = self.seen.iter().map(|(name, at)| (*at, name.clone())).collect();
        for (_, name) in oldest.into_iter().take(over) {
            self.seen.remove(&name);
            self.pulse.metrics.remove(&name);
        }
        !std::mem::replace(&mut self.told, true)
    }

    /// The health of the service, and why it is unhealthy.
    pub(crate) fn health(&self) -> (Health, Option<String>) {
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
        // A process that merely lives has passed none of its configured probes.
        let counts = |probe: &ProbeId| !self.probed || probe.as_str() != PROCESS_PROBE;
        let passed = self.views.iter().any(|((probe, _), view)| counts(probe) && view.verdict == Some(true));
        (if passed { Health::Healthy } else { Health::Unknown }, None)
    }
}
