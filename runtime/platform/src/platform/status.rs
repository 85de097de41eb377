//! Plug-ins as programs see them.

use std::collections::BTreeSet;

use heald_control::{Divergence, PluginCounters, PluginError, PluginStatus};
use heald_model::{PluginName, ServiceName};

use super::Platform;
use crate::registry::{RegisteredPlugin, Use};

impl Platform {
    pub(super) fn status_of(&self, registered: &RegisteredPlugin) -> PluginStatus {
        let name = &registered.table.name;
        let plugin = registered.plugin.as_ref();
        let healer = self.ports.get().map(|ports| &ports.healer);
        let reference = registered.reference();
        let on_trial = matches!(registered.used(), Use::Shadow | Use::Canary);
        let trial = healer.and_then(|healer| healer.plugins().trial(name));
        PluginStatus {
            name: name.clone(),
            state: registered.state(),
            why: registered.why.clone().or_else(|| self.left_out(registered)).or_else(|| {
                let decided = registered.plugin_override.decided.as_ref()?;
                registered.plugin_override.word(&reference.digest).map(|_| format!("{}: {}", decided.by, decided.why))
            }),
            mode: registered.table.mode,
            component: registered.table.component.clone(),
            origin: registered.origin.word().to_owned(),
            loaded: plugin.map(|plugin| plugin.reference().clone()),
            since: plugin.map(|_| registered.since),
            summary: plugin.map(|plugin| plugin.metadata().summary.clone()).unwrap_or_default(),
            roles: plugin.map(|plugin| plugin.roles().iter().map(ToString::to_string).collect()).unwrap_or_default(),
            actions: self.actions_of(name),
            signed_by: plugin.and_then(|plugin| plugin.signed_by().map(|key| key.to_string())),
            requested: plugin.map(heald_host::Plugin::requested).unwrap_or_default(),
            granted: plugin
                .map(heald_host::Plugin::granted)
                .unwrap_or_default()
                .into_iter()
                .filter(|capability| !registered.plugin_override.revoked.contains(capability))
                .collect(),
            revoked: registered.plugin_override.revoked.iter().cloned().collect(),
            instead_of: registered.table.instead_of.clone(),
            services: self.services_of(name).into_iter().collect(),
            counters: plugin.map(|plugin| counters(&plugin.stats())).unwrap_or_default(),
            quarantine: plugin.and(healer).map(|healer| healer.plugins().quarantine(&reference)).unwrap_or_default(),
            last_fault: healer.and_then(|healer| healer.plugins().last_fault(name)),
            agreement: trial
                .filter(|_| on_trial || registered.plugin_override.decided.is_some())
                .map(|trial| trial.agreement),
            schema: plugin.map(|plugin| plugin.metadata().config.clone()).unwrap_or_default(),
        }
    }

    /// Why it is not loaded although nothing is wrong with it.
    fn left_out(&self, registered: &RegisteredPlugin) -> Option<String> {
        let left_out = self.is_idle() && registered.plugin.is_none();
        left_out.then(|| "safe mode: heald died repeatedly, so no plug-in is used until safe mode ends".to_owned())
    }

    pub(super) fn divergence_of(&self, registered: &RegisteredPlugin) -> Result<Divergence, PluginError> {
        let name = &registered.table.name;
        let trial = self.ports.get().and_then(|ports| ports.healer.plugins().trial(name));
        let trial = trial.ok_or_else(|| {
            PluginError::NothingToDo(format!("{name} is compared with nothing: it is neither a shadow nor a canary"))
        })?;
        Ok(Divergence {
            plugin: registered.reference(),
            mode: registered.table.mode,
            instead_of: registered.table.instead_of.clone(),
            since: trial.since,
            agreement: trial.agreement,
            differences: trial.differences.into_iter().rev().collect(),
            services: trial.services,
        })
    }

    /// The services that it is asked about, or whose actions it offers.
    fn services_of(&self, name: &PluginName) -> BTreeSet<ServiceName> {
        let Some(ports) = self.ports.get() else { return BTreeSet::new() };
        let mut services = ports.healer.plugins().audience(name);
        services.extend(ports.executor.audience(name));
        services
    }

    fn actions_of(&self, name: &PluginName) -> Vec<String> {
        self.ports.get().map(|ports| ports.executor.offered_by(name)).unwrap_or_default()
    }
}

fn counters(stats: &heald_host::Stats) -> PluginCounters {
    PluginCounters {
        calls: stats.calls,
        faults: stats.faults.iter().map(|(cause, count)| (cause.to_string(), *count)).collect(),
        guest_seconds: stats.busy.as_secs_f64(),
        wall_seconds: stats.wall.as_secs_f64(),
        instances: stats.instances,
        peak_memory_bytes: stats.peak_memory,
        bytes_out: stats.bytes_out,
        host_calls: stats.host_calls,
        dropped_log_lines: stats.dropped_lines,
    }
}
