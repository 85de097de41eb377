//! An incident is the fold of its journal records; [`Incident::apply`] is that fold.

use serde::{Deserialize, Serialize};

use crate::action::{Attempt, Ending, Outcome};
use crate::decision::{Choice, Ruling};
use crate::finding::{Concern, Severity};
use crate::id::{IncidentId, IntentId, ServiceName, Signature};
use crate::journal::{Entry, Record};
use crate::plugin::Source;
use crate::time::Moment;

pub use crate::stage::Stage;

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// `finding`, `cleared`, `decision`, `permit`, `withheld`, `intent`, `receipt`, `proof`, `outcome`, `undone`, `stage`, `note`.
    pub kind: String,
    /// Who: a plug-in as `name@digest`, `native`, `guard`, `operator NAME`, `probes`.
    pub source: String,
    /// For a person.
    pub text: String,
}

/// Why nothing happens now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The guard's rule.
    pub rule: String,
    /// For a person.
    pub why: String,
    /// Until when, if it waits; None: refused.
    pub until: Option<Moment>,
}

/// One (service, condition), with all that was found, decided, done and proved about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id, which is also its trace.
    pub id: IncidentId,
    /// The service.
    pub service: ServiceName,
    /// The condition.
    pub condition: String,
    /// What is learned about.
    pub signature: Signature,
    /// The worst severity among the concerns that hold, or the last one that did.
    pub severity: Severity,
    /// Where it stands.
    pub stage: Stage,
    /// Since when.
    pub opened: Moment,
    /// When it last moved.
    pub updated: Moment,
    /// When it was resolved.
    pub resolved: Option<Moment>,
    /// How often it came back.
    pub reopened: u32,
    /// The incident that explains it.
    pub parent: Option<IncidentId>,
    /// What holds now; the worst first.
    pub concerns: Vec<Concern>,
    /// What led it last, once nothing of it holds any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_concern: Option<Concern>,
    /// What was tried, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it last started afresh, by an operator's reset or a recovery that no attempt preceded: what was tried before counts no
    /// longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<Moment>,
    /// Whether the newest attempt since then helped; None: none has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helped: Option<bool>,
    /// Why nothing happens now, if so.
    pub held: Option<Held>,
    /// All of it, oldest first.
    pub timeline: Vec<Event>,
}

impl Incident {
    /// Starts an incident from its `opened` entry; any other entry starts none.
    pub fn open(entry: &Entry) -> Option<Self> {
        let (Some(id), Some(service), Record::Opened { condition, concern, parent, reopened }) =
            (entry.incident, &entry.service, &entry.record)
        else {
            return None;
        };
        let mut incident = Self {
            id,
            service: service.clone(),
            condition: condition.clone(),
            signature: concern.finding.signature(),
            severity: concern.finding.severity,
            stage: Stage::Opened,
            opened: entry.at,
            updated: entry.at,
            resolved: None,
            reopened: *reopened,
            parent: *parent,
            concerns: Vec::new(),
            last_concern: None,
            attempts: Vec::new(),
            reset: None,
            helped: None,
            held: None,
            timeline: Vec::new(),
        };
        incident.concerned(entry.at, concern);
        Some(incident)
    }

    /// True until it is resolved. An escalated incident is still open.
    pub fn is_open(&self) -> bool {
        self.stage != Stage::Resolved
    }

    /// The leading concern, while something of it holds.
    pub fn leading(&self) -> Option<&Concern> {
        self.concerns.first()
    }

    /// What it is about: the leading concern, or the one that led last.
    pub fn about(&self) -> Option<&Concern> {
        self.leading().or(self.last_concern.as_ref())
    }

    /// The attempt that has no ending yet.
    pub fn unsettled(&self) -> Option<&Attempt> {
        self.attempts.iter().rev().find(|attempt| attempt.ending == Ending::Unsettled)
    }

