//! Asking the policies of a service, in order, until one answers; the native rules answer last. Shadows are asked the same
//! question once healing has its answer, and what they say goes on record and nowhere else.

use std::sync::Arc;

use heald_model::{Choice, Decision, Entry, Incident, IncidentId, PluginName, Record};

use crate::agreement::{self, Occasion, Pair};
use crate::calls::{Asked, Call, Kept, Said};
use crate::cast::Member;
use crate::heal::Healer;
use crate::native;
use crate::ports::{Policy, Question, Window};
use crate::shown::shown;
use crate::ward::Ward;

/// A decision, the calls that led to it, and what is still to be asked for comparison.
pub(crate) struct Deliberation {
    pub(crate) decision: Decision,
    calls: Vec<Call>,
    shadows: Vec<Member<dyn Policy>>,
    question: Question,
}

/// What was decided, and what each policy that was asked answered.
struct Done {
    decision: Decision,
    answers: Vec<(PluginName, Decision)>,
}

impl Done {
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

fn answer(call: &Call) -> Option<(PluginName, Decision)> {
    match &call.said {
        Said::Answer(answer) => Some((call.plugin.name.clone(), answer.decision.clone())),
        Said::Verdict(_) | Said::Fault(_) => None,
    }
}

impl Healer {
    /// Asks the policies in order; the native rules answer last.
    pub(crate) async fn decide(&self, ward: &Ward, incident: &Incident) -> Deliberation {
        let mut question = self.question(ward, incident);
        let cast = ward.cast();
        let (mut calls, mut shadows) = (Vec::new(), Vec::new());
        for member in &cast.policies {
            let plugin = member.plugin.plugin();
            if self.strikes().rested(plugin, &ward.spec.name, question.now) {
                continue;
            }
            if !member.is_active() {
                shadows.push(member.clone());
                continue;
            }
            let said = self.ask(ward, member, &mut question).await;
            let call = call(ward, member, &question, said);
            let decision = match &call.said {
                Said::Answer(answer) if answer.decision.choice != Choice::Pass => Some(answer.decision.clone()),
                _ => None,
            };
            calls.push(call);
            if let Some(decision) = decision {
                return Deliberation { decision, calls, shadows, question };
            }
        }
        Deliberation { decision: native::decide(&question), calls, shadows, question }
    }

    /// Asks one policy, with what it remembers; a failure goes on its record, and on that of its own trial.
    async fn ask(&self, ward: &Ward, member: &Member<dyn Policy>, question: &mut Question) -> Said {
        let plugin = member.plugin.plugin();
        question.state = ward.lock().deliberated.get(&plugin.name).cloned();
        match member.plugin.decide(question).await {
            Ok(answer) => {
                self.answered(ward, plugin);
                if let Some(memory) = &answer.state {
                    ward.lock().deliberated.insert(plugin.name.clone(), memory.clone());
                }
                Said::Answer(Box::new(answer))
            }
            Err(fault) => {
                self.faulted(Some(&ward.spec.name), plugin, &fault);
                if member.trial.as_ref() == Some(&plugin.name) {
                    self.faulted_on_trial(&plugin.name, &ward.spec.name, question.now);
                }
                Said::Fault(fault)
            }
        }
    }

    fn question(&self, ward: &Ward, incident: &Incident) -> Question {
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
        let state = ward.lock();
        question.series = shown(state.series.values(), Window { samples: 1, ..Window::default() }, false, now);
        let others = state.incidents.values().filter(|other| other.id != incident.id);
        question.earlier = others.clone().flat_map(|other| other.attempts.iter().cloned()).collect();
        question.related = others.filter(|other| other.is_open()).cloned().collect();
        question
    }

    /// Puts a decision on record where it differs from the last one, with the calls that led to it, and has the shadows asked.
    pub(crate) fn note(&self, ward: &Arc<Ward>, incident: &Incident, deliberation: Deliberation) -> Decision {
        let Deliberation { decision, calls, shadows, question } = deliberation;
        if self.note_decision(ward, incident, &decision) {
            let answers = calls.iter().filter_map(answer).collect();
            for call in calls {
                self.ports.journal.keep(Kept::Call(Box::new(call)));
            }
            if let Some(healer) = self.me.upgrade().filter(|_| !shadows.is_empty()) {
                let (ward, done) = (Arc::clone(ward), Done { decision: decision.clone(), answers });
                // On a task of its own: a shadow that takes its time must not hold up the healing.
                tokio::spawn(async move { healer.decide_in_shadow(&ward, question, shadows, &done).await });
            }
        }
        decision
    }

    /// Asks the shadows what the others were asked, and compares. Nothing that they say has an effect on the service.
    async fn decide_in_shadow(
        &self,
        ward: &Ward,
        mut question: Question,
        shadows: Vec<Member<dyn Policy>>,
        done: &Done,
    ) {
        // One question at a time: what a shadow remembers of this one it is to know at the next.
        let _turn = ward.shadowing.lock().await;
        let incident: IncidentId = question.incident.id;
        for member in shadows {
            let plugin = member.plugin.plugin();
            let (service, now) = (&ward.spec.name, question.now);
            let trial = member.trial.as_ref().unwrap_or(&plugin.name);
            let said = self.ask(ward, &member, &mut question).await;
            let call = call(ward, &member, &question, said);
            if let Said::Answer(answer) = &call.said {
                let theirs = done.by(member.against.as_ref());
                let passed = |decision: &Decision| decision.choice == Choice::Pass;
                // A pass is an answer where the other one's own is known; beside what all decided it says nothing.
                if passed(&answer.decision) && (passed(theirs) || done.own(member.against.as_ref()).is_none()) {
                    self.abstained(trial, service, now);
                } else {
                    let behind = *trial != plugin.name;
                    let pair = match behind {
                        true => Pair::of_decisions(theirs, &answer.decision),
                        false => Pair::of_decisions(&answer.decision, theirs),
                    };
                    let by = if behind { plugin.to_string() } else { theirs.source.to_string() };
                    let occasion = Occasion { at: now, service: service.clone(), incident: Some(incident), by };
                    self.compared(trial, &occasion, &pair);
                    let record = Record::Shadowed {
                        plugin: plugin.clone(),
                        would: agreement::essence(&answer.decision),
                        did: agreement::essence(theirs),
                        by: theirs.source.clone(),
                        agrees: pair.agrees(),
                    };
                    self.record(ward, vec![Entry::of_incident(now, service.clone(), incident, record)]);
                }
            }
            self.ports.journal.keep(Kept::Call(Box::new(call)));
        }
    }
}

fn call(ward: &Ward, member: &Member<dyn Policy>, question: &Question, said: Said) -> Call {
    Call {
        at: question.now,
        service: ward.spec.name.clone(),
        incident: Some(question.incident.id),
        plugin: member.plugin.plugin().clone(),
        settings: member.plugin.settings(),
        part: member.part,
        replayable: member.plugin.replayable(),
        asked: Asked::Policy(Box::new(question.clone())),
        said,
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
