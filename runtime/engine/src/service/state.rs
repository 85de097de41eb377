//! What is known of a service now.
//!
//! Incidents change by journal entries alone ([`ServiceState::apply`]), so what is in memory is what the journal gives back.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use heald_model::{
    Attempt, Blob, Concern, Decision, Entry, Finding, Incident, IncidentId, Intent, IntentId, Moment, PROCESS_PROBE,
    PluginName, ProbeSpec, Role, Sample, Series, ServiceSpec, ServiceView, Severity, Source,
};

use crate::compare::FindingSet;
use crate::flapping::Flapping;
use crate::plugin_chain::PluginChain;
use crate::proof_window::ProofWindow;
use crate::sample_window::{self, SeriesMap, take_in};
use crate::service::inbox::WaitingOrder;

/// Resolved incidents kept in memory, for reopening and as history for policies.
const REMEMBERED: usize = 16;
/// Lines of a timeline, and attempts, kept in memory of one incident: one that stays open for weeks must not grow for weeks. The
/// journal has all of them.
const LINES: usize = 64;
const ATTEMPTS: usize = 32;

/// What was decided about an incident, and the question that it answers.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) question: QuestionKey,
    pub(crate) decision: Decision,
    /// When the policy wants to be asked again.
    pub(crate) again_at: Moment,
}

/// What makes a question another one: a policy is asked again when this changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QuestionKey {
    pub(crate) reopened: u32,
    /// Subject, severity and cause of each concern.
    pub(crate) concerns: Vec<(Option<String>, Severity, Option<String>)>,
    /// The newest attempt and whether it is settled.
    pub(crate) attempt: Option<(IntentId, bool)>,
    pub(crate) reset: Option<Moment>,
    /// The other open incidents.
    pub(crate) related: Vec<IncidentId>,
    /// Whether each dependency serves.
    pub(crate) dependencies: Vec<Option<bool>>,
    /// Counts the changes of plug-ins and settings.
    pub(crate) generation: u64,
}

/// What is known of a service now.
#[derive(Default)]
pub(crate) struct ServiceState {
    pub(crate) series: SeriesMap,
    /// So many samples are kept of each series.
    pub(crate) kept: usize,
    /// What its detectors remember of it, and what its policies do: one component may be both.
    pub(crate) memories: HashMap<PluginName, Blob>,
    pub(crate) deliberated: HashMap<PluginName, Blob>,
    /// All that holds now.
    pub(crate) concerns: Vec<Concern>,
    /// What held when heald was last there, until a check of the kind that found it passes: detectors that count failures in a row
    /// begin to count anew.
    pub(crate) recalled: Vec<Concern>,
    /// The detectors that gave no answer at the last look: what they found before is neither confirmed nor over.
    pub(crate) silent: Vec<PluginName>,
    /// Open ones and the newest resolved ones.
    pub(crate) incidents: BTreeMap<IncidentId, Incident>,
    /// When each incident's condition was last seen to hold.
    pub(crate) held: BTreeMap<IncidentId, Moment>,
    /// The proofs that are being waited for.
    pub(crate) proofs: BTreeMap<IntentId, ProofWindow>,
    /// Whether it serves; None: not known, or not wanted.
    pub(crate) up: Option<bool>,
    /// Orders whose turn has not come, oldest first.
    pub(crate) orders: VecDeque<WaitingOrder>,
    /// The incident whose next disruptive action an operator approved.
    pub(crate) approved: Option<IncidentId>,
    /// True once a sample was looked at: before that, what the journal says may be long over.
    pub(crate) observed: bool,
    /// The last decision about each open incident.
    pub(crate) decided: BTreeMap<IncidentId, Decided>,
    /// The last decision put on record about each open incident: after which attempt and return of it, and its words.
    pub(crate) noted: BTreeMap<IncidentId, (Option<IntentId>, u32, String)>,
    /// When a check last passed.
    pub(crate) passed: Option<Moment>,
    /// When a look was last asked for.
    pub(crate) look_asked: Option<Moment>,
    /// Whether its checks pass and fail in turn.
    pub(crate) flapping: Flapping,
    /// What each detector last found, in outline; and each shadow's side by side with the others'.
    pub(crate) found: HashMap<PluginName, FindingSet>,
    pub(crate) compared: HashMap<PluginName, (String, String)>,
    /// Looks since the tape's last checkpoint, and the service as it was last put on the tape.
    pub(crate) looks: u32,
    pub(crate) viewed: Option<ServiceView>,
    /// The plug-ins changed since the last look.
    pub(crate) plugins_changed: bool,
    /// Counts what makes every question another one: new plug-ins, new settings, an operator's order, a dependency's return.
    pub(crate) generation: u64,
    /// The service is no longer configured: nothing new is begun.
    pub(crate) ending: bool,
}

