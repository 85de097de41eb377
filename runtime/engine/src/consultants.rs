//! Asking plug-ins: all detectors of a service, and its policies in order. A guest's failure is data: it is put on record as
//! an incident about the plug-in, and the native rules answer in the same tick.

use heald_model::{
    Choice, Concern, Decision, Entry, Fact, Fault, Finding, Incident, IncidentId, Moment, PluginName, PluginRef,
    Record, Sample, Series, ServiceName, Severity, Source, Stage,
};

use crate::heal::Healer;
use crate::native;
use crate::ports::{Observation, Question, Window};
use crate::ward::{State, Ward};

/// The condition under which a plug-in's faults are incidents.
pub const PLUGIN_FAULT: &str = "plugin-fault";

impl Healer {
    /// Shows the samples to every detector; afterwards the ward's concerns are all that holds now.
    pub(crate) async fn observe(&self, ward: &Ward, samples: Vec<Sample>) {
        let now = self.now();
        ward.take_in(samples, now);
        let service = self.view(ward);
        let mut concerns: Vec<Concern> = Vec::new();
        // One that could not be loaded is not there to be asked, and answers as little as one that fails.
        let mut unanswered = ward.detectors.is_empty() || ward.detectors.len() < ward.spec.detectors.len();
        let mut answered: Vec<&PluginName> = Vec::new();
        for detector in &ward.detectors {
            let plugin = detector.plugin();
            if self.strikes().rested(plugin, &ward.spec.name, now) {
                unanswered = true;
                continue;
            }
            let input = {
                let state = ward.lock();
                let memory = state.memories.get(&plugin.name).cloned();
                let series = shown(&state, detector.window(), memory.is_some(), now);
                Observation { now, seed: self.roll(), service: service.clone(), series, state: memory }
            };
            match detector.evaluate(&input).await {
                Ok(verdict) => {
                    self.answered(ward, plugin);
                    answered.push(&plugin.name);
                    let source = Source::Plugin(plugin.clone());
                    let mut state = ward.lock();
                    if let Some(memory) = verdict.state {
                        state.memories.insert(plugin.name.clone(), memory);
                    }
                    for finding in verdict.findings {
                        add(&mut concerns, &state.concerns, finding, &source, now);
                    }
                }
                Err(fault) => {
                    unanswered = true;
                    self.faulted(Some(&ward.spec.name), plugin, &fault);
                }
            }
        }
        let mut state = ward.lock();
        let detectors = ward.spec.detectors.iter();
        state.silent = detectors.filter(|name| !answered.contains(name)).cloned().collect();
        if unanswered {
            let series: Vec<Series> = state.series.values().cloned().collect();
            for finding in native::detect(&series) {
                add(&mut concerns, &state.concerns, finding, &Source::Native, now);
            }
        }
        // What a detector last said stands until it answers again: a fault, a rest, a safe mode is no all-clear. Where the native
        // rules judge in its place, their word counts.
        for known in &state.concerns {
            let Source::Plugin(plugin) = &known.source else { continue };
            let silent = state.silent.contains(&plugin.name);
            let told = concerns.iter().any(|concern| concern.finding.key() == known.finding.key());
            if silent && !told && known.finding.condition != native::CONDITION {
                concerns.push(known.clone());
            }
        }
        state.observed = true;
        for series in state.series.values_mut() {
            series.fresh = 0;
        }
        let known: Vec<IncidentId> = state
            .incidents
            .values()
            .filter(|incident| concerns.iter().any(|concern| concern.finding.condition == incident.condition))
            .map(|incident| incident.id)
            .collect();
        for id in known {
            state.held.insert(id, now);
        }
        state.concerns = concerns;
    }

