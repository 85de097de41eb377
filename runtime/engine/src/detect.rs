//! Detect: samples are shown to the detectors of a service, and what holds now comes back.
//!
//! Detectors whose answers count are asked first. Shadows see the very same, once healing has taken its course; what they say has
//! no effect. This stage opens no incident.

use heald_model::{
    CallInput, CallResult, Checkpoint, Concern, Entry, Fault, FaultCause, Finding, IncidentId, Moment, Observation,
    PluginCall, PluginName, PluginRef, ProbeSpec, Record, Recording, Sample, Series, Source, TapeEntry, Verdict,
    call_seed,
};

use crate::compare::{self, ComparisonContext, FindingSet, Pair};
use crate::context::Context;
use crate::native;
use crate::plugin_chain::{PluginChain, PluginSlot};
use crate::ports::Detector;
use crate::quarantine::{answered, faulted};
use crate::sample_window::{settle, shown};
use crate::service::Service;
use crate::service::state::ServiceState;

/// Looks between two checkpoints of the tape. A checkpoint is as large as some sixty looks, so this makes the tape a tenth
/// larger, and a replay that begins anywhere reads at most ten minutes of samples before it.
const LOOKS: u32 = 600;

/// What shadows are still to be shown of a look, and what the others found in it.
#[derive(Default)]
pub(crate) struct Leftover {
    shadows: Vec<(PluginSlot<dyn Detector>, Observation)>,
    found: Vec<(PluginName, FindingSet)>,
}

/// Shows the samples to every detector whose answers count. Afterwards the service's concerns are all that holds now.
pub(crate) async fn observe(ctx: &Context, service: &Service, samples: Vec<Sample>) -> Leftover {
    let now = ctx.now();
    let plugins = service.plugins();
    let spec = service.spec();
    let mut look = {
        let mut state = service.lock();
        let checkpoint = state.checkpoint(&plugins, &spec.probes);
        let look = TapeEntry {
            service: service.name.clone(),
            at: now,
            view: None,
            samples: samples.clone(),
            seeds: Vec::new(),
            checkpoint,
        };
        state.take_in(samples, &spec.probes, now);
        look
    };
    let view = ctx.view(service);
    look.view = service.lock().seen_as(&view);
    // One that could not be loaded is not there to be asked, and answers as little as one that fails.
    let unanswered = !plugins.detectors.iter().any(PluginSlot::is_active) || !plugins.missing.is_empty();
    let mut answers = Answers { unanswered, ..Answers::default() };
    for member in &plugins.detectors {
        let plugin = member.plugin.plugin();
        if ctx.plugin_faults.tracker().is_quarantined(plugin, &service.name, now) {
            answers.unanswered |= member.is_active();
            continue;
        }
        let seed = call_seed(&service.name, &plugin.name, now);
        let input = {
            let state = service.lock();
            let memory = state.memories.get(&plugin.name).cloned();
            let series = shown(state.series.values(), member.plugin.window(), memory.is_some(), now);
            Observation { now, seed, service: view.clone(), series, state: memory }
        };
        look.seeds.push((plugin.name.clone(), seed));
        if member.is_active() {
            ask(ctx, service, member, input, &mut answers).await;
        } else {
            answers.leftover.shadows.push((member.clone(), input));
        }
    }
    ctx.ports.journal.keep(Recording::Tape(Box::new(look)));
    let Answers { concerns, leftover, unanswered } = answers;
    let has_answered = |name: &PluginName| leftover.found.iter().any(|(known, _)| known == name);
    let silent = plugins.expected().filter(|name| !has_answered(name)).cloned().collect();
    service.lock().conclude(concerns, silent, unanswered, now);
    leftover
}

/// What the detectors of one look answered so far.
#[derive(Default)]
struct Answers {
    concerns: Vec<Concern>,
    leftover: Leftover,
    /// One whose answer counts gave none: the native rules answer too.
    unanswered: bool,
}

