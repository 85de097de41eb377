//! Showing samples to the detectors of a service. Those whose answers count first: afterwards the ward's concerns are all that
//! holds now. Shadows see the very same, once healing has taken its course.

use heald_model::{
    Concern, Entry, Fault, Finding, IncidentId, Moment, PluginName, ProbeSpec, Record, Sample, Series, Source,
};

use crate::agreement::{self, Occasion, Outline, Pair};
use crate::calls::{Asked, Call, Checkpoint, Kept, Look, Said, die};
use crate::cast::Member;
use crate::heal::Healer;
use crate::native;
use crate::ports::{Detector, Observation, Verdict};
use crate::shown::{settle, shown};
use crate::ward::{State, Ward};

/// Looks between two checkpoints of the tape. A checkpoint is as large as some sixty looks, so this makes the tape a tenth
/// larger, and a replay that begins anywhere reads at most ten minutes of samples before it.
const LOOKS: u32 = 600;

/// What shadows are still to be shown of a look, and what the others found in it.
#[derive(Default)]
pub(crate) struct Leftover {
    shadows: Vec<(Member<dyn Detector>, Observation)>,
    found: Vec<(PluginName, Outline)>,
}

impl Healer {
    /// Shows the samples to every detector whose answers count.
    pub(crate) async fn observe(&self, ward: &Ward, samples: Vec<Sample>) -> Leftover {
        let now = self.now();
        let cast = ward.cast();
        let checkpoint = ward.lock().checkpoint(&cast, &ward.spec.probes, ward.kept());
        let mut look = Look {
            service: ward.spec.name.clone(),
            at: now,
            view: None,
            samples: samples.clone(),
            seeds: Vec::new(),
            checkpoint,
        };
        ward.take_in(samples, now);
        let service = self.view(ward);
        look.view = ward.lock().seen_as(&service);
        let mut concerns: Vec<Concern> = Vec::new();
        let mut leftover = Leftover::default();
        // One that could not be loaded is not there to be asked, and answers as little as one that fails.
        let mut unanswered = !cast.detectors.iter().any(Member::is_active) || !cast.missing.is_empty();
        for member in &cast.detectors {
            let plugin = member.plugin.plugin();
            if self.strikes().rested(plugin, &ward.spec.name, now) {
                unanswered |= member.is_active();
                continue;
            }
            let seed = die(&ward.spec.name, &plugin.name, now);
            let input = {
                let state = ward.lock();
                let memory = state.memories.get(&plugin.name).cloned();
                let series = shown(state.series.values(), member.plugin.window(), memory.is_some(), now);
                Observation { now, seed, service: service.clone(), series, state: memory }
            };
            look.seeds.push((plugin.name.clone(), seed));
            if !member.is_active() {
                leftover.shadows.push((member.clone(), input));
                continue;
            }
            match member.plugin.evaluate(&input).await {
                Ok(verdict) => {
                    self.answered(ward, plugin);
                    let source = Source::Plugin(plugin.clone());
                    let outline = agreement::outline(&verdict.findings);
                    self.remember(ward, member, input, &verdict, &outline);
                    leftover.found.push((plugin.name.clone(), outline));
                    let state = ward.lock();
                    for finding in verdict.findings {
                        add(&mut concerns, &state.concerns, finding, &source, now);
                    }
                }
                Err(fault) => {
                    unanswered = true;
                    self.failed(ward, member, &fault, now);
                }
            }
        }
        self.ports.journal.keep(Kept::Look(Box::new(look)));
        let mut state = ward.lock();
        let answered = |name: &PluginName| leftover.found.iter().any(|(known, _)| known == name);
        state.silent = cast.expected().filter(|name| !answered(name)).cloned().collect();
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
        settle(&mut state.series);
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
        drop(state);
        leftover
    }

    /// Shows the shadows what the others were shown, and compares. Nothing that they say has an effect on the service.
    pub(crate) async fn observe_in_shadow(&self, ward: &Ward, leftover: Leftover) {
        let Leftover { shadows, found } = leftover;
        for (member, input) in shadows {
            let now = input.now;
            let plugin = member.plugin.plugin();
            match member.plugin.evaluate(&input).await {
                Ok(verdict) => {
                    self.answered(ward, plugin);
                    let outline = agreement::outline(&verdict.findings);
                    self.remember(ward, &member, input, &verdict, &outline);
                    self.compare_verdicts(ward, &member, &outline, &found, now);
                }
                Err(fault) => self.failed(ward, &member, &fault, now),
            }
        }
    }

