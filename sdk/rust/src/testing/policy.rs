//! Questions for policies and tasks for actions.

use super::build::{SampleBuilder, series, service};
use crate::instance::Slot;
use crate::{
    ActionInfo, Attempt, Concern, Decision, Ending, Error, Finding, Incident, Offer, Policy, Question, Service, Task,
};

/// The present in these tests: a minute after the incident opened.
const NOW: u64 = 120_000_000_000;
const OPENED: u64 = 60_000_000_000;

/// An incident that this finding opened a minute ago, with nothing tried and nothing on offer.
pub fn question(finding: Finding) -> QuestionBuilder {
    let incident = Incident {
        id: "incident-1".to_owned(),
        signature: finding.condition.clone(),
        severity: finding.severity,
        stage: "opened".to_owned(),
        opened: OPENED,
        concerns: vec![Concern { finding, source: "test".to_owned(), since: OPENED }],
        timeline: Vec::new(),
        attempts: Vec::new(),
        cause: None,
        related: Vec::new(),
        facts: Vec::new(),
    };
    QuestionBuilder {
        question: Question {
            now: NOW,
            seed: 0,
            service: service("web"),
            series: Vec::new(),
            incident,
            offers: Vec::new(),
            experience: Vec::new(),
            state: None,
        },
    }
}

/// See [`question`].
#[derive(Debug, Clone)]
pub struct QuestionBuilder {
    question: Question,
}

impl QuestionBuilder {
    /// One more finding that holds.
    pub fn also(mut self, finding: Finding) -> Self {
        self.question.incident.concerns.push(Concern { finding, source: "test".to_owned(), since: OPENED });
        self
    }
    /// The newest sample of one more probe.
    pub fn seen(mut self, probe: &str, sample: SampleBuilder) -> Self {
        self.question.series.push(series(probe).samples([sample]).build());
        self
    }
    /// An action that is to be had.
    pub fn offer(mut self, action: &str) -> Self {
        self.question.offers.push(Offer {
            action: ActionInfo::new(action, ""),
            source: "builtin".to_owned(),
            blocked: None,
        });
        self
    }
    /// An action that the guard would withhold now.
    pub fn blocked(self, action: &str, why: &str) -> Self {
        let mut made = self.offer(action);
        if let Some(offer) = made.question.offers.last_mut() {
            offer.blocked = Some(why.to_owned());
        }
        made
    }
    /// An attempt of this incident, after those already there.
    pub fn tried(mut self, action: &str, ending: Ending) -> Self {
        let count = u64::try_from(self.question.incident.attempts.len()).unwrap_or(0);
        self.question.incident.attempts.push(Attempt {
            incident: self.question.incident.id.clone(),
            action: action.to_owned(),
            parameters: "{}".to_owned(),
            source: "test".to_owned(),
            at: OPENED + 1_000_000_000 * (count + 1),
            ending,
            undone: false,
            took: Some(500_000_000),
        });
        self
    }
    /// The service, to be changed as the test likes.
    pub fn service(self, change: impl FnOnce(&mut Service)) -> Self {
        self.change(|question| change(&mut question.service))
    }
    /// The whole question, to be changed as the test likes.
    pub fn change(mut self, change: impl FnOnce(&mut Question)) -> Self {
        change(&mut self.question);
        self
    }
    /// As the host would send it.
    pub fn build(self) -> Question {
        self.question
    }
}

/// Puts a question to a policy configured so.
pub fn ask<P: Policy>(config: &str, question: QuestionBuilder) -> Result<Decision, Error> {
    let slot = Slot::<P>::empty();
    slot.configure(config, P::new)?;
    crate::policy::decide(&slot, question.build())
}

/// What an action is handed when an operator asks for it.
pub fn task(action: &str, parameters: &str) -> Task {
    Task {
        now: NOW,
        seed: 0,
        attempt: "attempt-1".to_owned(),
        deadline: 10_000_000_000,
        service: service("web"),
        incident: None,
        action: action.to_owned(),
        parameters: parameters.to_owned(),
    }
}