impl ServiceState {
    pub(crate) fn new(plugins: &PluginChain) -> Self {
        Self { kept: kept(plugins), ..Self::default() }
    }

    /// Takes over the incidents of an earlier life of heald. What the wall clock, if it was ahead then, put into the future, was now.
    pub(crate) fn recall(&mut self, incidents: Vec<Incident>, spec: &ServiceSpec, now: Moment) {
        for mut incident in incidents {
            incident.opened = incident.opened.min(now);
            incident.updated = incident.updated.min(now);
            incident.resolved = incident.resolved.map(|resolved| resolved.min(now));
            incident.reset = incident.reset.map(|reset| reset.min(now));
            incident.concerns.iter_mut().for_each(|concern| concern.since = concern.since.min(now));
            for attempt in &mut incident.attempts {
                attempt.intent.at = attempt.intent.at.min(now);
                attempt.receipt.iter_mut().for_each(|receipt| receipt.at = receipt.at.min(now));
            }
            if incident.is_open() {
                // What was down is taken to be down until a check says otherwise, and what a detector said stands until it answers
                // again.
                if incident.severity == Severity::Critical {
                    self.up = Some(false);
                }
                self.concerns.extend(incident.concerns.iter().cloned());
                let of_a_check = |concern: &&Concern| {
                    let subject = concern.finding.subject.as_deref();
                    spec.probes.iter().any(|probe| subject == Some(probe.id.as_str()))
                };
                self.recalled.extend(incident.concerns.iter().filter(of_a_check).cloned());
            }
            self.incidents.insert(incident.id, incident);
        }
    }

    /// The service is configured like this from now on: what probes and plug-ins of before said is forgotten.
    pub(crate) fn set_up(&mut self, spec: &ServiceSpec, plugins: &PluginChain) {
        self.series.retain(|(probe, _), _| {
            probe.as_str() == PROCESS_PROBE || spec.probes.iter().any(|configured| configured.id == *probe)
        });
        self.plugins_changed(plugins);
    }

    /// These plug-ins are asked from now on. What is remembered by those that are asked no more is forgotten.
    pub(crate) fn plugins_changed(&mut self, plugins: &PluginChain) {
        self.kept = kept(plugins);
        let names: BTreeSet<&PluginName> = plugins.names();
        self.plugins_changed = true;
        self.generation += 1;
        self.memories.retain(|name, _| names.contains(name));
        self.deliberated.retain(|name, _| names.contains(name));
        self.found.retain(|name, _| names.contains(name));
        self.compared.clear();
    }

    /// Takes samples into their series.
    pub(crate) fn take_in(&mut self, samples: Vec<Sample>, probes: &[ProbeSpec], now: Moment) {
        for sample in samples {
            if sample.ok == Some(true) {
                self.passed = Some(now);
            }
            self.proofs.values_mut().for_each(|proof| proof.hear(&sample));
            take_in(&mut self.series, probes, sample, self.kept);
        }
    }

    /// What became of an intent so far, if it is in an incident.
    pub(crate) fn attempt(&self, intent: &Intent) -> Option<Attempt> {
        let incident = self.incidents.get(&intent.incident?)?;
        incident.attempts.iter().find(|attempt| attempt.intent.id == intent.id).cloned()
    }