    /// Asks the policies in order; the native rules answer last.
    pub(crate) async fn decide(&self, ward: &Ward, incident: &Incident) -> Decision {
        let now = self.now();
        let offers = self.offers(ward, Some(incident));
        let mut question = Question {
            now,
            seed: self.roll(),
            service: self.view(ward),
            series: Vec::new(),
            incident: since_reset(incident),
            earlier: Vec::new(),
            related: Vec::new(),
            offers,
            experience: self.experience(&incident.signature),
            state: None,
        };
        {
            let state = ward.lock();
            question.series = shown(&state, Window { samples: 1, ..Window::default() }, false, now);
            let others = state.incidents.values().filter(|other| other.id != incident.id);
            question.earlier = others.clone().flat_map(|other| other.attempts.iter().cloned()).collect();
            question.related = others.filter(|other| other.is_open()).cloned().collect();
        }
        for policy in &ward.policies {
            let plugin = policy.plugin();
            if self.strikes().rested(plugin, &ward.spec.name, now) {
                continue;
            }
            question.state = ward.lock().memories.get(&plugin.name).cloned();
            match policy.decide(&question).await {
                Ok(answer) => {
                    self.answered(ward, plugin);
                    if let Some(memory) = answer.state {
                        ward.lock().memories.insert(plugin.name.clone(), memory);
                    }
                    if answer.decision.choice != Choice::Pass {
                        return answer.decision;
                    }
                }
                Err(fault) => self.faulted(Some(&ward.spec.name), plugin, &fault),
            }
        }
        native::decide(&question)
    }

    /// Puts a plug-in's failure on record, as an incident about the plug-in.
    pub fn faulted(&self, about: Option<&ServiceName>, plugin: &PluginRef, fault: &Fault) {
        let now = self.now();
        let nobody = ServiceName::from("");
        let (strikes, rested_until) = self.strikes().failed(plugin, about.unwrap_or(&nobody), now);
        tracing::warn!(plugin = %plugin, service = about.map(ServiceName::as_str), strikes, "{fault}");
        let service = ServiceName::of_plugin(&plugin.name);
        let finding = Finding {
            condition: PLUGIN_FAULT.into(),
            subject: Some(fault.cause.to_string()),
            severity: Severity::Error,
            score: 1.0,
            predicted: None,
            message: fault.to_string(),
            evidence: about.map(|about| Fact::text("service", about.as_str())).into_iter().collect(),
        };
        let concern = Concern { finding, source: Source::Native, since: now };
        let mut faults = self.faults();
        let known = faults.get(&plugin.name).filter(|incident| self.still_one(incident, now));
        let (id, opening) = match known {
            Some(incident) if incident.is_open() => {
                let told = incident.concerns.iter().any(|known| known.finding.key() == concern.finding.key());
                (incident.id, (!told).then(|| Record::Concerned { concern: concern.clone() }))
            }
            other => {
                let reopened = other.map_or(0, |incident| incident.reopened.saturating_add(1));
                let id = other.map_or_else(|| IncidentId(self.id(now)), |incident| incident.id);
                (id, Some(Record::Opened { condition: PLUGIN_FAULT.into(), concern, parent: None, reopened }))
            }
        };
        let faulted = Record::PluginFaulted {
            plugin: plugin.clone(),
            about: about.cloned(),
            fault: fault.clone(),
            strikes,
            rested_until,
        };
        let rest = rested_until.map(|until| Record::Staged {
            stage: Stage::Healing,
            why: format!("rested for {:.0} s, the native rules answer meanwhile", until.since(now).as_secs_f64()),
        });
        let records = opening.into_iter().chain([faulted]).chain(rest);
        let entries = records.map(|record| Entry::of_incident(now, service.clone(), id, record)).collect();
        self.write_faults(&mut faults, &plugin.name, entries);
    }

