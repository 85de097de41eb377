//! The comparisons of all plug-ins on trial in a running heald. Whoever judges trials is told when there is something new.

use std::sync::{Mutex, MutexGuard};

use heald_model::{Moment, PluginName, ServiceName};
use tokio::sync::watch;

use crate::compare::{ComparisonContext, Pair, PluginTrial, PluginTrials};
use crate::service::lock;

/// The trials of a running heald.
#[derive(Default)]
pub(crate) struct RunningTrials {
    trials: Mutex<PluginTrials>,
    /// Counts what was compared and what failed.
    judged: watch::Sender<u64>,
}

impl RunningTrials {
    /// Starts the trial of a plug-in; an earlier one is forgotten.
    pub(crate) fn begin(&self, plugin: &PluginName, now: Moment) {
        self.trials().begin(plugin, now);
    }

    /// Forgets it.
    pub(crate) fn end(&self, plugin: &PluginName) {
        self.trials().end(plugin);
    }

    /// How the trial of a plug-in goes.
    pub(crate) fn of(&self, plugin: &PluginName) -> Option<PluginTrial> {
        self.trials().of(plugin).cloned()
    }

    /// Changes whenever a plug-in on trial was compared, or failed.
    pub(crate) fn judged(&self) -> watch::Receiver<u64> {
        self.judged.subscribe()
    }

    pub(crate) fn compared(&self, plugin: &PluginName, occasion: &ComparisonContext, pair: &Pair) {
        self.trials().compare(plugin, occasion, pair);
        self.tell();
    }

    pub(crate) fn abstained(&self, plugin: &PluginName, service: &ServiceName, now: Moment) {
        self.trials().abstained(plugin, service, now);
    }

    pub(crate) fn faulted(&self, plugin: &PluginName, service: &ServiceName, now: Moment) {
        self.trials().faulted(plugin, service, now);
        self.tell();
    }

    fn tell(&self) {
        self.judged.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn trials(&self) -> MutexGuard<'_, PluginTrials> {
        lock(&self.trials)
    }
}
