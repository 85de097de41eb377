//! How answers are put together: findings, verdicts, decisions, receipts.

use std::time::Duration;

use crate::{
    About, ActionInfo, Alternative, Choice, Decision, Error, Fact, Finding, Metric, Plan, PolicyAbout, Problem,
    Proposal, Receipt, Scalar, Severity, Verdict, Window, WindowMode,
};

impl From<f64> for Scalar {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}
impl From<u32> for Scalar {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}
impl From<i32> for Scalar {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}
impl From<bool> for Scalar {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}
impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Scalar {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Fact {
    /// A named value.
    pub fn new(name: impl Into<String>, value: impl Into<Scalar>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl Problem {
    /// What is wrong, and where: a JSON Pointer into the configuration, `""` for the whole.
    pub fn at(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at: at.into(), message: message.into() }
    }
}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::Other(message)
    }
}

impl Finding {
    /// A finding about the whole service, held with full certainty.
    pub fn new(condition: impl Into<String>, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            condition: condition.into(),
            subject: None,
            severity,
            score: 1.0,
            predicted: None,
            message: message.into(),
            evidence: Vec::new(),
        }
    }

    /// What within the service it is about: a probe, a metric, a replica. Part of the finding's identity, so no numbers.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// How sure, 0..1; what is beyond is brought back, and what is no number becomes 0.
    #[must_use]
    pub fn score(mut self, score: f64) -> Self {
        self.score = if score.is_nan() { 0.0 } else { score.clamp(0.0, 1.0) };
        self
    }

    /// One more piece of evidence.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Scalar>) -> Self {
        self.evidence.push(Fact::new(name, value));
        self
    }

    /// Evidence that a limit was crossed: `<name>` and, beside it, `<name>.limit`.
    #[must_use]
    pub fn crossed(self, name: &str, value: f64, limit: f64) -> Self {
        self.with(name, value).with(format!("{name}.limit"), limit)
    }
}

impl Verdict {
    /// Findings of which some may be the same, seen twice (two probes of one replica, two limits of one metric): of each
    /// (condition, subject) the most severe one stays, or else the first.
    pub fn most_severe(found: impl IntoIterator<Item = Finding>) -> Self {
        let mut kept = Vec::<Finding>::new();
        for finding in found {
            match kept.iter_mut().find(|each| each.condition == finding.condition && each.subject == finding.subject) {
                Some(known) if known.severity < finding.severity => *known = finding,
                Some(_) => {}
                None => kept.push(finding),
            }
        }
        kept.into()
    }

    /// A number worth a chart.
    #[must_use]
    pub fn gauge(mut self, name: impl Into<String>, value: f64) -> Self {
        self.gauges.push(Metric { name: name.into(), value });
        self
    }
}

impl From<Vec<Finding>> for Verdict {
    fn from(findings: Vec<Finding>) -> Self {
        Self { findings, gauges: Vec::new(), state: None }
    }
}

impl FromIterator<Finding> for Verdict {
    fn from_iter<I: IntoIterator<Item = Finding>>(findings: I) -> Self {
        Self::from(findings.into_iter().collect::<Vec<_>>())
    }
}

/// What was not seen in any call before, and without state the newest sample alone.
const NEWS: Window = Window { samples: 1, span: 0, mode: WindowMode::News };

impl About {
    /// The conditions it may report. It is sent what is new; [`window`](Self::window) asks for more.
    pub fn conditions<C: Into<String>>(conditions: impl IntoIterator<Item = C>) -> Self {
        Self { conditions: conditions.into_iter().map(Into::into).collect(), window: NEWS, facts: Vec::new() }
    }

    /// How much of the past it wants when it has no state.
    #[must_use]
    pub fn window(mut self, samples: u32) -> Self {
        self.window.samples = samples;
        self
    }

    /// The last `samples` always, not only what is new: for a detector without memory.
    #[must_use]
    pub fn sliding(mut self, samples: u32) -> Self {
        self.window = Window { samples, span: 0, mode: WindowMode::Sliding };
        self
    }
}