    /// A plug-in answered well: if it had failed, that is over.
    fn answered(&self, ward: &Ward, plugin: &PluginRef) {
        let struck = self.strikes().answered(plugin, &ward.spec.name);
        let mut faults = self.faults();
        // An incident of an earlier life of heald has no strikes in this one.
        if !struck && faults.get(&plugin.name).is_none_or(|incident| !incident.is_open()) {
            return;
        }
        let now = self.now();
        let service = ServiceName::of_plugin(&plugin.name);
        let Some(incident) = faults.get(&plugin.name).filter(|incident| incident.is_open()) else { return };
        let id = incident.id;
        let mut records: Vec<Record> = incident
            .concerns
            .iter()
            .map(|concern| {
                let (condition, subject) = concern.finding.key();
                Record::Cleared { condition: condition.to_owned(), subject: subject.map(str::to_owned) }
            })
            .collect();
        records.push(Record::PluginRecovered { plugin: plugin.name.clone(), about: Some(ward.spec.name.clone()) });
        if !self.strikes().any(plugin) {
            records.push(Record::Staged { stage: Stage::Resolved, why: "it answers again".into() });
        }
        let entries = records.into_iter().map(|record| Entry::of_incident(now, service.clone(), id, record)).collect();
        self.write_faults(&mut faults, &plugin.name, entries);
    }

    fn still_one(&self, incident: &Incident, now: Moment) -> bool {
        incident.resolved.is_none_or(|resolved| now.since(resolved) <= self.config().reopen_within)
    }

    fn write_faults(
        &self,
        faults: &mut std::collections::BTreeMap<PluginName, Incident>,
        plugin: &PluginName,
        entries: Vec<Entry>,
    ) {
        for entry in &entries {
            match faults.get_mut(plugin) {
                Some(incident) if entry.incident == Some(incident.id) => incident.apply(entry),
                _ => {
                    if let Some(incident) = Incident::open(entry) {
                        faults.insert(plugin.clone(), incident);
                    }
                }
            }
        }
        self.journal(entries);
    }
}

/// The incident as a policy is to see it: with the newest lines of its story, and without what was tried before an operator's
/// reset, which counts no longer.
fn since_reset(incident: &Incident) -> Incident {
    /// A policy that wants more of the past has its own memory; each line costs on the way into the guest.
    const LINES: usize = 16;
    let mut incident = incident.clone();
    incident.timeline.drain(..incident.timeline.len().saturating_sub(LINES));
    if let Some(reset) = incident.reset {
        incident.attempts.retain(|attempt| attempt.intent.at > reset);
    }
    incident
}

/// Adds a finding as a concern, keeping since when it holds; one already there under the same key stays.
fn add(concerns: &mut Vec<Concern>, before: &[Concern], finding: Finding, source: &Source, now: Moment) {
    if concerns.iter().any(|concern| concern.finding.key() == finding.key()) {
        return;
    }
    let since = before.iter().find(|known| known.finding.key() == finding.key()).map_or(now, |known| known.since);
    concerns.push(Concern { finding, source: source.clone(), since });
}

/// The part of each series that a plug-in is shown: with a memory what is fresh (at least the newest), without one, or if it
/// wants a sliding window, the window.
fn shown(state: &State, window: Window, remembers: bool, now: Moment) -> Vec<Series> {
    state
        .series
        .values()
        .map(|series| {
            let whole = series.samples.len();
            let fresh = (series.fresh as usize).min(whole);
            let wanted = match window.samples as usize {
                0 => whole,
                bound => bound.max(fresh),
            };
            let count = if remembers && !window.sliding { fresh.max(1) } else { wanted }.min(whole);
            let horizon = if window.span.is_zero() { Moment::EPOCH } else { now - window.span };
            let samples = series.samples.iter().skip(whole - count).filter(|s| s.at >= horizon).cloned().collect();
            Series { samples, fresh: series.fresh, ..empty_of(series) }
        })
        .collect()
}

fn empty_of(series: &Series) -> Series {
    Series {
        probe: series.probe.clone(),
        role: series.role,
        replica: series.replica.clone(),
        period: series.period,
        failure_threshold: series.failure_threshold,
        success_threshold: series.success_threshold,
        samples: std::collections::VecDeque::new(),
        fresh: 0,
    }
}
