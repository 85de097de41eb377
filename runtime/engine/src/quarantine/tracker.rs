//! Resting plug-ins that keep failing: strikes per (plug-in, its digest, service), growing back-off, one trial call when it ends.
//!
//! Pure. A pair that is is_quarantined says nothing about the same plug-in on another service.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use heald_model::{Fault, Incident, Moment, PluginName, PluginRef, Quarantine, ServiceName};

use crate::quarantine::allowance::Allowances;
use crate::service::lock;

/// Failures in a row before a plug-in is is_quarantined.
const STRIKES: u32 = 3;
/// The first rest; each further one is twice as long.
const FIRST_REST: Duration = Duration::from_secs(10);
/// The longest rest: an operator who replaces the plug-in should not have to wait for long.
const LONGEST_REST: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, Default)]
struct FaultCount {
    strikes: u32,
    rests: u32,
    until: Option<Moment>,
}

/// The faults of all plug-ins: the counts, the incidents about plug-ins, and the newest fault of each.
#[derive(Default)]
pub(crate) struct PluginFaults {
    tracker: Mutex<FaultTracker>,
    incidents: Mutex<BTreeMap<PluginName, Incident>>,
    last: Mutex<BTreeMap<PluginName, Fault>>,
    allowances: Mutex<Allowances>,
}

impl PluginFaults {
    /// With these incidents of an earlier life.
    pub(crate) fn with(incidents: BTreeMap<PluginName, Incident>) -> Self {
        Self { incidents: Mutex::new(incidents), ..Self::default() }
    }

    pub(crate) fn tracker(&self) -> MutexGuard<'_, FaultTracker> {
        lock(&self.tracker)
    }

    pub(crate) fn incidents(&self) -> MutexGuard<'_, BTreeMap<PluginName, Incident>> {
        lock(&self.incidents)
    }

    pub(crate) fn allowances(&self) -> MutexGuard<'_, Allowances> {
        lock(&self.allowances)
    }

    pub(crate) fn last(&self) -> MutexGuard<'_, BTreeMap<PluginName, Fault>> {
        lock(&self.last)
    }
}

/// The tallies of all pairs.
#[derive(Clone, Debug, Default)]
pub struct FaultTracker {
    tallies: BTreeMap<(PluginName, String, ServiceName), FaultCount>,
}

impl FaultTracker {
    /// True while the plug-in is not to be asked about this service.
    pub fn is_quarantined(&self, plugin: &PluginRef, service: &ServiceName, now: Moment) -> bool {
        self.tally(plugin, service).and_then(|tally| tally.until).is_some_and(|until| now < until)
    }

    /// Counts a failure; returns how many there were in a row, and until when it is is_quarantined if it now is. A failure in the
    /// trial call after a rest rests it again at once.
    pub fn failed(&mut self, plugin: &PluginRef, service: &ServiceName, now: Moment) -> (u32, Option<Moment>) {
        let tally = self.tallies.entry(key(plugin, service)).or_default();
        tally.strikes = tally.strikes.saturating_add(1);
        if tally.strikes < STRIKES && tally.until.is_none() {
            return (tally.strikes, None);
        }
        let rest = FIRST_REST.saturating_mul(1 << tally.rests.min(16)).min(LONGEST_REST);
        tally.rests = tally.rests.saturating_add(1);
        tally.until = Some(now + rest);
        (tally.strikes, tally.until)
    }

    /// Counts a good answer; true if there were failures before it.
    pub fn answered(&mut self, plugin: &PluginRef, service: &ServiceName) -> bool {
        // The common case must not allocate a key: nothing ever failed.
        !self.tallies.is_empty() && self.tallies.remove(&key(plugin, service)).is_some()
    }

    /// True if the plug-in has strikes about any service.
    pub fn any(&self, plugin: &PluginRef) -> bool {
        self.tallies.keys().any(|key| is_of(key, plugin))
    }

    /// The services about which the plug-in has strikes.
    pub fn of(&self, plugin: &PluginRef) -> Vec<Quarantine> {
        let its = self.tallies.iter().filter(|(key, _)| is_of(key, plugin));
        its.map(|((_, _, service), tally)| Quarantine {
            service: service.clone(),
            strikes: tally.strikes,
            until: tally.until,
        })
        .collect()
    }

    fn tally(&self, plugin: &PluginRef, service: &ServiceName) -> Option<&FaultCount> {
        if self.tallies.is_empty() {
            return None;
        }
        self.tallies.get(&key(plugin, service))
    }
}

/// One component may be configured twice under two names, and fail as one of them.
fn key(plugin: &PluginRef, service: &ServiceName) -> (PluginName, String, ServiceName) {
    (plugin.name.clone(), plugin.digest.clone(), service.clone())
}

fn is_of((name, digest, _): &(PluginName, String, ServiceName), plugin: &PluginRef) -> bool {
    *name == plugin.name && *digest == plugin.digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin() -> PluginRef {
        PluginRef { name: PluginName::from("p"), version: "1".into(), digest: "d".into() }
    }

    #[test]
    fn three_failures_in_a_row_rest_that_pair_alone_and_each_rest_is_longer() {
        let (mut strikes, plugin) = (FaultTracker::default(), plugin());
        let (a, b) = (ServiceName::from("a"), ServiceName::from("b"));
        let start = Moment::from_millis(0);
        assert_eq!(strikes.failed(&plugin, &a, start), (1, None));
        assert_eq!(strikes.failed(&plugin, &a, start), (2, None));
        assert_eq!(strikes.failed(&plugin, &a, start), (3, Some(start + FIRST_REST)));
        assert!(strikes.is_quarantined(&plugin, &a, start));
        assert!(!strikes.is_quarantined(&plugin, &b, start));
        let trial = start + FIRST_REST;
        assert!(!strikes.is_quarantined(&plugin, &a, trial), "the trial call is let through");
        assert_eq!(strikes.failed(&plugin, &a, trial), (4, Some(trial + FIRST_REST * 2)));
    }

    #[test]
    fn a_good_answer_forgives() {
        let (mut strikes, plugin, a) = (FaultTracker::default(), plugin(), ServiceName::from("a"));
        assert!(!strikes.answered(&plugin, &a));
        strikes.failed(&plugin, &a, Moment::EPOCH);
        assert!(strikes.answered(&plugin, &a));
        assert_eq!(strikes.failed(&plugin, &a, Moment::EPOCH), (1, None));
    }
}
