//! A ward: one service in the engine's care, with all that is known of it now.
//!
//! State lives behind one short lock that is never held over an await. Incidents change by journal entries alone
//! ([`State::apply`]), so what is in memory is always what the journal would give back.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heald_model::{
    Attempt, Concern, Entry, Incident, IncidentId, Intent, IntentId, Moment, PluginName, Sample, ServiceSpec,
    ServiceView, Source,
};
use tokio::sync::watch;

use crate::agreement::Outline;
use crate::cast::Cast;
use crate::ports::Blob;
use crate::shown::{Seen, take_in};
use crate::verify::Trial;

/// Samples kept of each series, unless a detector's window asks for more.
const KEPT: usize = 60;
/// Never more than this, whatever is asked for.
const KEPT_AT_MOST: usize = 600;
/// Resolved incidents kept in memory, for reopening and as history for policies.
const REMEMBERED: usize = 16;
/// Lines of a timeline, and attempts, kept in memory of one incident: one that stays open for weeks must not grow for weeks. The
/// journal has all of them.
const LINES: usize = 64;
const ATTEMPTS: usize = 32;

/// A service with the plug-ins that were configured for it.
pub struct Charge {
    /// The service.
    pub spec: ServiceSpec,
    /// Who is asked about it.
    pub cast: Cast,
}

/// One service in the engine's care.
pub(crate) struct Ward {
    pub(crate) spec: ServiceSpec,
    cast: Mutex<Arc<Cast>>,
    /// One question to its shadows at a time.
    pub(crate) shadowing: tokio::sync::Mutex<()>,
    /// Counts the looks taken at this service; whoever waits for a change of it listens.
    pub(crate) bell: watch::Sender<u64>,
    state: Mutex<State>,
    up: AtomicU8,
    kept: AtomicUsize,
}

/// What is known of a service now.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) series: Seen,
    /// What its detectors remember of it, and what its policies do: one component may be both.
    pub(crate) memories: HashMap<PluginName, Blob>,
    pub(crate) deliberated: HashMap<PluginName, Blob>,
    /// All that holds now.
    pub(crate) concerns: Vec<Concern>,
    /// The detectors that said nothing when it was last looked: what they found before is neither confirmed nor over.
    pub(crate) silent: Vec<PluginName>,
    /// Open ones and the newest resolved ones.
    pub(crate) incidents: BTreeMap<IncidentId, Incident>,
    /// When each incident's condition was last seen to hold.
    pub(crate) held: BTreeMap<IncidentId, Moment>,
    pub(crate) trial: Option<Trial>,
    pub(crate) tending: bool,
    /// The incident whose next disruptive action an operator approved.
    pub(crate) approved: Option<IncidentId>,
    /// True once a sample was looked at: before that, what the journal says may be long over.
    pub(crate) observed: bool,
    /// The last decision put on record: its incident, after which attempt and return of it, and its words.
    pub(crate) decided: Option<(IncidentId, Option<IntentId>, u32, String)>,
    /// When a check last passed.
    pub(crate) passed: Option<Moment>,
    /// What each detector last found, in outline; and each shadow's side by side with the others'.
    pub(crate) found: HashMap<PluginName, Outline>,
    pub(crate) compared: HashMap<PluginName, (String, String)>,
    /// Looks since the tape's last checkpoint, and the service as it was last put on the tape.
    pub(crate) looks: u32,
    pub(crate) viewed: Option<ServiceView>,
    /// Others are asked since the last look.
    pub(crate) recast: bool,
}

impl Ward {
    pub(crate) fn new(charge: Charge) -> Self {
        let kept = AtomicUsize::new(charge.cast.widest().clamp(KEPT, KEPT_AT_MOST));
        Self {
            spec: charge.spec,
            cast: Mutex::new(Arc::new(charge.cast)),
            shadowing: tokio::sync::Mutex::default(),
            bell: watch::Sender::new(0),
            state: Mutex::default(),
            up: AtomicU8::new(0),
            kept,
        }
    }

    /// Who is asked now. Whoever holds it goes on with it, whatever becomes of the ward's.
    pub(crate) fn cast(&self) -> Arc<Cast> {
        Arc::clone(&self.cast.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on others are asked. What those remember who are asked no more is forgotten.
    pub(crate) fn recast(&self, cast: Cast) {
        self.kept.store(cast.widest().clamp(KEPT, KEPT_AT_MOST), Ordering::Relaxed);
        let cast = Arc::new(cast);
        *self.cast.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&cast);
        let names = cast.names();
        let mut state = self.lock();
        state.recast = true;
        state.memories.retain(|name, _| names.contains(name));
        state.deliberated.retain(|name, _| names.contains(name));
        state.found.retain(|name, _| names.contains(name));
        state.compared.clear();
    }

    /// So many samples are kept of each series.
    pub(crate) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held left plain data behind, not a broken invariant.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ring(&self) {
        self.bell.send_modify(|looks| *looks = looks.wrapping_add(1));
    }

    /// Whether the service serves; None: not known.
    pub(crate) fn up(&self) -> Option<bool> {
        match self.up.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(false),
            _ => Some(true),
        }
    }