/// Asks one detector, and adds what it finds.
async fn ask(
    ctx: &Context,
    service: &Service,
    member: &PluginSlot<dyn Detector>,
    input: Observation,
    answers: &mut Answers,
) {
    let (plugin, now) = (member.plugin.plugin(), input.now);
    let answer = member.plugin.evaluate(&input).await;
    match answer.and_then(|verdict| within_allowance(ctx, service, plugin, verdict, now)) {
        Ok(verdict) => {
            answered(ctx, service, plugin);
            let source = Source::Plugin(plugin.clone());
            let outline = compare::outline(&verdict.findings);
            remember(ctx, service, member, input, &verdict, &outline);
            answers.leftover.found.push((plugin.name.clone(), outline));
            let state = service.lock();
            for finding in verdict.findings {
                add(&mut answers.concerns, &state.concerns, finding, &source, now);
            }
        }
        Err(fault) => {
            answers.unanswered = true;
            failed(ctx, service, member, &fault, now);
        }
    }
}

/// The verdict, unless it finds more that is new than heald takes from one plug-in about one service.
fn within_allowance(
    ctx: &Context,
    service: &Service,
    plugin: &PluginRef,
    verdict: Verdict,
    now: Moment,
) -> Result<Verdict, Fault> {
    let new = {
        let state = service.lock();
        let known = |finding: &Finding| {
            let found = state.found.get(&plugin.name).into_iter().flatten();
            found.clone().any(|(condition, subject, _)| finding.key() == (condition.as_str(), subject.as_deref()))
        };
        verdict.findings.iter().filter(|finding| !known(finding)).count()
    };
    if ctx.plugin_faults.allowances().conditions(&plugin.name, &service.name, new, now) {
        return Ok(verdict);
    }
    let detail = format!("it finds new conditions faster than heald takes them: {new} in this call");
    Err(Fault::new(FaultCause::HostBudget, detail))
}

/// Shows the shadows what the others were shown, and compares. Nothing that they say has an effect on the service.
pub(crate) async fn observe_in_shadow(ctx: &Context, service: &Service, leftover: Leftover) {
    let Leftover { shadows, found } = leftover;
    for (member, input) in shadows {
        let now = input.now;
        let plugin = member.plugin.plugin();
        match member.plugin.evaluate(&input).await {
            Ok(verdict) => {
                answered(ctx, service, plugin);
                let outline = compare::outline(&verdict.findings);
                remember(ctx, service, &member, input, &verdict, &outline);
                compare_verdicts(ctx, service, &member, &outline, &found, now);
            }
            Err(fault) => failed(ctx, service, &member, &fault, now),
        }
    }
}

/// Compares where either side changed: what is only repeated was compared before.
fn compare_verdicts(
    ctx: &Context,
    service: &Service,
    shadow: &PluginSlot<dyn Detector>,
    outline: &FindingSet,
    found: &[(PluginName, FindingSet)],
    now: Moment,
) {
    let its = &shadow.plugin.plugin().name;
    let others: FindingSet = match &shadow.against {
        Some(against) => {
            let Some((_, other)) = found.iter().find(|(name, _)| name == against) else { return };
            other.clone()
        }
        // The shadow is not blamed for missing a condition that it does not know.
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
        let mut state = service.lock();
        let before = state.compared.insert(its.clone(), (pair.mine.clone(), pair.theirs.clone()));
        let known = before.unwrap_or_else(|| (compare::tell(&FindingSet::new()), compare::tell(&FindingSet::new())));
        if known == (pair.mine.clone(), pair.theirs.clone()) {
            return;
        }
    }
    let by =
        if behind { its.to_string() } else { shadow.against.as_ref().map_or("all others".into(), ToString::to_string) };
    let occasion = ComparisonContext { at: now, service: service.name.clone(), incident: None, by };
    ctx.trials.compared(trial, &occasion, &pair);
    let source = source_of(service, shadow.against.as_ref());
    let (would, did) =
        if behind { (pair.theirs.clone(), pair.mine.clone()) } else { (pair.mine.clone(), pair.theirs.clone()) };
    let agrees = pair.agrees();
    let record = Record::Shadowed { plugin: shadow.plugin.plugin().clone(), would, did, by: source, agrees };
    ctx.journal(vec![Entry::of_service(now, service.name.clone(), record)]);
}

/// Keeps what it remembers, and the call itself where its findings changed.
fn remember(
    ctx: &Context,
    service: &Service,
    member: &PluginSlot<dyn Detector>,
    input: Observation,
    verdict: &Verdict,
    outline: &FindingSet,
) {
    let plugin = member.plugin.plugin();
    let changed = {
        let mut state = service.lock();
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
        keep_call(ctx, service, member, input, CallResult::Verdict(verdict.clone()));
    }
}

