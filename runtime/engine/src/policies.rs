//! Decide: the policies of a service are asked in order until one answers; the native rules answer last.
//!
//! Shadows are asked the same question once healing has its answer; what they say goes on record and nowhere else. This stage does
//! nothing about what it decides.

use std::time::Duration;

use heald_model::{
    Answer, CallInput, CallResult, Choice, Class, Concern, Decision, Ending, Entry, Fact, Fault, FaultCause, Incident,
    Moment, PluginCall, PluginName, PluginRef, Question, Record, Recording, Window,
};
use tokio::sync::mpsc;

use crate::compare::{self, ComparisonContext, Pair};
use crate::context::Context;
use crate::native;
use crate::plugin_chain::PluginSlot;
use crate::ports::Policy;
use crate::quarantine::{answered, faulted};
use crate::remediate::offers;
use crate::sample_window::shown;
use crate::service::Service;
use crate::service::state::{Decided, QuestionKey, ServiceState};

/// A decision, the calls that led to it, and what is still to be asked for comparison.
pub(crate) struct Deliberation {
    pub(crate) decision: Decision,
    calls: Vec<PluginCall>,
    shadows: Vec<PluginSlot<dyn Policy>>,
    question: Question,
}

/// A question for the shadows, with what was decided and what each policy that was asked answered.
pub(crate) struct ShadowQuestion {
    question: Question,
    shadows: Vec<PluginSlot<dyn Policy>>,
    decision: Decision,
    answers: Vec<(PluginName, Decision)>,
}

impl ShadowQuestion {
    /// That plug-in's own answer, if it gave one.
    fn own(&self, plugin: Option<&PluginName>) -> Option<&Decision> {
        let (_, decision) = self.answers.iter().find(|(name, _)| Some(name) == plugin)?;
        Some(decision)
    }

    /// What a shadow is compared with: that plug-in's answer, else what was decided.
    fn by(&self, plugin: Option<&PluginName>) -> &Decision {
        self.own(plugin).unwrap_or(&self.decision)
    }
}

fn answer(call: &PluginCall) -> Option<(PluginName, Decision)> {
    match &call.said {
        CallResult::Answer(answer) => Some((call.plugin.name.clone(), answer.decision.clone())),
        CallResult::Verdict(_) | CallResult::Fault(_) => None,
    }
}

/// Asks the policies in order; the native rules answer last.
pub(crate) async fn decide(ctx: &Context, service: &Service, incident: &Incident) -> Deliberation {
    let mut question = question(ctx, service, incident);
    let plugins = service.plugins();
    let (mut calls, mut shadows) = (Vec::new(), Vec::new());
    for member in &plugins.policies {
        let plugin = member.plugin.plugin();
        if ctx.plugin_faults.tracker().is_quarantined(plugin, &service.name, question.now) {
            continue;
        }
        if !member.is_active() {
            shadows.push(member.clone());
            continue;
        }
        let said = ask(ctx, service, member, &mut question).await;
        let call = call(service, member, &question, said);
        let decision = match &call.said {
            CallResult::Answer(answer) if answer.decision.choice != Choice::Pass => Some(answer.decision.clone()),
            _ => None,
        };
        calls.push(call);
        if let Some(decision) = decision {
            return Deliberation { decision, calls, shadows, question };
        }
    }
    Deliberation { decision: native::decide(&question), calls, shadows, question }
}

/// The answer, unless it is more than heald writes for one plug-in about one service.
fn within_allowance(
    ctx: &Context,
    service: &Service,
    plugin: &PluginRef,
    answer: Answer,
    now: Moment,
) -> Result<Answer, Fault> {
    let Decision { choice, reason, considered, facts, .. } = &answer.decision;
    let parameters = match choice {
        Choice::Act(proposal) => proposal.parameters.to_string().len(),
        Choice::NoAction | Choice::Escalate | Choice::Pass => 0,
    };
    let others = considered.iter().map(|other| other.action.len() + other.reason.len());
    let facts = facts.iter().map(|fact| fact.name.len() + fact.value.to_string().len());
    let bytes = reason.len() + parameters + others.sum::<usize>() + facts.sum::<usize>();
    if ctx.plugin_faults.allowances().bytes(&plugin.name, &service.name, bytes, now) {
        return Ok(answer);
    }
    let detail = format!("its answers are more than heald writes for one plug-in: {bytes} bytes in this one");
    Err(Fault::new(FaultCause::HostBudget, detail))
}

/// A policy is asked again at its own wish, but never sooner than this.
const AGAIN_AT_LEAST: Duration = Duration::from_secs(1);