impl PolicyAbout {
    /// It may ask for any action on offer.
    pub fn any() -> Self {
        Self::actions::<String>([])
    }

    /// The actions it may ask for.
    pub fn actions<A: Into<String>>(actions: impl IntoIterator<Item = A>) -> Self {
        Self { actions: actions.into_iter().map(Into::into).collect(), window: NEWS, facts: Vec::new() }
    }
}

impl Decision {
    /// Any choice, with its reason, held with full confidence.
    pub fn new(choice: Choice, reason: impl Into<String>) -> Self {
        Self {
            choice,
            confidence: 1.0,
            reason: reason.into(),
            considered: Vec::new(),
            facts: Vec::new(),
            again_in: None,
            state: None,
        }
    }

    /// Do this, with these parameters (JSON).
    pub fn act(action: impl Into<String>, parameters: impl Into<String>, reason: impl Into<String>) -> Self {
        let proposal = Proposal { action: action.into(), parameters: parameters.into(), verify_within: None };
        Self::new(Choice::Act(proposal), reason)
    }

    /// Nothing needs doing: an answer, and the end of the chain.
    pub fn no_action(reason: impl Into<String>) -> Self {
        Self::new(Choice::NoAction, reason)
    }

    /// A person should look.
    pub fn escalate(reason: impl Into<String>) -> Self {
        Self::new(Choice::Escalate, reason)
    }

    /// No answer: ask the next policy.
    pub fn pass(reason: impl Into<String>) -> Self {
        Self::new(Choice::Pass, reason)
    }

    /// How sure, 0..1; what is beyond is brought back, and what is no number becomes 0.
    #[must_use]
    pub fn confidence(mut self, confidence: f64) -> Self {
        self.confidence = if confidence.is_nan() { 0.0 } else { confidence.clamp(0.0, 1.0) };
        self
    }

    /// How long the cure may need to show. Only an action has such a time.
    #[must_use]
    pub fn verify_within(mut self, duration: Duration) -> Self {
        if let Choice::Act(proposal) = &mut self.choice {
            proposal.verify_within = Some(crate::duration::nanoseconds(duration));
        }
        self
    }

    /// What else was weighed.
    #[must_use]
    pub fn considered(mut self, action: impl Into<String>, score: f64, reason: impl Into<String>) -> Self {
        self.considered.push(Alternative { action: action.into(), score, reason: reason.into() });
        self
    }

    /// A number or word that went into it.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Scalar>) -> Self {
        self.facts.push(Fact::new(name, value));
        self
    }

    /// Ask again after so long.
    #[must_use]
    pub fn again_in(mut self, duration: Duration) -> Self {
        self.again_in = Some(crate::duration::nanoseconds(duration));
        self
    }
}

impl ActionInfo {
    /// An action that touches the service and takes no parameters.
    pub fn new(name: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            summary: summary.into(),
            parameters: r#"{"type":"object","additionalProperties":false}"#.to_owned(),
            disruptive: true,
            undoable: false,
            facts: Vec::new(),
        }
    }

    /// The JSON Schema of its parameters.
    #[must_use]
    pub fn parameters(mut self, schema: impl Into<String>) -> Self {
        self.parameters = schema.into();
        self
    }
}

impl Plan {
    /// What would be done.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), facts: Vec::new() }
    }

    /// A number or word about it.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Scalar>) -> Self {
        self.facts.push(Fact::new(name, value));
        self
    }
}

impl Receipt {
    /// What was done, and whether that changed anything.
    pub fn new(summary: impl Into<String>, changed: bool) -> Self {
        Self { summary: summary.into(), changed, facts: Vec::new(), undo: None }
    }

    /// A number or word about it.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Scalar>) -> Self {
        self.facts.push(Fact::new(name, value));
        self
    }

    /// All that undoing needs.
    #[must_use]
    pub fn undo(mut self, token: Vec<u8>) -> Self {
        self.undo = Some(token);
        self
    }
}
