//! Plug-ins on trial in a running healer, and changing who is asked.

use std::collections::BTreeSet;

use heald_model::{Fault, Moment, PluginName, PluginRef, ServiceName};
use tokio::sync::watch;

use crate::agreement::{Occasion, Pair, Trial};
use crate::cast::Cast;
use crate::heal::Healer;
use crate::plugins::Quarantine;

impl Healer {
    /// From the next look on others are asked about the service; false if there is no such service. Calls under way end with
    /// those they began with.
    pub fn recast(&self, service: &ServiceName, cast: Cast) -> bool {
        let Some(ward) = self.wards.get(service) else { return false };
        ward.recast(cast);
        ward.ring();
        self.take_turn();
        true
    }

    /// Begins the trial of a plug-in anew.
    pub fn begin_trial(&self, plugin: &PluginName) {
        self.trials().begin(plugin, self.now());
    }

    /// Forgets it.
    pub fn end_trial(&self, plugin: &PluginName) {
        self.trials().end(plugin);
    }

    /// How the trial of a plug-in goes.
    pub fn trial(&self, plugin: &PluginName) -> Option<Trial> {
        self.trials().of(plugin).cloned()
    }

    /// Changes whenever a plug-in on trial was compared, or failed.
    pub fn trials_judged(&self) -> watch::Receiver<u64> {
        self.judged.subscribe()
    }

    /// Where a plug-in is rested, or has failed lately.
    pub fn quarantine(&self, plugin: &PluginRef) -> Vec<Quarantine> {
        self.strikes().of(plugin)
    }

    /// The services about which the plug-in of that name is asked.
    pub fn audience(&self, plugin: &PluginName) -> BTreeSet<ServiceName> {
        let asked = self.wards.iter().filter(|(_, ward)| ward.cast().names().contains(plugin));
        asked.map(|(service, _)| service.clone()).collect()
    }

    /// The newest fault that is on record about the plug-in of that name.
    pub fn last_fault(&self, plugin: &PluginName) -> Option<Fault> {
        self.last_faults().get(plugin).cloned()
    }

    pub(crate) fn compared(&self, plugin: &PluginName, occasion: &Occasion, pair: &Pair) {
        self.trials().compare(plugin, occasion, pair);
        self.ring_judges();
    }

    pub(crate) fn abstained(&self, plugin: &PluginName, service: &ServiceName, now: Moment) {
        self.trials().abstained(plugin, service, now);
    }

    pub(crate) fn faulted_on_trial(&self, plugin: &PluginName, service: &ServiceName, now: Moment) {
        self.trials().faulted(plugin, service, now);
        self.ring_judges();
    }

    fn ring_judges(&self) {
        self.judged.send_modify(|count| *count = count.wrapping_add(1));
    }
}
