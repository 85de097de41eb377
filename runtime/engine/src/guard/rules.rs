//! The guard's rules, one function each.
//!
//! A rule applies by class: a *restore* brings back a dead process, a *disrupt* touches one that serves, a *message* tells
//! somebody. An *order* is an operator's word, of whatever class, and is judged apart. Rules only object; none of them acts.

use std::time::Duration;

use heald_model::time::text;
use heald_model::{Class, Desired, Intent, Mode, Moment, Replica, Source};

use super::{Case, Hold};
use crate::config::{Backoff, HealingConfig};
use crate::ledger::{Ledger, Lives, Tries, instance};

/// One rule: its objection, if it has one.
pub(super) type Rule = fn(&HealingConfig, &Ledger, &Case<'_>, &Intent) -> Option<Hold>;

/// One notice: what people should be told, if anything.
pub(super) type Notice = fn(&HealingConfig, &Ledger, &Case<'_>, &Intent) -> Option<String>;

/// All rules, in the order in which they speak. Refusals come first: what may never be done need not wait.
pub(super) const RULES: [Rule; 21] = [
    dry_run,
    no_such_copy,
    unwanted,
    finished,
    halted,
    paused,
    observing,
    exhausted,
    relapsed,
    poisoned,
    approving,
    occupied,
    dependency_down,
    start_limit,
    backing_off,
    cooling_down,
    flapping,
    too_many_at_once,
    stale,
    repeated_message,
    over_budget,
];

/// What people should be told although the action is admitted.
pub(super) const NOTICES: [Notice; 3] = [dependency_stays_down, dies_again_and_again, is_a_poison_pill];

/// Restores that the slow form of the start limit takes for a pattern: each death within `reopen_within` of the last.
const SLOW_DEATHS: u32 = 5;

/// Copies of one service on which a signature must come back after a completed remedy: then it is no copy's own fault.
const POISONED_COPIES: usize = 3;

/// Relapses of one signature after which people are told: the remedy does not last.
const RELAPSES: u32 = 2;

fn is_order(intent: &Intent) -> bool {
    matches!(intent.source, Source::Operator(_))
}

fn is_message(intent: &Intent) -> bool {
    intent.class == Class::Message
}

fn starts(intent: &Intent) -> bool {
    matches!(intent.action.as_str(), "start" | "restart")
}

/// An operator's word that a service shall not run.
fn is_stop(intent: &Intent) -> bool {
    is_order(intent) && intent.action == "stop"
}

/// What a rule says that an operator ended or can end: heald's own actions wait for that, an order is refused unless the operator
/// insists, and a stop passes.
fn until_the_operator_ends_it(rule: &'static str, case: &Case<'_>, intent: &Intent, why: String) -> Option<Hold> {
    match () {
        () if is_message(intent) || is_stop(intent) => None,
        () if !is_order(intent) => Hold::wait(rule, Moment::NEVER, why),
        () if case.forced => None,
        () => Hold::refuse(rule, format!("{why}; `--force` does it all the same")),
    }
}

fn dry_run(config: &HealingConfig, _: &Ledger, _: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let why = || format!("would {} {}; healing.dry_run is true", intent.action, intent.service);
    (config.dry_run && !is_message(intent)).then(|| Hold::refuse("dry-run", why()))?
}

fn no_such_copy(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let number = intent.parameters.get("replica")?.as_u64()?;
    let copies = case.spec.replicas;
    let why = || format!("{} has no copy {number}; its copies are numbered from 0 to {}", intent.service, copies - 1);
    (copies > 0 && number >= u64::from(copies)).then(|| Hold::refuse("target", why()))?
}

fn unwanted(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let why = || format!("{0} is to be stopped; `heald start {0}` ends that", intent.service);
    (case.desired == Desired::Stopped && starts(intent)).then(|| Hold::refuse("stopped", why()))?
}

fn finished(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let why = || format!("{} ended and is configured not to run again", intent.service);
    (case.finished && starts(intent) && !is_order(intent)).then(|| Hold::refuse("finished", why()))?
}

fn halted(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let why = "all healing is halted; `heald resume --all` ends that".to_owned();
    case.halted.then(|| until_the_operator_ends_it("halted", case, intent, why))?
}

fn paused(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let why = format!("{0} is paused; `heald resume {0}` ends that", intent.service);
    (case.desired == Desired::Paused).then(|| until_the_operator_ends_it("paused", case, intent, why))?
}

fn observing(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let why = format!("would {} {}; its mode is observe", intent.action, intent.service);
    (case.spec.mode == Mode::Observe).then(|| until_the_operator_ends_it("observe", case, intent, why))?
}

/// Bringing back the dead has its own autonomy, by default auto; an operator's own word is the approval.
fn approving(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let asks = case.spec.mode == Mode::Approve && intent.class == Class::Disrupt;
    if !asks || case.approved || is_order(intent) {
        return None;
    }
    Hold::wait("approve", Moment::NEVER, "an operator must approve it").map(Hold::and_escalate)
}

/// The rule that lets one action at a time be in flight for a service, and one restore for each of its copies.
pub const IN_FLIGHT: &str = "in-flight";

fn occupied(_: &HealingConfig, ledger: &Ledger, _: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if is_message(intent) {
        return None;
    }
    let its = instance(intent);
    let other = ledger.flights_of(&intent.service).find(|(id, flight)| {
        let same_copy = its.is_none() || flight.instance.is_none() || flight.instance == its;
        let apart = intent.class == Class::Restore && flight.class == Class::Restore && !same_copy;
        **id != intent.id && flight.class != Class::Message && !apart
    });
    let (_, flight) = other?;
    Hold::wait(IN_FLIGHT, Moment::NEVER, format!("{} of {} is not settled yet", flight.action, intent.service))
}

/// The rule that leaves a service alone while what it needs is down.
pub const DEPENDENCY: &str = "dependency";

fn dependency_down(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if is_message(intent) || is_order(intent) {
        return None;
    }
    let down = case.dependencies.iter().find(|dependency| dependency.up == Some(false))?;
    let why = format!("{} needs {}, which is down", intent.service, down.service);
    let expires = case.incident.map_or(case.now, |incident| incident.opened) + config.dependency_hold;
    if case.now < expires {
        return Hold::wait(DEPENDENCY, expires, why);
    }
    match intent.class {
        Class::Restore => slowly(config, ledger, case, intent, DEPENDENCY, &why),
        _ => Hold::wait(DEPENDENCY, Moment::NEVER, why),
    }
    .map(Hold::and_escalate)
}

fn dependency_stays_down(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<String> {
    let down = case.dependencies.iter().find(|dependency| dependency.up == Some(false))?;
    let why = || format!("{} needs {}, which stays down", intent.service, down.service);
    (intent.class == Class::Restore && !is_order(intent)).then(why)
}

/// At the longest back-off, whatever else holds.
fn slowly(
    config: &HealingConfig,
    ledger: &Ledger,
    case: &Case<'_>,
    intent: &Intent,
    rule: &'static str,
    why: &str,
) -> Option<Hold> {
    let newest = lives(ledger, intent).filter_map(|lives| lives.starts.back().copied()).max()?;
    let until = newest + config.backoff.max;
    let pace = text::format(config.backoff.max);
    (case.now < until).then(|| Hold::wait(rule, until, format!("{why}; it is started again every {pace}")))?
}

/// What is counted of the copies that an intent is about.
fn lives<'a>(ledger: &'a Ledger, intent: &Intent) -> impl Iterator<Item = &'a Lives> {
    let its = instance(intent);
    let known = ledger.account(&intent.service).into_iter().flat_map(|account| account.lives.iter());
    known.filter(move |(replica, _)| is_about(its.as_ref(), replica)).map(|(_, lives)| lives)
}

fn is_about(instance: Option<&Replica>, replica: &Replica) -> bool {
    instance.is_none_or(|instance| instance == replica)
}

/// What was tried against the signature of the case, if that still counts.
fn tries<'a>(config: &HealingConfig, ledger: &'a Ledger, case: &Case<'_>, intent: &Intent) -> Option<&'a Tries> {
    let tries = ledger.account(&intent.service)?.tries.get(intent.signature.as_ref()?)?;
    (!tries.is_over(case.now, config.reopen_within)).then_some(tries)
}

fn exhausted(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if intent.class != Class::Disrupt || is_order(intent) {
        return None;
    }
    let failures = tries(config, ledger, case, intent)?.failures;
    let attempts = if failures == 1 { "attempt" } else { "attempts" };
    let why = || format!("{failures} {attempts} did not heal it; `heald reset {}` allows more", intent.service);
    (failures >= config.attempts).then(|| Hold::refuse("attempts", why()).map(Hold::and_escalate))?
}

fn relapsed(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if intent.class != Class::Disrupt || is_order(intent) {
        return None;
    }
    let relapses = tries(config, ledger, case, intent)?.relapses;
    let why = || {
        let within = text::format(config.reopen_within);
        format!(
            "it came back {relapses} times within {within} of being healed; `heald reset {}` allows more",
            intent.service
        )
    };
    (relapses >= RELAPSES).then(|| Hold::refuse("relapse", why()).map(Hold::and_escalate))?
}

/// A signature that comes back after a completed remedy on several copies is in what they run, not in the copies.
fn poisoned(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if is_message(intent) || is_order(intent) {
        return None;
    }
    let why = poison(config, ledger, case, intent)?;
    match intent.class {
        Class::Restore => slowly(config, ledger, case, intent, "poison-pill", &why),
        _ => Hold::refuse("poison-pill", format!("{why}; `heald reset {}` allows more", intent.service)),
    }
    .map(Hold::and_escalate)
}

fn poison(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<String> {
    let copies = tries(config, ledger, case, intent)?.relapsed_on.len();
    (copies >= POISONED_COPIES).then(|| format!("it came back on {copies} copies after each was healed"))
}

fn is_a_poison_pill(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<String> {
    (intent.class == Class::Restore && !is_order(intent)).then(|| poison(config, ledger, case, intent))?
}

fn start_limit(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if is_message(intent) || is_order(intent) {
        return None;
    }
    let horizon = case.now - config.start_limit.within;
    let recent = |lives: &Lives| lives.starts.iter().filter(|start| **start >= horizon).count();
    let most = lives(ledger, intent).map(recent).max()?;
    if most < config.start_limit.count as usize {
        return None;
    }
    let why = format!("it was started {most} times within {}", text::format(config.start_limit.within));
    slowly(config, ledger, case, intent, "start-limit", &why).map(Hold::and_escalate)
}

/// The start limit's slow form: a process that dies again and again, each time within `reopen_within` of the last.
fn dies_again_and_again(config: &HealingConfig, ledger: &Ledger, _: &Case<'_>, intent: &Intent) -> Option<String> {
    let deaths = lives(ledger, intent).map(|lives| lives.deaths).max()?;
    let within = text::format(config.reopen_within);
    let why = || format!("it died {deaths} times, each within {within} of the last; it is still started again");
    (intent.class == Class::Restore && !is_order(intent) && deaths >= SLOW_DEATHS).then(why)
}

fn backing_off(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if is_message(intent) || is_order(intent) {
        return None;
    }
    let waits = lives(ledger, intent).filter_map(|lives| {
        // A restart that itself failed (a missing binary) is followed by no death: its own time counts then.
        let since = lives.death.map(|death| death.at).max(lives.starts.back().copied())?;
        let lived = lives.death.map_or(Duration::ZERO, |death| death.lived);
        let delay = delay(&config.backoff, lives.streak, lived, case.seed);
        Some((since + delay, delay, lives.streak))
    });
    let (until, delay, streak) = waits.max_by_key(|(until, ..)| *until)?;
    (case.now < until).then(|| {
        let text = text::format(Duration::from_millis(delay.as_millis() as u64));
        let why = format!("restart {} of a process that does not stay up waits {text}", streak + 1);
        Hold::wait("back-off", until, why)
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
    Duration::try_from_secs_f64(bound * f64::midpoint(1.0, dice)).unwrap_or(backoff.max)
}

fn cooling_down(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if intent.class != Class::Disrupt || is_order(intent) {
        return None;
    }
    let until = *ledger.account(&intent.service)?.last.get(&intent.action)? + config.cooldown;
    let why = || format!("the last {} was less than {} ago", intent.action, text::format(config.cooldown));
    (case.now < until).then(|| Hold::wait("cooldown", until, why()))?
}

/// The rule that leaves a service alone while its checks pass and fail in turn: each look may end that.
pub const FLAPPING: &str = "flapping";

fn flapping(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let why = || format!("the checks of {} pass and fail in turn; it must settle first", intent.service);
    let applies = intent.class == Class::Disrupt && !is_order(intent) && case.flapping;
    applies.then(|| Hold::wait(FLAPPING, Moment::NEVER, why()))?
}

fn too_many_at_once(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    if intent.class != Class::Disrupt || is_order(intent) {
        return None;
    }
    let (why, until) = case.outage?;
    Hold::wait("too-many-at-once", until, why)
}

/// The rule that asks for a look before anything is done on an old verdict.
pub const STALE: &str = "stale-verdict";

fn stale(_: &HealingConfig, _: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    /// A look takes some milliseconds; what it saw is judged soon after.
    const LOOK: Duration = Duration::from_millis(250);
    if intent.class != Class::Disrupt || is_order(intent) {
        return None;
    }
    Hold::wait(STALE, case.now + LOOK, case.stale?)
}

/// The same message about the same incident is not repeated for ten minutes, however often it is asked for.
fn repeated_message(_: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    const PAUSE: Duration = Duration::from_secs(600);
    if !is_message(intent) || is_order(intent) {
        return None;
    }
    let told = ledger.account(&intent.service)?.told.get(&(intent.action.clone(), intent.incident))?;
    (case.now < *told + PAUSE).then(|| Hold::wait("repeated", *told + PAUSE, "it was said a short while ago"))?
}

/// The rule that bounds how many services are in healing at the same time.
pub const BUDGET: &str = "budget";

fn over_budget(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>, intent: &Intent) -> Option<Hold> {
    let budget = match intent.class {
        Class::Message => return None,
        _ if is_stop(intent) => return None,
        Class::Restore => config.budget.restore? as usize,
        Class::Disrupt => {
            let share = (case.services as f64 * config.budget.disrupt_share).floor() as usize;
            (config.budget.disrupt as usize).min(share).max(1)
        }
    };
    let healing = ledger.in_flight(intent.class);
    let services = if budget == 1 { "service is" } else { "services are" };
    let why = || format!("{healing} of at most {budget} {services} in healing");
    (healing >= budget).then(|| Hold::wait(BUDGET, Moment::NEVER, why()))?
}