    /// Compares where either side changed: what is only repeated was compared before.
    fn compare_verdicts(
        &self,
        ward: &Ward,
        shadow: &Member<dyn Detector>,
        outline: &Outline,
        found: &[(PluginName, Outline)],
        now: Moment,
    ) {
        let its = &shadow.plugin.plugin().name;
        let others: Outline = match &shadow.against {
            Some(against) => {
                let Some((_, other)) = found.iter().find(|(name, _)| name == against) else { return };
                other.clone()
            }
            // What it has no word for it cannot be blamed for not finding.
            None => {
                let words = shadow.plugin.conditions();
                let all = found.iter().flat_map(|(_, outline)| outline.iter().cloned());
                all.filter(|(condition, ..)| words.is_empty() || words.contains(condition)).collect()
            }
        };
        let trial = shadow.trial.as_ref().unwrap_or(its);
        let behind = trial != its;
        let (mine, theirs) = if behind { (&others, outline) } else { (outline, &others) };
        let pair = Pair::of_verdicts(mine, theirs);
        {
            let mut state = ward.lock();
            let before = state.compared.insert(its.clone(), (pair.mine.clone(), pair.theirs.clone()));
            let known = before.unwrap_or_else(|| (agreement::tell(&Outline::new()), agreement::tell(&Outline::new())));
            if known == (pair.mine.clone(), pair.theirs.clone()) {
                return;
            }
        }
        let by = if behind {
            its.to_string()
        } else {
            shadow.against.as_ref().map_or("all others".into(), ToString::to_string)
        };
        let occasion = Occasion { at: now, service: ward.spec.name.clone(), incident: None, by };
        self.compared(trial, &occasion, &pair);
        let source = self.source_of(ward, shadow.against.as_ref());
        let (would, did) =
            if behind { (pair.theirs.clone(), pair.mine.clone()) } else { (pair.mine.clone(), pair.theirs.clone()) };
        let agrees = pair.agrees();
        let record = Record::Shadowed { plugin: shadow.plugin.plugin().clone(), would, did, by: source, agrees };
        self.journal(vec![Entry::of_service(now, ward.spec.name.clone(), record)]);
    }

    /// Keeps what it remembers, and the call itself where its findings changed.
    fn remember(
        &self,
        ward: &Ward,
        member: &Member<dyn Detector>,
        input: Observation,
        verdict: &Verdict,
        outline: &Outline,
    ) {
        let plugin = member.plugin.plugin();
        let changed = {
            let mut state = ward.lock();
            if let Some(memory) = &verdict.state {
                state.memories.insert(plugin.name.clone(), memory.clone());
            }
            let before = state.found.get(&plugin.name);
            let changed = before.map_or(!outline.is_empty(), |before| before != outline);
            if changed {
                state.found.insert(plugin.name.clone(), outline.clone());
            }
            changed
        };
        if changed {
            self.keep_call(ward, member, input, Said::Verdict(verdict.clone()));
        }
    }

    fn keep_call(&self, ward: &Ward, member: &Member<dyn Detector>, input: Observation, said: Said) {
        self.ports.journal.keep(Kept::Call(Box::new(Call {
            at: input.now,
            service: ward.spec.name.clone(),
            incident: None,
            plugin: member.plugin.plugin().clone(),
            settings: member.plugin.settings(),
            part: member.part,
            replayable: member.plugin.replayable(),
            asked: Asked::Detector(Box::new(input)),
            said,
        })));
    }

    /// A member failed: on its record, and on that of its trial.
    fn failed(&self, ward: &Ward, member: &Member<dyn Detector>, fault: &Fault, now: Moment) {
        self.faulted(Some(&ward.spec.name), member.plugin.plugin(), fault);
        if let Some(trial) = member.trial.as_ref().filter(|trial| **trial == member.plugin.plugin().name) {
            self.faulted_on_trial(trial, &ward.spec.name, now);
        }
    }

    /// Who said what a shadow's answer is compared with.
    fn source_of(&self, ward: &Ward, name: Option<&PluginName>) -> Source {
        let cast = ward.cast();
        let known =
            name.and_then(|name| cast.detectors.iter().map(|member| member.plugin.plugin()).find(|p| p.name == *name));
        known.map_or(Source::Native, |plugin| Source::Plugin(plugin.clone()))
    }
}

impl State {
    /// All that a replay needs to begin with the look that comes, if it is time for that.
    fn checkpoint(&mut self, cast: &crate::cast::Cast, probes: &[ProbeSpec], kept: usize) -> Option<Box<Checkpoint>> {
        self.looks = self.looks.wrapping_add(1);
        if self.looks % LOOKS != 1 && !self.recast {
            return None;
        }
        (self.recast, self.looks, self.viewed) = (false, 1, None);
        let detectors = cast.detectors.iter().map(|member| {
            let plugin = member.plugin.plugin();
            let memory = self.memories.get(&plugin.name).cloned();
            (plugin.clone(), member.plugin.settings().digest.to_string(), memory)
        });
        let found = |name: &PluginName| self.found.get(name).into_iter().flatten();
        let findings = cast.detectors.iter().map(|member| {
            let name = &member.plugin.plugin().name;
            (name.clone(), found(name).map(|(condition, subject, _)| (condition.clone(), subject.clone())).collect())
        });
        let findings = findings.collect();
        let series = self.series.values().cloned().collect();
        let probes = probes.to_vec();
        Some(Box::new(Checkpoint { probes, series, kept, detectors: detectors.collect(), findings }))
    }

    /// The view of the service if it is another than at the look before.
    fn seen_as(&mut self, view: &heald_model::ServiceView) -> Option<heald_model::ServiceView> {
        if self.viewed.as_ref() == Some(view) {
            return None;
        }
        self.viewed = Some(view.clone());
        Some(view.clone())
    }
}

/// Adds a finding as a concern, keeping since when it holds; one already there under the same key stays.
fn add(concerns: &mut Vec<Concern>, before: &[Concern], finding: Finding, source: &Source, now: Moment) {
    if concerns.iter().any(|concern| concern.finding.key() == finding.key()) {
        return;
    }
    let since = before.iter().find(|known| known.finding.key() == finding.key()).map_or(now, |known| known.since);
    concerns.push(Concern { finding, source: source.clone(), since });
}
