//! The guard: the native judge between a decision and its effect.
//!
//! Pure: the time and the random numbers are arguments. Every rule is one small function in [`rules`]; the first that objects wins,
//! and its reason is journalled. Only this module can make a [`Permit`], and an action takes one by value, so "no permit, no
//! action" is a compile error. The guard never decides what to do; it decides whether it may be done now.

mod rules;

use heald_model::{Attempt, Dependency, Desired, Incident, Intent, Moment, Ruling, ServiceSpec};

use crate::config::HealingConfig;
use crate::ledger::Ledger;

pub use rules::{BUDGET, DEPENDENCY, FLAPPING, IN_FLIGHT, STALE, delay};

/// Leave to act, once. It cannot be copied, stored or made elsewhere; performing the action consumes it.
#[derive(Debug)]
#[must_use = "a permit that is dropped leaves its intent in flight"]
pub struct Permit {
    intent: Intent,
}

impl Permit {
    /// What is permitted.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }
}

/// All that the guard may know of a case.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The time.
    pub now: Moment,
    /// 64 random bits that stay the same for one death of a process, so that judging twice draws one delay.
    pub seed: u64,
    /// The service.
    pub spec: &'a ServiceSpec,
    /// How many services there are in all.
    pub services: usize,
    /// What the operator wants of it.
    pub desired: Desired,
    /// Whether all healing is stopped.
    pub halted: bool,
    /// What it needs, and whether that serves.
    pub dependencies: &'a [Dependency],
    /// The incident; none for an operator's action outside any.
    pub incident: Option<&'a Incident>,
    /// True once an operator approved this incident's next action.
    pub approved: bool,
    /// True if every process of it ended for good: a finished job, or `restart = "never"`.
    pub finished: bool,
    /// True if the operator insists on the order, whatever he said before.
    pub forced: bool,
    /// Whose verdict is too old to act on, and why, if any: a look must come first.
    pub stale: Option<&'a str>,
    /// True if the service's checks pass and fail in turn too often.
    pub flapping: bool,
    /// Why so many services fell ill at once that it is probably not them, and until when that holds this one, if so.
    pub outage: Option<(&'a str, Moment)>,
}

/// Why not now, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Which rule.
    pub rule: &'static str,
    /// When to ask again; [`Moment::NEVER`]: an event must end it. None: refused.
    pub until: Option<Moment>,
    /// For a person.
    pub why: String,
    /// Whether people should be told.
    pub escalate: bool,
}

impl Hold {
    fn wait(rule: &'static str, until: Moment, why: impl Into<String>) -> Option<Self> {
        Some(Self { rule, until: Some(until), why: why.into(), escalate: false })
    }

    fn refuse(rule: &'static str, why: impl Into<String>) -> Option<Self> {
        Some(Self { rule, until: None, why: why.into(), escalate: false })
    }

    fn and_escalate(self) -> Self {
        Self { escalate: true, ..self }
    }

    /// The hold as it stands in the journal.
    pub fn ruling(&self) -> Ruling {
        let (rule, why) = (self.rule.to_owned(), self.why.clone());
        match self.until {
            Some(until) => Ruling::Wait { rule, until, why },
            None => Ruling::Refuse { rule, why },
        }
    }
}

/// The guard's word.
#[derive(Debug)]
pub enum Judgement {
    /// Go ahead, once; people should be told this, if anything.
    Admit(Permit, Option<String>),
    /// Not now, or not at all.
    Hold(Hold),
}

/// Judges an intent. An admitted one is entered as in flight by the caller's journal entry ([`Ledger::apply`]) under the same
/// lock, so that two cases cannot share one place in a budget.
pub fn judge(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: Intent) -> Judgement {
    match objection(config, ledger, case, &intent) {
        Some(hold) => Judgement::Hold(hold),
        None => {
            let notice = rules::NOTICES.iter().find_map(|notice| notice(config, ledger, case, &intent));
            Judgement::Admit(Permit { intent }, notice)
        }
    }
}

/// What the guard would say against an intent now: for the `blocked` mark on what is offered to policies.
pub fn objection(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    rules::RULES.iter().find_map(|rule| rule(config, ledger, case, intent))
}

/// A permit to take a performed action back. Undoing is part of the attempt that was admitted: it is always allowed.
pub fn undo(attempt: &Attempt) -> Permit {
    Permit { intent: attempt.intent.clone() }
}
