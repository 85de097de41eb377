//! The bounds of every number and duration of the configuration: nothing that is accepted can overflow a clock or a count,
//! and a slip of the pen ("213503d") is not taken for a wish. What must not be zero is said where the setting is checked.

use std::time::Duration;

use heald_model::time::text::format;

use super::config::Config;

/// A bound that is broken: the path of the setting, and what is allowed.
pub(super) type Broken = (Vec<String>, String);

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(7 * 24);
/// The journal may outlive a machine, and not a career.
const DECADE: Duration = Duration::from_hours(10 * 365 * 24);
/// More failures, successes, attempts or steps in a row than anyone waits for.
const IN_A_ROW: u64 = 1_000;
/// More services, files or answers than a machine has.
const MANY: u64 = 1_000_000;
/// The largest log file.
const LOG_SIZE: u64 = 1 << 40;

/// Every setting beyond its bound.
pub(super) fn broken(config: &Config) -> Vec<Broken> {
    let mut bounds = Bounds::default();
    bounds.sections(config);
    for plugin in &config.plugin {
        let at = |field: &str| format!("plugin {} {field}", plugin.name);
        bounds.most(&at("limits cpu"), plugin.limits.cpu.unwrap_or_default(), DAY);
        bounds.most(&at("limits wall"), plugin.limits.wall.unwrap_or_default(), DAY);
        bounds.count(&at("limits memory_mib"), plugin.limits.memory_mib.unwrap_or(1), 1, 256);
        for (field, count) in [
            ("canary faults", plugin.canary.faults),
            ("canary after", plugin.canary.after),
            ("canary promote_after", plugin.canary.promote_after),
        ] {
            bounds.count(&at(field), count, 0, MANY);
        }
    }
    for service in &config.service {
        let at = |field: &str| format!("service {} {field}", service.name);
        bounds.most(&at("startup"), service.startup, DAY);
        if let Some(breaker) = &service.breaker {
            bounds.breaker(&at("breaker"), breaker);
        }
        if let Some(process) = &service.process {
            bounds.count(&at("process replicas"), process.replicas, 1, u64::MAX);
            bounds.most(&at("process stop_grace"), process.stop_grace, DAY);
            bounds.count(&at("process log max_size"), process.log.max_size, 0, LOG_SIZE);
            bounds.count(&at("process log keep"), process.log.keep, 0, 10_000);
        }
        for (index, probe) in service.probe.iter().enumerate() {
            let own = ProbeBounds {
                period: Some(probe.period).filter(|own| config.probe.period != Some(*own)),
                timeout: Some(probe.timeout).filter(|own| config.probe.timeout != Some(*own)),
                initial_delay: Some(probe.initial_delay).filter(|own| config.probe.initial_delay != Some(*own)),
                thresholds: (probe.failure_threshold.into(), probe.success_threshold.into()),
            };
            bounds.probe(&at(&format!("probe {index}")), &own);
        }
    }
    bounds.0
}

/// The settings of a probe that have bounds, except those that it has from `[probe]`: they are told once.
struct ProbeBounds {
    period: Option<Duration>,
    timeout: Option<Duration>,
    initial_delay: Option<Duration>,
    thresholds: (u64, u64),
}

#[derive(Default)]
struct Bounds(Vec<Broken>);

impl Bounds {
    fn sections(&mut self, config: &Config) {
        let (store, keeper, healing) = (&config.store, &config.keeper, &config.healing);
        let (backoff, start_limit, budget) = (&healing.backoff, &healing.start_limit, &healing.budget);
        for (at, duration, most) in [
            ("store retention", store.retention, DECADE),
            ("store calls", store.calls, DECADE),
            ("store tape", store.tape, DECADE),
            ("keeper heartbeat", keeper.heartbeat, HOUR),
            ("keeper silence", keeper.silence, DAY),
            ("keeper absence", keeper.absence, DAY),
            ("keeper backoff_max", keeper.backoff_max, DAY),
            ("healing cooldown", healing.cooldown, DAY),
            ("healing dependency_hold", healing.dependency_hold, WEEK),
            ("healing reopen_within", healing.reopen_within, WEEK),
            ("healing verify_max", healing.verify_max, DAY),
            ("healing backoff first", backoff.first, DAY),
            ("healing backoff max", backoff.max, DAY),
            ("healing backoff calm", backoff.calm, WEEK),
            // After a restart heald reads the last day of the journal.
            ("healing start_limit within", start_limit.within, DAY),
        ] {
            self.most(at, duration, most);
        }
        for (at, count, most) in [
            ("healing attempts", healing.attempts, IN_A_ROW),
            ("healing backoff steps", backoff.steps, IN_A_ROW),
            ("healing start_limit count", start_limit.count, MANY),
            ("healing budget disrupt", budget.disrupt, MANY),
            ("healing budget restore", budget.restore.unwrap_or_default(), MANY),
        ] {
            self.count(at, count, 0, most);
        }
        self.breaker("breaker", &config.breaker);
        let probe = &config.probe;
        let thresholds = (probe.failure_threshold.unwrap_or(1), probe.success_threshold.unwrap_or(1));
        let of_all = ProbeBounds {
            period: probe.period,
            timeout: probe.timeout,
            initial_delay: probe.initial_delay,
            thresholds: (thresholds.0.into(), thresholds.1.into()),
        };
        self.probe("probe", &of_all);
    }

    fn probe(&mut self, at: &str, probe: &ProbeBounds) {
        self.most(&format!("{at} period"), probe.period.unwrap_or_default(), DAY);
        self.most(&format!("{at} timeout"), probe.timeout.unwrap_or_default(), HOUR);
        self.most(&format!("{at} initial_delay"), probe.initial_delay.unwrap_or_default(), DAY);
        // Zero is refused where the probe itself is checked.
        self.count(&format!("{at} failure_threshold"), probe.thresholds.0, 0, IN_A_ROW);
        self.count(&format!("{at} success_threshold"), probe.thresholds.1, 0, IN_A_ROW);
    }

    fn breaker(&mut self, at: &str, breaker: &heald_breaker::BreakerConfig) {
        self.count(&format!("{at} failure_threshold"), breaker.failure_threshold, 0, IN_A_ROW);
        self.count(&format!("{at} success_threshold"), breaker.success_threshold, 0, IN_A_ROW);
        self.most(&format!("{at} open"), breaker.open, DAY);
        self.most(&format!("{at} open_max"), breaker.open_max.unwrap_or_default(), DAY);
        if breaker.growth.is_finite() && breaker.growth > 100.0 {
            self.say(&format!("{at} growth"), format!("is {}; at most 100 is allowed", breaker.growth));
        }
    }

    /// The path's steps are separated by blanks, which no name holds.
    fn say(&mut self, at: &str, message: String) {
        self.0.push((at.split(' ').map(str::to_owned).collect(), message));
    }

    fn most(&mut self, at: &str, duration: Duration, most: Duration) {
        if duration > most {
            self.say(at, format!("is {}; at most {} is allowed", format(duration), format(most)));
        }
    }

    fn count(&mut self, at: &str, count: impl Into<u64>, least: u64, most: u64) {
        let count = count.into();
        if count > most {
            self.say(at, format!("is {count}; at most {most} is allowed"));
        } else if count < least {
            self.say(at, format!("is {count}; at least {least} is needed"));
        }
    }
}