/// What was decided about the incident, if the question is still the same and no policy wants to be asked again yet.
pub(crate) fn known(ctx: &Context, service: &Service, incident: &Incident) -> Option<Decided> {
    let dependencies = ctx.dependencies(service).into_iter().map(|dependency| dependency.up).collect();
    let state = service.lock();
    let known = state.decided.get(&incident.id)?;
    let same = known.question == question_key(&state, incident, dependencies);
    (same && ctx.now() < known.again_at).then(|| known.clone())
}

/// Keeps what was decided until the question is another one; returns when it is to be asked again at the latest.
pub(crate) fn remember(service: &Service, incident: &Incident, deliberation: &Deliberation) -> Moment {
    let Deliberation { decision, question, .. } = deliberation;
    let again_at = decision.again_in.map_or(Moment::NEVER, |again_in| question.now + again_in.max(AGAIN_AT_LEAST));
    let dependencies = question.service.depends_on.iter().map(|dependency| dependency.up).collect();
    let mut state = service.lock();
    let asked = question_key(&state, incident, dependencies);
    state.decided.insert(incident.id, Decided { question: asked, decision: decision.clone(), again_at });
    again_at
}

/// What makes the question about an incident another one.
fn question_key(state: &ServiceState, incident: &Incident, dependencies: Vec<Option<bool>>) -> QuestionKey {
    let cause = |concern: &Concern| Fact::find_text(&concern.finding.evidence, "cause").map(str::to_owned);
    let concerns = incident.concerns.iter();
    let related = state.open().into_iter().map(|other| other.id).filter(|id| *id != incident.id);
    QuestionKey {
        reopened: incident.reopened,
        concerns: concerns.map(|c| (c.finding.subject.clone(), c.finding.severity, cause(c))).collect(),
        attempt: incident.attempts.last().map(|attempt| (attempt.intent.id, attempt.ending != Ending::Unsettled)),
        reset: incident.reset,
        related: related.collect(),
        dependencies,
        generation: state.generation,
    }
}

/// Asks one policy, with what it remembers; a failure goes on its record, and on that of its own trial.
async fn ask(ctx: &Context, service: &Service, member: &PluginSlot<dyn Policy>, question: &mut Question) -> CallResult {
    let plugin = member.plugin.plugin();
    question.state = service.lock().deliberated.get(&plugin.name).cloned();
    let answer = member.plugin.decide(question).await;
    match answer.and_then(|answer| within_allowance(ctx, service, plugin, answer, question.now)) {
        Ok(answer) => {
            answered(ctx, service, plugin);
            if let Some(memory) = &answer.state {
                service.lock().deliberated.insert(plugin.name.clone(), memory.clone());
            }
            CallResult::Answer(Box::new(answer))
        }
        Err(fault) => {
            faulted(ctx, Some(&service.name), plugin, &fault);
            if member.trial.as_ref() == Some(&plugin.name) {
                ctx.trials.faulted(&plugin.name, &service.name, question.now);
            }
            CallResult::Fault(fault)
        }
    }
}

fn question(ctx: &Context, service: &Service, incident: &Incident) -> Question {
    let now = ctx.now();
    let offers = offers(ctx, service, Some(incident));
    let mut question = Question {
        now,
        seed: ctx.roll(),
        service: ctx.view(service),
        series: Vec::new(),
        incident: for_policies(incident),
        earlier: Vec::new(),
        related: Vec::new(),
        offers,
        experience: ctx.experience(&incident.signature),
        state: None,
    };
    let state = service.lock();
    question.series = shown(state.series.values(), Window { samples: 1, ..Window::default() }, false, now);
    let others = state.incidents.values().filter(|other| other.id != incident.id);
    question.earlier = others.clone().flat_map(|other| other.attempts.iter().cloned()).collect();
    question.related = others.filter(|other| other.is_open()).cloned().collect();
    question
}

/// Puts a decision on record where it differs from the last one about the incident, with the calls that led to it, and hands the
/// question to the shadows.
pub(crate) fn note(
    ctx: &Context,
    service: &Service,
    incident: &Incident,
    deliberation: Deliberation,
    shadows: &mpsc::Sender<ShadowQuestion>,
) -> Decision {
    let Deliberation { decision, calls, shadows: members, question } = deliberation;
    if !note_decision(ctx, service, incident, &decision) {
        return decision;
    }
    let answers = calls.iter().filter_map(answer).collect();
    for call in calls {
        ctx.ports.journal.keep(Recording::Call(Box::new(call)));
    }
    if !members.is_empty() {
        let question = ShadowQuestion { question, shadows: members, decision: decision.clone(), answers };
        // Shadows that cannot keep up miss a question: healing never waits for them.
        if shadows.try_send(question).is_err() {
            tracing::debug!(service = %service.name, "the shadows are behind; they are not asked about this decision");
        }
    }
    decision
}

