//! The guard: the native judge between a decision and its effect.
//!
//! Pure: the time and the dice are arguments. Every rule is one small function in [`RULES`]; the first that objects wins, and
//! its reason is journalled. Only this module can make a [`Permit`], and an action takes one by value, so "no permit, no
//! action" is a compile error. The guard never decides what to do; it decides whether it may be done now.

use std::time::Duration;

use heald_model::{Class, Dependency, Desired, Incident, Intent, Mode, Moment, Ruling, ServiceSpec, Source};

use crate::config::{Backoff, HealingConfig};
use crate::ledger::Ledger;

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
    /// Go ahead, once.
    Admit(Permit),
    /// Not now, or not at all.
    Hold(Hold),
}

/// One rule: its objection, if it has one.
type Rule = fn(&HealingConfig, &Ledger, &Case<'_>, &Intent) -> Option<Hold>;

/// All rules, in the order in which they speak. Refusals come first: what may never be done need not wait.
const RULES: [Rule; 13] = [
    observing,
    unwanted,
    finished,
    halted,
    paused,
    occupied,
    dependency_down,
    start_limit,
    backing_off,
    exhausted,
    cooling_down,
    repeated_message,
    over_budget,
];

/// Judges an intent. An admitted one is entered as in flight by the caller's journal entry ([`Ledger::apply`]) under the same
/// lock, so that two cases cannot share one place in a budget.
pub fn judge(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: Intent) -> Judgement {
    match objection(config, ledger, case, &intent) {
        Some(hold) => Judgement::Hold(hold),
        None => Judgement::Admit(Permit { intent }),
    }
}

/// What the guard would say against an intent now: for the `blocked` mark on what is offered to policies.
pub fn objection(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    RULES.iter().find_map(|rule| rule(config, ledger, case, intent))
}

/// A permit to take a performed action back. Undoing is part of the attempt that was admitted: it is always allowed.
pub fn undo(attempt: &heald_model::Attempt) -> Permit {
    Permit { intent: attempt.intent.clone() }
}

fn by_operator(intent: &Intent) -> bool {
    matches!(intent.source, Source::Operator(_))
}

fn observing(config: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if config.dry_run && intent.class != Class::Message {
        return Hold::refuse("dry-run", format!("would {} {}", intent.action, intent.service));
    }
    // An operator's own word is the approval.
    if intent.class == Class::Message || by_operator(intent) {
        return None;
    }
    match case.spec.mode {
        Mode::Auto => None,
        Mode::Observe => {
            Hold::refuse("observe", format!("would {} {}; mode is observe", intent.action, intent.service))
        }
        // Bringing back the dead has its own autonomy, by default auto.
        Mode::Approve if intent.class == Class::Restore || case.approved => None,
        Mode::Approve => Hold::wait("approve", Moment::NEVER, "an operator must approve it").map(Hold::and_escalate),
    }
}

fn unwanted(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let starts = matches!(intent.action.as_str(), "start" | "restart");
    if case.desired == Desired::Stopped && starts {
        return Hold::refuse("stopped", format!("{} is to be stopped; `heald resume` ends that", intent.service));
    }
    None
}

fn finished(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let starts = matches!(intent.action.as_str(), "start" | "restart");
    if case.finished && starts && !by_operator(intent) {
        return Hold::refuse("finished", format!("{} ended and is configured not to run again", intent.service));
    }
    None
}

/// An operator's word that a service shall not run.
fn stops(intent: &Intent) -> bool {
    by_operator(intent) && intent.action == "stop"
}

fn halted(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    // Stopping a service is no healing.
    if case.halted && intent.class != Class::Message && !stops(intent) {
        return Hold::wait("halted", Moment::NEVER, "all healing is stopped");
    }
    None
}

fn paused(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if case.desired == Desired::Paused && intent.class != Class::Message && !by_operator(intent) {
        return Hold::wait("paused", Moment::NEVER, format!("{} is paused; `heald resume` ends that", intent.service));
    }
    None
}

/// The rule that lets one action at a time be in flight for a service.
pub const IN_FLIGHT: &str = "in-flight";

/// The rule that bounds how many services are in healing at the same time.
pub const BUDGET: &str = "budget";

fn occupied(_: &HealingConfig, ledger: &Ledger, _: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let (id, flight) = ledger.flight_of(&intent.service)?;
    (*id != intent.id && intent.class != Class::Message)
        .then(|| Hold::wait(IN_FLIGHT, Moment::NEVER, format!("{} is not settled yet", flight.action)))?
}

fn dependency_down(config: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if intent.class == Class::Message || by_operator(intent) {
        return None;
    }
    let down = case.dependencies.iter().find(|dependency| dependency.up == Some(false))?;
    let why = format!("it needs {}, which is down", down.service);
    let expires = case.incident.map_or(case.now, |incident| incident.opened) + config.dependency_hold;
    if case.now < expires {
        Hold::wait("dependency", expires, why)
    } else {
        Hold::wait("dependency", Moment::NEVER, why).map(Hold::and_escalate)
    }
}

fn backing_off(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if intent.class != Class::Restore || by_operator(intent) {
        return None;
    }
    let account = ledger.account(&intent.service)?;
    // A restart that itself failed (a missing binary) is followed by no death: its own time counts then.
    let lived = account.death.map_or(Duration::ZERO, |death| death.lived);
    let since = account.death.map(|death| death.at).max(account.starts.back().copied())?;
    let delay = delay(&config.backoff, account.streak, lived, case.seed);
    let until = since + delay;
    (case.now < until).then(|| {
        let text = heald_model::time::text::format(Duration::from_millis(delay.as_millis() as u64));
        Hold::wait(
            "back-off",
            until,
            format!("restart {} of a process that does not stay up waits {text}", account.streak + 1),
        )
    })?
}

/// The delay before a dead process is started again; see [`Backoff`].
pub fn delay(backoff: &Backoff, streak: u32, lived: Duration, seed: u64) -> Duration {
    // A process that dies within its first second gets no free restart: that is a crash loop's pace.
    const LONG_ENOUGH: Duration = Duration::from_secs(1);
    if streak == 0 && lived >= LONG_ENOUGH {
        return Duration::ZERO;
    }
    let step = f64::from(streak.min(backoff.steps)) / f64::from(backoff.steps.max(1));
    let ratio = backoff.max.as_secs_f64() / backoff.first.as_secs_f64();
    let bound = backoff.first.as_secs_f64() * ratio.powf(step);
    // The top 53 bits make an even number in 0..1.
    let dice = (seed >> 11) as f64 / (1u64 << 53) as f64;
    Duration::try_from_secs_f64(bound * dice).unwrap_or(backoff.max)
}

fn start_limit(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if intent.class != Class::Restore || by_operator(intent) {
        return None;
    }
    let account = ledger.account(&intent.service)?;
    let horizon = case.now - config.start_limit.within;
    let recent = account.starts.iter().filter(|start| **start >= horizon).count();
    let newest = *account.starts.back()?;
    let until = newest + config.backoff.max;
    (recent >= config.start_limit.count as usize && case.now < until).then(|| {
        let within = heald_model::time::text::format(config.start_limit.within);
        let why = format!(
            "{recent} restarts within {within}; it is tried again once in {}",
            heald_model::time::text::format(config.backoff.max)
        );
        Hold::wait("start-limit", until, why).map(Hold::and_escalate)
    })?
}

fn exhausted(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if intent.class != Class::Disrupt || by_operator(intent) {
        return None;
    }
    let failures = *ledger.account(&intent.service)?.failures.get(&case.incident?.id)?;
    (failures >= config.attempts).then(|| {
        Hold::refuse(
            "attempts",
            format!("{failures} attempts did not heal it; `heald reset {}` allows more", intent.service),
        )
        .map(Hold::and_escalate)
    })?
}

fn cooling_down(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if intent.class != Class::Disrupt || by_operator(intent) {
        return None;
    }
    let until = *ledger.account(&intent.service)?.last.get(&intent.action)? + config.cooldown;
    (case.now < until).then(|| {
        Hold::wait(
            "cooldown",
            until,
            format!(
                "the last {} was less than {} ago",
                intent.action,
                heald_model::time::text::format(config.cooldown)
            ),
        )
    })?
}

/// The same message about the same incident is not repeated for ten minutes, however often it is asked for.
fn repeated_message(_: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    const PAUSE: Duration = Duration::from_secs(600);
    if intent.class != Class::Message || by_operator(intent) {
        return None;
    }
    let told = ledger.account(&intent.service)?.told.get(&(intent.action.clone(), intent.incident))?;
    (case.now < *told + PAUSE).then(|| Hold::wait("repeated", *told + PAUSE, "it was said a short while ago"))?
}

fn over_budget(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let budget = match intent.class {
        Class::Message => return None,
        _ if stops(intent) => return None,
        Class::Restore => config.budget.restore? as usize,
        Class::Disrupt => {
            let share = (case.services as f64 * config.budget.disrupt_share).floor() as usize;
            (config.budget.disrupt as usize).min(share).max(1)
        }
    };
    let healing = ledger.in_flight(intent.class);
    (healing >= budget)
        .then(|| Hold::wait(BUDGET, Moment::NEVER, format!("{healing} of {budget} services are in healing")))?
}
