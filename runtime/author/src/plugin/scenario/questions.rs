//! A policy's part: it is asked about one incident as its story goes on. The incident is the fold of its journal records, as
//! everywhere.

use std::time::Duration;

use heald_engine::ports::Policy;
use heald_model::CallInput;
use heald_model::{
    ActionInfo, Attempt, Choice, Class, Concern, Decision, Ending, Entry, Experience, Fact, Finding, Incident,
    IncidentId, Intent, IntentId, Moment, Offer, Outcome, Record, ServiceName, Signature, Source, Stage,
};
use heald_model::{Question, Window};
use serde_json::Value;
use uuid::Uuid;

use super::form::{ExperienceForm, FindingForm, OfferForm, OutcomeWord, QuestionForm, RelatedForm, ScenarioForm};
use super::maker::Time;
use super::samples::{seed, until};
use super::world::{World, events, moment};
use super::{CheckedScenario, PluginAnswer, ScenarioCall};

/// Between two questions, unless said: about what an action with its proof takes.
const BETWEEN: Duration = Duration::from_secs(10);
/// Lines of its story that a policy is shown.
const LINES: usize = 16;
/// How long the cure may need, as attempts say it. No policy is shown it.
const VERIFY: Duration = Duration::from_secs(5);

/// Plays it.
pub async fn play(scenario: &CheckedScenario, policy: &dyn Policy) -> Vec<ScenarioCall> {
    let form = &scenario.form;
    let newest = Window { samples: 1, ..Window::default() };
    let mut world = World::of(form, newest);
    let mut samples = events(form).into_iter().peekable();
    let mut story = Story::of(form);
    let mut state = None;
    let mut turns: Vec<ScenarioCall> = Vec::new();
    let mut next = Duration::ZERO;
    for (step, written) in form.question.iter().enumerate() {
        let written = written.get_ref();
        let every = written.every.map_or(BETWEEN, |every| every.0);
        let begin = written.at.map_or(next, |at| at.0);
        next = begin + every * written.repeat;
        for place in 0..written.repeat {
            let at = Time(begin + every * place);
            let now = moment(at);
            if place == 0 {
                world.change(&written.service);
                if written.forget {
                    state = None;
                }
            }
            while let Some(event) = samples.next_if(until(at)) {
                if let Some(step) = form.sample.get(event.step).filter(|_| event.first) {
                    world.change(&step.get_ref().service);
                }
                world.take_in(event.sample);
            }
            // The detectors looked before anybody is asked.
            world.looked();
            story.go_on(written, place == 0, now);
            let Some(incident) = story.told() else { continue };
            let question = Question {
                now,
                seed: seed(form.seed, turns.len()),
                service: world.view(),
                series: world.shown(newest, false, now),
                earlier: story.earlier.clone(),
                related: related(form, now),
                offers: form.offer.iter().map(|offer| offered(offer, written)).collect(),
                experience: form.experience.iter().map(|line| learned(line, &incident)).collect(),
                incident,
                state: state.clone(),
            };
            let said = match policy.decide(&question).await {
                Ok(answer) => {
                    state = answer.state.clone().or(state);
                    story.decided(now, &answer.decision);
                    PluginAnswer::Answer(Box::new(answer))
                }
                Err(fault) => {
                    story.asked_for = None;
                    PluginAnswer::Fault(fault.to_string())
                }
            };
            turns.push(ScenarioCall {
                steps: vec![step],
                at,
                asked: Some(CallInput::Policy(Box::new(question))),
                said,
            });
        }
    }
    turns
}

/// The incident so far.
struct Story {
    service: ServiceName,
    incident: Option<Incident>,
    earlier: Vec<Attempt>,
    /// What the last answer asked for: action, parameters, when.
    asked_for: Option<(String, Value, Moment)>,
    /// The incident that explains it.
    cause: Option<IncidentId>,
    ids: u128,
}

