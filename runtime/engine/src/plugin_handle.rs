//! What the plug-in platform does to a running heald, and what it learns of it: who is asked, and how each plug-in fares.

use std::collections::BTreeSet;
use std::sync::Arc;

use heald_model::{Fault, PluginName, PluginRef, ServiceName};
use tokio::sync::watch;

use crate::compare::PluginTrial;
use crate::context::Context;
use crate::plugin_chain::PluginChain;
use crate::quarantine;
use crate::service::inbox::News;
use heald_model::Quarantine;

/// A running heald, as its plug-in platform sees it.
#[derive(Clone)]
pub struct PluginHandle(Arc<Context>);

impl PluginHandle {
    pub(crate) fn of(ctx: &Arc<Context>) -> Self {
        Self(Arc::clone(ctx))
    }

    /// From the next look on these plug-ins are asked about the service; false if there is no such service. Calls under way end
    /// with the plug-ins they began with.
    pub fn set_plugins(&self, service: &ServiceName, plugins: PluginChain) -> bool {
        let Some(service) = self.0.services.get(service) else { return false };
        service.set_plugins(plugins);
        service.inbox.tell(News::Plugins);
        true
    }

    /// The services about which the plug-in of that name is asked.
    pub fn audience(&self, plugin: &PluginName) -> BTreeSet<ServiceName> {
        let services = self.0.services.all().into_iter();
        let asked = services.filter(|service| service.plugins().names().contains(plugin));
        asked.map(|service| service.name.clone()).collect()
    }

    /// Puts a plug-in's failure on record, as an incident about the plug-in.
    pub fn faulted(&self, about: Option<&ServiceName>, plugin: &PluginRef, fault: &Fault) {
        quarantine::faulted(&self.0, about, plugin, fault);
    }

    /// The plug-in was removed, disabled or replaced: what was wrong with it is over, and its incident is resolved with this reason.
    pub fn gone(&self, plugin: &PluginRef, why: &str) {
        quarantine::gone(&self.0, plugin, why);
    }

    /// The plug-ins with an open incident.
    pub fn with_incident(&self) -> BTreeSet<PluginName> {
        let incidents = self.0.plugin_faults.incidents();
        incidents.iter().filter(|(_, incident)| incident.is_open()).map(|(name, _)| name.clone()).collect()
    }

    /// Where a plug-in is in quarantine, or has failed lately.
    pub fn quarantine(&self, plugin: &PluginRef) -> Vec<Quarantine> {
        self.0.plugin_faults.tracker().of(plugin)
    }

    /// The newest fault that is on record about the plug-in of that name.
    pub fn last_fault(&self, plugin: &PluginName) -> Option<Fault> {
        self.0.plugin_faults.last().get(plugin).cloned()
    }

    /// Starts the trial of a plug-in; an earlier one is forgotten.
    pub fn begin_trial(&self, plugin: &PluginName) {
        self.0.trials.begin(plugin, self.0.now());
    }

    /// Forgets it.
    pub fn end_trial(&self, plugin: &PluginName) {
        self.0.trials.end(plugin);
    }

    /// How the trial of a plug-in goes.
    pub fn trial(&self, plugin: &PluginName) -> Option<PluginTrial> {
        self.0.trials.of(plugin)
    }

    /// Changes whenever a plug-in on trial was compared, or failed.
    pub fn trials_judged(&self) -> watch::Receiver<u64> {
        self.0.trials.judged()
    }
}