    /// Takes in one more of its journal entries. Entries of other incidents must not be given.
    pub fn apply(&mut self, entry: &Entry) {
        let at = entry.at;
        self.updated = self.updated.max(at);
        match &entry.record {
            Record::Opened { concern, reopened, parent, .. } => {
                self.stage = Stage::Opened;
                self.resolved = None;
                self.reopened = *reopened;
                self.parent = parent.or(self.parent);
                self.held = None;
                self.say(at, "stage", "heald", format!("reopened, {reopened} times so far"));
                self.concerned(at, concern);
            }
            Record::Concerned { concern } => self.concerned(at, concern),
            Record::Cleared { condition, subject } => {
                let cleared = (condition.as_str(), subject.as_deref());
                let gone = self.concerns.iter().position(|concern| concern.finding.key() == cleared);
                if let Some(gone) = gone.map(|place| self.concerns.remove(place))
                    && self.concerns.is_empty()
                {
                    self.last_concern = Some(gone);
                }
                self.rank();
                let what = Signature::new(condition, subject.as_deref());
                self.say(at, "cleared", "probes", format!("{what} no longer holds"));
            }
            Record::Decided { decision } => {
                let asked = match &decision.choice {
                    Choice::Act(proposal) if proposal.parameters.as_object().is_some_and(|o| !o.is_empty()) => {
                        format!("{} {}", proposal.action, proposal.parameters)
                    }
                    _ => decision.verb().to_owned(),
                };
                let text = format!("{asked} ({:.0} % sure): {}", decision.confidence * 100.0, decision.reason);
                self.say(at, "decision", &decision.source.to_string(), text);
            }
            Record::Ruled { action, ruling } => self.ruled(at, action, ruling),
            Record::Intended { intent } => {
                self.held = None;
                // What people were told stays told until it is resolved.
                if self.stage == Stage::Opened {
                    self.stage = Stage::Healing;
                }
                self.say(at, "intent", "heald", format!("{} {} ({})", intent.action, intent.service, intent.class));
                self.attempts.push(Attempt {
                    intent: intent.clone(),
                    receipt: None,
                    proof: None,
                    ending: Ending::Unsettled,
                    undone: false,
                    relapsed: false,
                    took: None,
                });
            }
            Record::Performed { intent, receipt } => {
                self.say(at, "receipt", "heald", receipt.summary.clone());
                self.amend(*intent, |attempt| attempt.receipt = Some(receipt.clone()));
            }
            Record::Proved { intent, proof } => {
                self.say(at, "proof", "probes", proof.summary.clone());
                self.amend(*intent, |attempt| attempt.proof = Some(proof.clone()));
            }
            Record::Undone { intent, summary } => {
                self.say(at, "undone", "heald", summary.clone());
                self.amend(*intent, |attempt| attempt.undone = true);
            }
            Record::Settled { intent, ending } => {
                self.say(at, "outcome", "heald", ending.to_string());
                match ending {
                    Ending::Verified(Outcome::Healed) => self.helped = Some(true),
                    Ending::Verified(Outcome::NotHealed | Outcome::Worse) | Ending::Failed(_) => {
                        self.helped = Some(false);
                    }
                    Ending::Verified(Outcome::Unknown) | Ending::Withheld(_) | Ending::Unsettled => {}
                }
                self.amend(*intent, |attempt| {
                    attempt.took = Some(at.since(attempt.intent.at));
                    attempt.ending = ending.clone();
                });
            }
            Record::Relapsed { intent, .. } => {
                self.say(at, "outcome", "heald", "relapsed: what it had healed came back".to_owned());
                self.helped = Some(false);
                self.amend(*intent, |attempt| {
                    attempt.relapsed = true;
                    attempt.ending = Ending::Verified(Outcome::NotHealed);
                });
            }
            Record::Staged { stage, why } => {
                self.stage = *stage;
                self.resolved = (*stage == Stage::Resolved).then_some(at);
                if *stage == Stage::Resolved {
                    self.held = None;
                    // A recovery that no attempt of ours brought about starts afresh.
                    if self.helped.take() == Some(false) {
                        self.reset = Some(at);
                    }
                }
                self.say(at, "stage", "heald", format!("{stage}: {why}"));
            }
            Record::PluginFaulted { plugin, fault, rested_until, .. } => {
                let rest = if rested_until.is_some() { "; it is rested" } else { "" };
                self.say(at, "note", &plugin.to_string(), format!("{fault}{rest}"));
            }
            // What agrees is counted, not told: the story is of what was done.
            Record::Shadowed { agrees: true, .. } => {}
            Record::Shadowed { plugin, would, did, .. } => {
                self.say(at, "note", &plugin.to_string(), format!("would have: {would}, where it was: {did}"));
            }
            Record::Note { text } => self.say(at, "note", "heald", text.clone()),
            Record::Reset { by } => {
                self.held = None;
                self.reset = Some(at);
                self.helped = None;
                if self.stage == Stage::Escalated {
                    self.stage = Stage::Opened;
                }
                self.say(at, "note", &Source::Operator(by.clone()).to_string(), "back-off and attempts reset".into());
            }
            _ => {}
        }
    }

    fn concerned(&mut self, at: Moment, concern: &Concern) {
        let known = self.concerns.iter_mut().find(|c| c.finding.key() == concern.finding.key());
        match known {
            Some(known) => *known = concern.clone(),
            None => self.concerns.push(concern.clone()),
        }
        self.rank();
        let text = format!("{} {}: {}", concern.finding.severity, concern.finding.signature(), concern.finding.message);
        self.say(at, "finding", &concern.source.to_string(), text);
    }

    fn ruled(&mut self, at: Moment, action: &str, ruling: &Ruling) {
        match ruling {
            Ruling::Admit { why } => {
                self.held = None;
                self.say(at, "permit", "guard", format!("{action}: {why}"));
            }
            Ruling::Wait { rule, until, why } => {
                self.held = Some(Held { rule: rule.clone(), why: why.clone(), until: Some(*until) });
                self.say(at, "withheld", "guard", format!("{action} waits ({rule}): {why}"));
            }
            Ruling::Refuse { rule, why } => {
                self.held = Some(Held { rule: rule.clone(), why: why.clone(), until: None });
                self.say(at, "withheld", "guard", format!("{action} refused ({rule}): {why}"));
            }
        }
    }

    /// Keeps the worst concern first; ties by age, so that the lead does not change hands for nothing.
    fn rank(&mut self) {
        self.concerns.sort_by(|a, b| b.finding.severity.cmp(&a.finding.severity).then(a.since.cmp(&b.since)));
        if let Some(leading) = self.concerns.first() {
            self.severity = leading.finding.severity;
            self.signature = leading.finding.signature();
        }
    }

    fn amend(&mut self, intent: IntentId, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.intent.id == intent) {
            change(attempt);
        }
    }

    fn say(&mut self, at: Moment, kind: &str, source: &str, text: String) {
        self.timeline.push(Event { at, kind: kind.into(), source: source.into(), text });
    }
}