    /// Notes whether it serves; true if it came back.
    pub(crate) fn set_up(&self, up: Option<bool>) -> bool {
        let now = up.map_or(0, |up| 1 + u8::from(up));
        let before = self.up.swap(now, Ordering::Relaxed);
        before == 1 && now == 2
    }

    /// Takes samples into their series.
    pub(crate) fn take_in(&self, samples: Vec<Sample>, now: Moment) {
        let mut state = self.lock();
        for sample in samples {
            if sample.ok == Some(true) {
                state.passed = Some(now);
            }
            if let Some(trial) = &mut state.trial {
                trial.hear(&sample);
            }
            take_in(&mut state.series, &self.spec.probes, sample, self.kept());
        }
    }

    /// What became of an intent so far, if it is in an incident.
    pub(crate) fn attempt(&self, intent: &Intent) -> Option<Attempt> {
        let state = self.lock();
        let incident = state.incidents.get(&intent.incident?)?;
        incident.attempts.iter().find(|attempt| attempt.intent.id == intent.id).cloned()
    }

    /// The open incident that leads: the worst, then the oldest.
    pub(crate) fn leading(&self) -> Option<Incident> {
        self.lock().leading().cloned()
    }

    /// The open incidents, the leading one first. None ends the tending, in the same breath, so that no incident falls between
    /// two tenders.
    pub(crate) fn to_tend(&self) -> Vec<Incident> {
        let mut state = self.lock();
        let open: Vec<Incident> = state.open().into_iter().cloned().collect();
        state.tending = !open.is_empty();
        open
    }

    /// True if somebody must start tending now; marks it as tended.
    pub(crate) fn claim(&self) -> bool {
        let mut state = self.lock();
        let needed = !state.tending && state.leading().is_some();
        state.tending |= needed;
        needed
    }
}

impl State {
    pub(crate) fn leading(&self) -> Option<&Incident> {
        self.incidents.values().filter(|incident| incident.is_open()).min_by(|a, b| rank(a, b))
    }

    /// The open incidents, the leading one first.
    pub(crate) fn open(&self) -> Vec<&Incident> {
        let mut open: Vec<&Incident> = self.incidents.values().filter(|incident| incident.is_open()).collect();
        open.sort_by(|a, b| rank(a, b));
        open
    }

    /// Takes in a journal entry of one of this service's incidents.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        let Some(id) = entry.incident else { return };
        match self.incidents.get_mut(&id) {
            Some(incident) => incident.apply(entry),
            None => {
                if let Some(incident) = Incident::open(entry) {
                    self.incidents.insert(id, incident);
                }
            }
        }
        if let Some(incident) = self.incidents.get_mut(&id) {
            let (lines, attempts) = (incident.timeline.len(), incident.attempts.len());
            incident.timeline.drain(..lines.saturating_sub(LINES));
            incident.attempts.drain(..attempts.saturating_sub(ATTEMPTS));
        }
        while self.incidents.len() > REMEMBERED {
            let oldest = self.incidents.values().filter(|i| !i.is_open()).min_by_key(|i| i.updated).map(|i| i.id);
            match oldest {
                Some(oldest) => self.forget(oldest),
                None => break,
            }
        }
    }

    /// A newer look at an incident, if it is still open and something of it still holds.
    pub(crate) fn still(&self, id: IncidentId) -> Option<&Incident> {
        self.incidents.get(&id).filter(|incident| incident.is_open() && !incident.concerns.is_empty())
    }

    /// True if a condition is only known from detectors that say nothing now.
    pub(crate) fn unconfirmed(&self, condition: &str) -> bool {
        let silent = |source: &Source| matches!(source, Source::Plugin(plugin) if self.silent.contains(&plugin.name));
        let mut known = self.concerns.iter().filter(|concern| concern.finding.condition == condition).peekable();
        known.peek().is_some() && known.all(|concern| silent(&concern.source))
    }

    fn forget(&mut self, id: IncidentId) {
        self.incidents.remove(&id);
        self.held.remove(&id);
    }
}

/// The worst first, then the oldest.
fn rank(a: &Incident, b: &Incident) -> std::cmp::Ordering {
    b.severity.cmp(&a.severity).then(a.opened.cmp(&b.opened))
}
