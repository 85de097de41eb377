//! The circuit breaker as a pure state machine.
//!
//! Time and random numbers are arguments. It makes no check and logs nothing.

use std::fmt;
use std::time::Duration;

use heald_model::{Breaker, Moment};

use crate::config::BreakerConfig;

/// Why a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransitionReason {
    /// This many checks failed in a row.
    Failures(u32),
    /// A check failed while the circuit was half-open.
    TrialFailed,
    /// The open time is over.
    Waited(Duration),
    /// This many checks passed in a row while the circuit was half-open.
    Successes(u32),
    /// An action was performed on the service, or it has a new incarnation, so it is tried again.
    Acted,
    /// The operator changed the state.
    Operator,
}

impl fmt::Display for TransitionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u32, one: &'static str, many: &'static str| if count == 1 { one } else { many };
        match self {
            Self::Failures(count) => write!(f, "{count} consecutive {}", plural(*count, "failure", "failures")),
            Self::TrialFailed => f.write_str("the trial check failed"),
            Self::Waited(open) => write!(f, "after {:.1}s", open.as_secs_f64()),
            Self::Successes(count) => write!(f, "{count} consecutive {}", plural(*count, "success", "successes")),
            Self::Acted => f.write_str("an action was performed on the service"),
            Self::Operator => f.write_str("by the operator"),
        }
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: Breaker,
    /// The state after.
    pub to: Breaker,
    /// The reason.
    pub why: TransitionReason,
}

/// Whether a check may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The check may be made. The transition is set if the circuit became half-open for it.
    Check(Option<Transition>),
    /// The check may not be made, because the circuit is open.
    Skip,
}

/// The circuit of one service.
///
/// Before a check, the caller asks [`Circuit::admit`]; afterwards it reports the verdict to [`Circuit::record`].
/// `Circuit::trips` alone decides when a closed circuit opens; a rolling window would go there.
#[derive(Clone, Debug)]
pub struct Circuit {
    config: BreakerConfig,
    state: Breaker,
    /// Failures in a row.
    failures: u32,
    /// Successes in a row while half-open.
    successes: u32,
    /// How often the circuit opened since it was last closed.
    openings: u32,
    /// When the circuit last opened, and until when it stays open.
    opened: Moment,
    until: Moment,
    /// How many failures in a row opened the circuit since it was last closed.
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

    /// The state. An open circuit stays open after its time until a check asks for admission.
    pub fn state(&self) -> Breaker {
        self.state
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How many failures in a row opened the circuit; 0 while it is closed. A check that fails while half-open does not
    /// change it.
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

    /// Whether a check may be made now.
    pub fn admit(&mut self, now: Moment) -> Admission {
        match self.state {
            Breaker::Closed | Breaker::HalfOpen | Breaker::Disabled => Admission::Check(None),
            Breaker::Open if now >= self.until => Admission::Check(
                self.move_to(Breaker::HalfOpen, TransitionReason::Waited(self.until.since(self.opened))),
            ),
            Breaker::Open | Breaker::ForcedOpen => Admission::Skip,
        }
    }

    /// Records the verdict of an admitted check. `roll` is the random number for the open time. The verdict of a check
    /// that began before the circuit opened is ignored.
    pub fn record(&mut self, ok: bool, now: Moment, roll: u64) -> Option<Transition> {
        if matches!(self.state, Breaker::Open | Breaker::ForcedOpen) {
            return None;
        }
        self.failures = if ok { 0 } else { self.failures.saturating_add(1) };
        match (self.state, ok) {
            (Breaker::Closed, false) if self.trips() => self.open(TransitionReason::Failures(self.failures), now, roll),
            (Breaker::HalfOpen, false) => self.open(TransitionReason::TrialFailed, now, roll),
            (Breaker::HalfOpen, true) => {
                self.successes = self.successes.saturating_add(1);
                if self.successes < self.config.success_threshold {
                    return None;
                }
                self.close(TransitionReason::Successes(self.successes))
            }
            _ => None,
        }
    }

    /// Makes the circuit half-open after an action or for a new incarnation. A state that the operator set
    /// ([`Circuit::force_open`], disabled) stays.
    pub fn half_open(&mut self) -> Option<Transition> {
        match self.state {
            Breaker::Closed | Breaker::Open => self.move_to(Breaker::HalfOpen, TransitionReason::Acted),
            Breaker::HalfOpen => {
                self.successes = 0;
                None
            }
            Breaker::ForcedOpen | Breaker::Disabled => None,
        }
    }

    /// Holds the circuit open until [`Circuit::release`].
    pub fn force_open(&mut self) -> Option<Transition> {
        self.move_to(Breaker::ForcedOpen, TransitionReason::Operator)
    }

    /// Disables the circuit until [`Circuit::release`]: it only counts.
    pub fn disable(&mut self) -> Option<Transition> {
        self.move_to(Breaker::Disabled, TransitionReason::Operator)
    }

    /// Ends [`Circuit::force_open`] and [`Circuit::disable`]: the circuit is closed and its counts are 0.
    pub fn release(&mut self) -> Option<Transition> {
        let held = matches!(self.state, Breaker::ForcedOpen | Breaker::Disabled);
        if !held || !self.config.enabled {
            return None;
        }
        self.failures = 0;
        self.close(TransitionReason::Operator)
    }

    /// Whether a closed circuit must open.
    fn trips(&self) -> bool {
        self.failures >= self.config.failure_threshold
    }

    fn open(&mut self, why: TransitionReason, now: Moment, roll: u64) -> Option<Transition> {
        if self.tripped == 0 {
            self.tripped = self.failures;
        }
        self.opened = now;
        self.until = now + self.config.open_for(self.openings, roll);
        self.openings = self.openings.saturating_add(1);
        self.move_to(Breaker::Open, why)
    }

    fn close(&mut self, why: TransitionReason) -> Option<Transition> {
        self.openings = 0;
        self.tripped = 0;
        self.move_to(Breaker::Closed, why)
    }

    fn move_to(&mut self, to: Breaker, why: TransitionReason) -> Option<Transition> {
        let from = std::mem::replace(&mut self.state, to);
        self.successes = 0;
        (from != to).then_some(Transition { from, to, why })
    }
}