/// A decision goes on record when it differs from the last one about its incident; true if it does.
pub(crate) fn note_decision(ctx: &Context, service: &Service, incident: &Incident, decision: &Decision) -> bool {
    let said = format!("{} {} {}", decision.source, decision.verb(), decision.reason);
    let after = incident.attempts.last().map(|attempt| attempt.intent.id);
    let note = (after, incident.reopened, said);
    let mut state = service.lock();
    if state.noted.get(&incident.id) == Some(&note) {
        return false;
    }
    state.noted.insert(incident.id, note);
    let record = Record::Decided { decision: decision.clone() };
    ctx.enter(&mut state, vec![Entry::of_incident(ctx.now(), service.name.clone(), incident.id, record)]);
    true
}

/// Asks the shadows what the others were asked, one question after the other: what a shadow remembers of one question it is to
/// know at the next.
pub(crate) async fn ask_shadows(ctx: &Context, service: &Service, mut questions: mpsc::Receiver<ShadowQuestion>) {
    while let Some(question) = questions.recv().await {
        for member in &question.shadows {
            ask_shadow(ctx, service, member, &question).await;
        }
    }
}

/// Asks one shadow, and compares. Nothing that it says has an effect on the service.
async fn ask_shadow(ctx: &Context, service: &Service, member: &PluginSlot<dyn Policy>, asked: &ShadowQuestion) {
    let mut question = asked.question.clone();
    let (plugin, now, incident) = (member.plugin.plugin(), question.now, question.incident.id);
    let trial = member.trial.as_ref().unwrap_or(&plugin.name);
    let said = ask(ctx, service, member, &mut question).await;
    let call = call(service, member, &question, said);
    if let CallResult::Answer(answer) = &call.said {
        let theirs = asked.by(member.against.as_ref());
        let passed = |decision: &Decision| decision.choice == Choice::Pass;
        // A pass is compared only with the other plug-in's own answer: beside the decision of all it says nothing.
        if passed(&answer.decision) && (passed(theirs) || asked.own(member.against.as_ref()).is_none()) {
            ctx.trials.abstained(trial, &service.name, now);
        } else {
            let behind = *trial != plugin.name;
            let pair = match behind {
                true => Pair::of_decisions(theirs, &answer.decision),
                false => Pair::of_decisions(&answer.decision, theirs),
            };
            let by = if behind { plugin.to_string() } else { theirs.source.to_string() };
            let occasion = ComparisonContext { at: now, service: service.name.clone(), incident: Some(incident), by };
            ctx.trials.compared(trial, &occasion, &pair);
            let record = Record::Shadowed {
                plugin: plugin.clone(),
                would: compare::essence(&answer.decision),
                did: compare::essence(theirs),
                by: theirs.source.clone(),
                agrees: pair.agrees(),
            };
            ctx.record(service, vec![Entry::of_incident(now, service.name.clone(), incident, record)]);
        }
    }
    ctx.ports.journal.keep(Recording::Call(Box::new(call)));
}

fn call(service: &Service, member: &PluginSlot<dyn Policy>, question: &Question, said: CallResult) -> PluginCall {
    PluginCall {
        at: question.now,
        service: service.name.clone(),
        incident: Some(question.incident.id),
        plugin: member.plugin.plugin().clone(),
        settings: member.plugin.settings(),
        part: member.part,
        replayable: member.plugin.replayable(),
        asked: CallInput::Policy(Box::new(question.clone())),
        said,
    }
}

/// The incident as a policy is to see it: with the newest lines of its story, and with the attempts that its ladder counts. These
/// are the ones against the same fault since it last started afresh; how restarts of a dead process are spaced is the guard's alone.
fn for_policies(incident: &Incident) -> Incident {
    /// A policy that wants more of the past has its own memory; each line costs on the way into the guest.
    const LINES: usize = 16;
    let mut incident = incident.clone();
    incident.timeline.drain(..incident.timeline.len().saturating_sub(LINES));
    let (reset, signature) = (incident.reset, Some(incident.signature.clone()));
    incident.attempts.retain(|attempt| {
        attempt.intent.class != Class::Restore
            && attempt.intent.signature == signature
            && reset.is_none_or(|reset| attempt.intent.at > reset)
    });
    incident
}