fn keep_call(
    ctx: &Context,
    service: &Service,
    member: &PluginSlot<dyn Detector>,
    input: Observation,
    said: CallResult,
) {
    ctx.ports.journal.keep(Recording::Call(Box::new(PluginCall {
        at: input.now,
        service: service.name.clone(),
        incident: None,
        plugin: member.plugin.plugin().clone(),
        settings: member.plugin.settings(),
        part: member.part,
        replayable: member.plugin.replayable(),
        asked: CallInput::Detector(Box::new(input)),
        said,
    })));
}

/// A member failed: on its record, and on that of its trial.
fn failed(ctx: &Context, service: &Service, member: &PluginSlot<dyn Detector>, fault: &Fault, now: Moment) {
    faulted(ctx, Some(&service.name), member.plugin.plugin(), fault);
    if let Some(trial) = member.trial.as_ref().filter(|trial| **trial == member.plugin.plugin().name) {
        ctx.trials.faulted(trial, &service.name, now);
    }
}

/// Who said what a shadow's answer is compared with.
fn source_of(service: &Service, name: Option<&PluginName>) -> Source {
    let plugins = service.plugins();
    let known =
        name.and_then(|name| plugins.detectors.iter().map(|member| member.plugin.plugin()).find(|p| p.name == *name));
    known.map_or(Source::Native, |plugin| Source::Plugin(plugin.clone()))
}

impl ServiceState {
    /// Ends a look: `concerns` are what the detectors found, those in `silent` gave no answer.
    fn conclude(&mut self, mut concerns: Vec<Concern>, silent: Vec<PluginName>, unanswered: bool, now: Moment) {
        self.silent = silent;
        if unanswered {
            let series: Vec<Series> = self.series.values().cloned().collect();
            for finding in native::detect(&series) {
                add(&mut concerns, &self.concerns, finding, &Source::Native, now);
            }
        }
        // What a detector last said stands until it answers again: a fault, a quarantine, a safe mode is no all-clear. Where the
        // native rules judge in its place, their word counts.
        for known in &self.concerns {
            let Source::Plugin(plugin) = &known.source else { continue };
            let silent = self.silent.contains(&plugin.name);
            let told = concerns.iter().any(|concern| concern.finding.key() == known.finding.key());
            if silent && !told && known.finding.condition != native::CONDITION {
                concerns.push(known.clone());
            }
        }
        for known in self.still_recalled() {
            if !concerns.iter().any(|concern| concern.finding.key() == known.finding.key()) {
                concerns.push(known);
            }
        }
        self.observed = true;
        settle(&mut self.series);
        let known: Vec<IncidentId> = self
            .incidents
            .values()
            .filter(|incident| concerns.iter().any(|concern| concern.finding.condition == incident.condition))
            .map(|incident| incident.id)
            .collect();
        for id in known {
            self.held.insert(id, now);
        }
        self.concerns = concerns;
    }

    /// All that a replay needs to begin with the look that comes, if it is time for that.
    fn checkpoint(&mut self, plugins: &PluginChain, probes: &[ProbeSpec]) -> Option<Box<Checkpoint>> {
        self.looks = self.looks.wrapping_add(1);
        if self.looks % LOOKS != 1 && !self.plugins_changed {
            return None;
        }
        (self.plugins_changed, self.looks, self.viewed) = (false, 1, None);
        let detectors = plugins.detectors.iter().map(|member| {
            let plugin = member.plugin.plugin();
            let memory = self.memories.get(&plugin.name).cloned();
            (plugin.clone(), member.plugin.settings().digest.to_string(), memory)
        });
        let found = |name: &PluginName| self.found.get(name).into_iter().flatten();
        let findings = plugins.detectors.iter().map(|member| {
            let name = &member.plugin.plugin().name;
            (name.clone(), found(name).map(|(condition, subject, _)| (condition.clone(), subject.clone())).collect())
        });
        let findings = findings.collect();
        let series = self.series.values().cloned().collect();
        let probes = probes.to_vec();
        let kept = self.kept;
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