impl Story {
    fn of(form: &ScenarioForm) -> Self {
        let service = ServiceName::from(form.service.name.as_str());
        Self { service, incident: None, earlier: Vec::new(), asked_for: None, cause: cause(form), ids: 0 }
    }

    fn told(&self) -> Option<Incident> {
        let mut incident = self.incident.clone()?;
        incident.timeline.drain(..incident.timeline.len().saturating_sub(LINES));
        Some(incident)
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    /// What happened between the question before and this one.
    fn go_on(&mut self, written: &QuestionForm, first: bool, now: Moment) {
        let asked_for = self.asked_for.take();
        if let (Some((action, parameters, at)), Some(outcome)) = (asked_for, written.outcome) {
            self.attempt(action, parameters, at, outcome, now);
        }
        if !first {
            return;
        }
        if let Some(findings) = &written.findings {
            self.hold(findings, now);
        }
        for tried in &written.tried {
            let at = now - tried.ago.0;
            if tried.earlier {
                let id = self.id();
                let intent = self.intent(IntentId(id), IncidentId(Uuid::nil()), tried.action.clone(), Value::Null, at);
                let ending = ending(tried.outcome);
                self.earlier.push(Attempt {
                    intent,
                    receipt: None,
                    proof: None,
                    ending,
                    undone: false,
                    relapsed: false,
                    took: None,
                });
            } else {
                self.attempt(tried.action.clone(), Value::Null, at, tried.outcome, now);
            }
        }
        if let Some(stage) = written.stage {
            self.enter(now, Record::Staged { stage, why: "as the scenario says".into() });
        }
    }

    /// These hold now, and nothing else.
    fn hold(&mut self, findings: &[FindingForm], now: Moment) {
        let held: Vec<Finding> = findings.iter().map(finding).collect();
        let before: Vec<Finding> =
            self.incident.iter().flat_map(|incident| &incident.concerns).map(|known| known.finding.clone()).collect();
        for gone in before.iter().filter(|known| !held.iter().any(|finding| finding.key() == known.key())) {
            let subject = gone.subject.clone();
            self.enter(now, Record::Cleared { condition: gone.condition.clone(), subject });
        }
        for finding in held {
            let concern = Concern { finding, source: Source::Native, since: now };
            match &self.incident {
                Some(incident) if incident.is_open() => self.enter(now, Record::Concerned { concern }),
                other => {
                    let reopened = other.as_ref().map_or(0, |incident| incident.reopened + 1);
                    let condition = concern.finding.condition.clone();
                    self.enter(now, Record::Opened { condition, concern, parent: self.cause, reopened });
                }
            }
        }
        let cured = self.incident.as_ref().is_some_and(|incident| incident.is_open() && incident.concerns.is_empty());
        if cured {
            self.enter(now, Record::Staged { stage: Stage::Resolved, why: "nothing of it holds any more".into() });
        }
    }

    fn decided(&mut self, now: Moment, decision: &Decision) {
        self.enter(now, Record::Decided { decision: decision.clone() });
        if let Choice::Act(proposal) = &decision.choice {
            self.asked_for = Some((proposal.action.clone(), proposal.parameters.clone(), now));
        }
    }

    fn attempt(&mut self, action: String, parameters: Value, at: Moment, outcome: OutcomeWord, now: Moment) {
        let Some(incident) = self.incident.as_ref().map(|incident| incident.id) else { return };
        let id = IntentId(self.id());
        let intent = self.intent(id, incident, action, parameters, at);
        self.enter(at, Record::Intended { intent });
        self.enter(now, Record::Settled { intent: id, ending: ending(outcome) });
    }

    fn intent(&self, id: IntentId, incident: IncidentId, action: String, parameters: Value, at: Moment) -> Intent {
        Intent {
            id,
            incident: Some(incident),
            service: self.service.clone(),
            signature: self.incident.as_ref().map(|incident| incident.signature.clone()),
            action,
            parameters: if parameters.is_null() { Value::Object(serde_json::Map::new()) } else { parameters },
            class: Class::Disrupt,
            source: Source::Native,
            at,
            cause: None,
            verify_within: VERIFY,
        }
    }

    fn enter(&mut self, at: Moment, record: Record) {
        let id = match &self.incident {
            Some(incident) => incident.id,
            None => IncidentId(self.id()),
        };
        let entry = Entry::of_incident(at, self.service.clone(), id, record);
        match &mut self.incident {
            Some(incident) => incident.apply(&entry),
            none => *none = Incident::open(&entry),
        }
    }
}

fn facts(written: &std::collections::BTreeMap<String, heald_model::Scalar>) -> Vec<Fact> {
    written.iter().map(|(name, value)| Fact { name: name.clone(), value: value.clone() }).collect()
}

fn finding(written: &FindingForm) -> Finding {
    let message =
        if written.message.is_empty() { format!("{} holds", written.condition) } else { written.message.clone() };
    Finding {
        condition: written.condition.clone(),
        subject: written.subject.clone(),
        severity: written.severity,
        score: written.score,
        predicted: None,
        message,
        evidence: facts(&written.evidence),
    }
}

fn ending(outcome: OutcomeWord) -> Ending {
    match outcome {
        OutcomeWord::Healed => Ending::Verified(Outcome::Healed),
        OutcomeWord::NotHealed => Ending::Verified(Outcome::NotHealed),
        OutcomeWord::Worse => Ending::Verified(Outcome::Worse),
        OutcomeWord::Unknown => Ending::Verified(Outcome::Unknown),
        OutcomeWord::Failed => Ending::Failed("it did not work".into()),
        OutcomeWord::Withheld => Ending::Withheld("the guard refused it".into()),
    }
}

fn offered(offer: &OfferForm, asked: &QuestionForm) -> Offer {
    let action = ActionInfo {
        name: offer.action.clone(),
        summary: offer.summary.clone(),
        parameters: Value::Object(offer.parameters.clone()),
        disruptive: offer.disruptive,
        undoable: offer.undoable,
        facts: Vec::new(),
    };
    let blocked = asked.blocked.get(&offer.action).or(offer.blocked.as_ref()).cloned();
    Offer { action, source: Source::Native, blocked }
}

fn learned(line: &ExperienceForm, incident: &Incident) -> Experience {
    let failures = line.tries.saturating_sub(line.successes);
    Experience {
        signature: line.signature.as_deref().map_or_else(|| incident.signature.clone(), Signature::from),
        action: line.action.clone(),
        service: line.here.then(|| incident.service.clone()),
        tries: line.tries,
        successes: line.successes,
        // The uniform prior, and what was seen.
        alpha: 1.0 + f64::from(line.successes),
        beta: 1.0 + f64::from(failures),
        recovery: line.recovery.map(|time| time.0),
        recovery_p90: line.recovery.map(|time| time.0),
    }
}

/// The others. One that explains this one is its parent, which is seen by its id.
fn related(form: &ScenarioForm, now: Moment) -> Vec<Incident> {
    let other = |(place, written): (usize, &RelatedForm)| {
        let concern = Concern {
            finding: Finding {
                condition: written.condition.clone(),
                subject: None,
                severity: heald_model::Severity::Critical,
                score: 1.0,
                predicted: None,
                message: format!("{} of {}", written.condition, written.service),
                evidence: Vec::new(),
            },
            source: Source::Native,
            since: now,
        };
        let id = related_id(place);
        let record = Record::Opened { condition: written.condition.clone(), concern, parent: None, reopened: 0 };
        Incident::open(&Entry::of_incident(now, ServiceName::from(written.service.as_str()), id, record))
    };
    form.related.iter().enumerate().filter_map(other).collect()
}

/// Ids of their own, far from those of the story.
fn related_id(place: usize) -> IncidentId {
    IncidentId(Uuid::from_u128(u128::MAX - place as u128))
}

/// The incident that explains the one asked about.
fn cause(form: &ScenarioForm) -> Option<IncidentId> {
    form.related.iter().position(|other| other.cause).map(related_id)
}
