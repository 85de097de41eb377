//! The state machine.

use std::fmt;
use std::time::Duration;

use heald_model::{Breaker, Moment};

use crate::config::BreakerConfig;

/// Why a circuit moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// So many failures in a row.
    Failures(u32),
    /// A trial check failed while half-open.
    TrialFailed,
    /// It was open for as long as it had to be.
    Waited(Duration),
    /// So many trial checks passed in a row.
    Successes(u32),
    /// Something was done to the service, so it deserves a new trial.
    Acted,
    /// An operator said so.
    Operator,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u32, one: &'static str, many: &'static str| if count == 1 { one } else { many };
        match self {
            Self::Failures(count) => write!(f, "{count} consecutive {}", plural(*count, "failure", "failures")),
            Self::TrialFailed => f.write_str("the trial failed"),
            Self::Waited(open) => write!(f, "after {:.1}s", open.as_secs_f64()),
            Self::Successes(count) => write!(f, "{count} consecutive {}", plural(*count, "success", "successes")),
            Self::Acted => f.write_str("something was done to the service"),
            Self::Operator => f.write_str("by the operator"),
        }
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The state before.
    pub from: Breaker,
    /// The state after.
    pub to: Breaker,
    /// Why.
    pub why: Why,
}

/// Whether a check may go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may. The circuit went half-open for it, if there is a move.
    Check(Option<Move>),
    /// It may not: the circuit is open.
    Skip,
}

/// One service's circuit.
///
/// Whoever checks asks [`Circuit::admit`] first and tells [`Circuit::record`] the verdict afterwards. What decides that a
/// closed circuit has seen enough is in one place, [`Circuit::trips`]; a rolling window would be another answer there.
#[derive(Clone, Debug)]
pub struct Circuit {
    config: BreakerConfig,
    state: Breaker,
    /// Failures in a row.
    failures: u32,
    /// Successes in a row while half-open.
    successes: u32,
    /// How often it opened since it was last closed.
    openings: u32,
    /// When it opened last, and until when that lasts.
    opened: Moment,
    until: Moment,
    /// The failures in a row that opened it since it was last closed.
    tripped: u32,
}

impl Circuit {
    /// A closed circuit, or a disabled one if the configuration says so.
    pub fn new(config: BreakerConfig) -> Self {
        let state = if config.enabled { Breaker::Closed } else { Breaker::Disabled };
        Self {
            config,
            state,
            failures: 0,
            successes: 0,
            openings: 0,
            opened: Moment::EPOCH,
            until: Moment::EPOCH,
            tripped: 0,
        }
    }

    /// Its state. An open circuit whose time has passed stays open until a check asks.
    pub fn state(&self) -> Breaker {
        self.state
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How many failures in a row opened it; a failed trial later does not change that. 0 when it is closed.
    pub fn tripped_by(&self) -> u32 {
        self.tripped
    }

    /// When an open circuit lets the next check through.
    pub fn reopens(&self) -> Option<Moment> {
        match self.state {
            Breaker::Open => Some(self.until),
            Breaker::ForcedOpen => Some(Moment::NEVER),
            Breaker::Closed | Breaker::HalfOpen | Breaker::Disabled => None,
        }
    }

    /// May a check go through now?
    pub fn admit(&mut self, now: Moment) -> Admission {
        match self.state {
            Breaker::Closed | Breaker::HalfOpen | Breaker::Disabled => Admission::Check(None),
            Breaker::Open if now >= self.until => {
                Admission::Check(self.go(Breaker::HalfOpen, Why::Waited(self.until.since(self.opened))))
            }
            Breaker::Open | Breaker::ForcedOpen => Admission::Skip,
        }
    }

    /// A check that was let through has a verdict. `roll` is the dice for the open time. The verdict of a check that began
    /// before the circuit opened comes too late to matter.
    pub fn record(&mut self, ok: bool, now: Moment, roll: u64) -> Option<Move> {
        if matches!(self.state, Breaker::Open | Breaker::ForcedOpen) {
            return None;
        }
        self.failures = if ok { 0 } else { self.failures.saturating_add(1) };
        match (self.state, ok) {
            (Breaker::Closed, false) if self.trips() => self.open(Why::Failures(self.failures), now, roll),
            (Breaker::HalfOpen, false) => self.open(Why::TrialFailed, now, roll),
            (Breaker::HalfOpen, true) => {
                self.successes = self.successes.saturating_add(1);
                if self.successes < self.config.success_threshold {
                    return None;
                }
                self.close(Why::Successes(self.successes))
            }
            _ => None,
        }
    }

    /// Something was done to the service, or it is a new incarnation: the next checks are trials. An operator's word
    /// ([`Circuit::force_open`], disabled) stands.
    pub fn half_open(&mut self) -> Option<Move> {
        match self.state {
            Breaker::Closed | Breaker::Open => self.go(Breaker::HalfOpen, Why::Acted),
            Breaker::HalfOpen => {
                self.successes = 0;
                None
            }
            Breaker::ForcedOpen | Breaker::Disabled => None,
        }
    }

    /// Holds it open until [`Circuit::release`].
    pub fn force_open(&mut self) -> Option<Move> {
        self.go(Breaker::ForcedOpen, Why::Operator)
    }

    /// Lets it only count until [`Circuit::release`].
    pub fn disable(&mut self) -> Option<Move> {
        self.go(Breaker::Disabled, Why::Operator)
    }

    /// Takes back [`Circuit::force_open`] and [`Circuit::disable`]: closed, with nothing counted.
    pub fn release(&mut self) -> Option<Move> {
        let held = matches!(self.state, Breaker::ForcedOpen | Breaker::Disabled);
        if !held || !self.config.enabled {
            return None;
        }
        self.failures = 0;
        self.close(Why::Operator)
    }

    /// Has a closed circuit seen enough?
    fn trips(&self) -> bool {
        self.failures >= self.config.failure_threshold
    }

    fn open(&mut self, why: Why, now: Moment, roll: u64) -> Option<Move> {
        if self.tripped == 0 {
            self.tripped = self.failures;
        }
        self.opened = now;
        self.until = now + self.config.open_for(self.openings, roll);
        self.openings = self.openings.saturating_add(1);
        self.go(Breaker::Open, why)
    }

    fn close(&mut self, why: Why) -> Option<Move> {
        self.openings = 0;
        self.tripped = 0;
        self.go(Breaker::Closed, why)
    }

    fn go(&mut self, to: Breaker, why: Why) -> Option<Move> {
        let from = std::mem::replace(&mut self.state, to);
        self.successes = 0;
        (from != to).then_some(Move { from, to, why })
    }
}
