//! The `[healing]` section: how boldly heald heals.

use std::time::Duration;

use heald_model::{Mode, PluginName};
use serde::{Deserialize, Serialize};

/// The `[healing]` section. A service may name its own detectors, policies and mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealingConfig {
    /// Detectors that every service gets, by plug-in name.
    pub detectors: Vec<PluginName>,
    /// Policies, asked in order until one does not pass. heald's native rules answer last.
    pub policies: Vec<PluginName>,
    /// Plug-ins whose actions every service is offered, beside heald's own. A service may name its own instead.
    pub actions: Vec<PluginName>,
    /// `observe` watches and decides only, `approve` asks before disrupting, `auto` heals.
    pub mode: Mode,
    /// True: everything is decided and judged, nothing is done.
    pub dry_run: bool,
    /// How restarts of a dead process are spaced.
    pub backoff: Backoff,
    /// How many restarts of a dead process are too many.
    pub start_limit: StartLimit,
    /// The least time between two disruptive actions of one kind on one service.
    #[serde(with = "heald_model::time::text")]
    pub cooldown: Duration,
    /// Disruptive attempts in one incident before it goes to people.
    pub attempts: u32,
    /// How many services may be in healing at the same time.
    pub budget: Budget,
    /// The share of all services (0..1) that may fall ill within a minute, though always four: with more, probably it is not them,
    /// and nothing that still runs is touched.
    pub max_unhealthy: f64,
    /// How long a dead dependency holds its dependents' healing before people are told.
    #[serde(with = "heald_model::time::text")]
    pub dependency_hold: Duration,
    /// The same (service, condition) within this time reopens its incident instead of opening another.
    #[serde(with = "heald_model::time::text")]
    pub reopen_within: Duration,
    /// The longest time that a cure may take to show.
    #[serde(with = "heald_model::time::text")]
    pub verify_max: Duration,
}

impl Default for HealingConfig {
    fn default() -> Self {
        Self {
            detectors: Vec::new(),
            policies: Vec::new(),
            actions: Vec::new(),
            mode: Mode::Auto,
            dry_run: false,
            backoff: Backoff::default(),
            start_limit: StartLimit::default(),
            cooldown: Duration::from_secs(30),
            attempts: 3,
            budget: Budget::default(),
            max_unhealthy: 0.5,
            dependency_hold: Duration::from_secs(600),
            reopen_within: Duration::from_secs(600),
            verify_max: Duration::from_secs(300),
        }
    }
}

/// Restart i of a process that does not stay up waits `first * (max/first)^(i/steps)`, half of it drawn: the delay is
/// drawn evenly from half of that to the whole ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015). The first restart of a process
/// that was up for a second is immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// The delay's bound at the first step.
    #[serde(with = "heald_model::time::text")]
    pub first: Duration,
    /// The delay's bound at the last step.
    #[serde(with = "heald_model::time::text")]
    pub max: Duration,
    /// In how many steps it gets there.
    pub steps: u32,
    /// A process that stayed up for this long starts anew.
    #[serde(with = "heald_model::time::text")]
    pub calm: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        // systemd's RestartSteps/RestartMaxDelaySec shape, with numbers that bring a flapping process to a minute in 8 steps.
        Self {
            first: Duration::from_millis(100),
            max: Duration::from_secs(60),
            steps: 8,
            calm: Duration::from_secs(60),
        }
    }
}

/// So many restarts of a dead process within the time are too many: people are told, and retries go on at the longest delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartLimit {
    /// How many.
    pub count: u32,
    /// Within which time.
    #[serde(with = "heald_model::time::text")]
    pub within: Duration,
}

impl Default for StartLimit {
    fn default() -> Self {
        Self { count: 10, within: Duration::from_secs(300) }
    }
}

/// How many services may be in healing at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Services under a disruptive action at the same time, at most this number ...
    pub disrupt: u32,
    /// ... and at most this share (0..1) of all services, though always one.
    pub disrupt_share: f64,
    /// Services whose dead processes are being brought back at the same time; absent: no bound, a dead process does no work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<u32>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { disrupt: 5, disrupt_share: 0.34, restore: None }
    }
}

impl HealingConfig {
    /// What is wrong with it: the field and a sentence, for every fault.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.backoff.first.is_zero() || self.backoff.max < self.backoff.first {
            problems.push(("healing.backoff", "`first` must be above zero and `max` at least `first`".into()));
        }
        if self.backoff.steps == 0 {
            problems.push(("healing.backoff.steps", "must be at least 1".into()));
        }
        if self.start_limit.count == 0 {
            problems.push((
                "healing.start_limit.count",
                "must be at least 1; to withhold restarts use mode = \"observe\"".into(),
            ));
        }
        if !(self.budget.disrupt_share > 0.0 && self.budget.disrupt_share <= 1.0) {
            problems.push(("healing.budget.disrupt_share", "must be above 0 and at most 1".into()));
        }
        if self.budget.disrupt == 0 || self.budget.restore == Some(0) {
            problems.push(("healing.budget", "a budget of 0 heals nothing; use mode = \"observe\" to say so".into()));
        }
        if !(self.max_unhealthy > 0.0 && self.max_unhealthy <= 1.0) {
            problems.push(("healing.max_unhealthy", "must be above 0 and at most 1".into()));
        }
        if self.attempts == 0 {
            problems.push(("healing.attempts", "must be at least 1".into()));
        }
        problems
    }
}