    /// The open incident that leads: the worst, then the oldest.
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
            if !incident.is_open() {
                self.decided.remove(&id);
                self.noted.remove(&id);
            }
        }
        while self.incidents.len() > REMEMBERED {
            let oldest = self.incidents.values().filter(|i| !i.is_open()).min_by_key(|i| i.updated).map(|i| i.id);
            match oldest {
                Some(oldest) => self.forget(oldest),
                None => break,
            }
        }
    }

    /// What held when heald was last there and no check has denied since.
    pub(crate) fn still_recalled(&mut self) -> Vec<Concern> {
        let (series, recalled) = (&self.series, &mut self.recalled);
        recalled.retain(|concern| {
            let subject = concern.finding.subject.as_deref();
            let of = |series: &&Series| subject == Some(series.probe.as_str());
            let newest = |series: &Series| series.samples.iter().rev().find_map(|sample| sample.ok);
            series.values().filter(of).filter_map(newest).all(|ok| !ok)
        });
        recalled.clone()
    }

    /// True while a check fails, and has not failed often enough to say that the service is down, or the detectors have not looked
    /// at that yet.
    pub(crate) fn undecided(&self) -> bool {
        let checks = self.series.values().filter(|series| series.probe.as_str() != PROCESS_PROBE);
        checks.filter(|series| series.role == Role::Liveness).any(|series| {
            let verdicts = series.samples.iter().rev().filter_map(|sample| sample.ok);
            let failures = verdicts.take_while(|ok| !ok).count();
            failures > 0 && (failures < series.failure_threshold as usize || series.fresh > 0)
        })
    }

    /// The check that found something of the incident when heald was last there and has given no verdict since.
    pub(crate) fn unseen(&self, incident: &Incident) -> Option<&str> {
        let recalled = self.recalled.iter().map(|concern| &concern.finding);
        let of_it = |finding: &&Finding| incident.concerns.iter().any(|known| known.finding.key() == finding.key());
        let seen = |check: &str| {
            let mut its = self.series.values().filter(|series| series.probe.as_str() == check);
            its.any(|series| series.samples.iter().any(|sample| sample.ok.is_some()))
        };
        recalled.filter(of_it).filter_map(|finding| finding.subject.as_deref()).find(|check| !seen(check))
    }

    /// What the configured checks say together; None: none has given a verdict.
    pub(crate) fn verdict(&self) -> Option<bool> {
        let checks = self.series.values().filter(|series| series.probe.as_str() != PROCESS_PROBE);
        let newest = checks.filter_map(|series| series.samples.iter().rev().find_map(|sample| sample.ok));
        newest.reduce(|all, one| all && one)
    }

    /// The end and the bound of the oldest failing verdict, or, where no check fails, of the newest one: after `bound` it is stale.
    pub(crate) fn judged_on(&self) -> Option<(Moment, Duration)> {
        let verdicts =
            self.series.values().filter(|series| series.probe.as_str() != PROCESS_PROBE).filter_map(|series| {
                let sample = series.samples.iter().rev().find(|sample| sample.ok.is_some())?;
                let ended = sample.at + sample.latency.unwrap_or_default();
                Some((sample.ok, ended, series.period.saturating_mul(3)))
            });
        let verdicts: Vec<_> = verdicts.collect();
        let failing = verdicts.iter().filter(|(ok, ..)| *ok == Some(false)).min_by_key(|(_, ended, _)| *ended);
        let (_, ended, bound) = failing.or_else(|| verdicts.iter().max_by_key(|(_, ended, _)| *ended))?;
        Some((*ended, *bound))
    }

    /// A newer look at an incident, if it is still open and something of it still holds.
    pub(crate) fn still(&self, id: IncidentId) -> Option<&Incident> {
        self.incidents.get(&id).filter(|incident| incident.is_open() && !incident.concerns.is_empty())
    }

    /// True if a condition is only known from detectors that give no answer now.
    pub(crate) fn unconfirmed(&self, condition: &str) -> bool {
        let silent = |source: &Source| matches!(source, Source::Plugin(plugin) if self.silent.contains(&plugin.name));
        let mut known = self.concerns.iter().filter(|concern| concern.finding.condition == condition).peekable();
        known.peek().is_some() && known.all(|concern| silent(&concern.source))
    }

    fn forget(&mut self, id: IncidentId) {
        self.incidents.remove(&id);
        self.held.remove(&id);
        self.decided.remove(&id);
        self.noted.remove(&id);
    }
}

fn kept(plugins: &PluginChain) -> usize {
    sample_window::kept(plugins.detectors.iter().map(|member| member.plugin.window()))
}

/// The worst first, then the oldest.
fn rank(a: &Incident, b: &Incident) -> std::cmp::Ordering {
    b.severity.cmp(&a.severity).then(a.opened.cmp(&b.opened))
}
