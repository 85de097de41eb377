//! From `[[plugin]]` tables to detectors, policies and actions for each service.
//!
//! A plug-in that cannot be loaded is put on record as an incident about it and the rest goes on without; instances are shared by
//! all services whose effective configuration of a plug-in is the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use heald_engine::Profile;
use heald_engine::ports::{Detector, Policy};
use heald_host::{Host, HostError, Plugin, PluginActions};
use heald_model::{Fault, FaultCause, PluginName, PluginRef};
use serde_json::{Map, Value};

use crate::config::{Config, ServiceConfig};

/// The plug-ins that could be loaded, and why the others could not.
#[derive(Default)]
pub struct Plugins {
    loaded: BTreeMap<PluginName, Plugin>,
    /// What went wrong, for the record.
    pub faults: Vec<(PluginRef, Fault)>,
}

fn nameless(name: &PluginName) -> PluginRef {
    PluginRef { name: name.clone(), version: String::new(), digest: String::new() }
}

/// The whole chain of an error in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl Plugins {
    /// Loads every plug-in of the configuration.
    pub fn load(host: &Host, config: &Config) -> Self {
        let mut plugins = Self::default();
        for table in &config.plugin {
            match host.load(table) {
                Ok(plugin) => {
                    plugins.loaded.insert(table.name.clone(), plugin);
                }
                Err(error) => plugins.fail(&nameless(&table.name), &table.component, &error),
            }
        }
        plugins
    }

    fn fail(&mut self, plugin: &PluginRef, what: &str, error: &HostError) {
        let text = format!("{what}: {}", chain(error));
        tracing::error!(plugin = %plugin.name, "cannot be used: {text}");
        if !self.faults.iter().any(|(known, fault)| known.name == plugin.name && fault.detail == text) {
            self.faults.push((plugin.clone(), Fault::new(FaultCause::Load, text)));
        }
    }

    fn config_for(config: &Config, plugin: &PluginName, service: Option<&ServiceConfig>) -> Map<String, Value> {
        match (config.plugin(plugin.as_str()), service) {
            (Some(table), Some(service)) => config.plugin_for(table, service),
            (Some(table), None) => table.config.clone(),
            (None, _) => Map::new(),
        }
    }

    /// The detectors of these names, as configured for a service.
    pub async fn detectors(
        &mut self,
        config: &Config,
        names: &[PluginName],
        service: Option<&ServiceConfig>,
    ) -> Vec<Arc<dyn Detector>> {
        let mut detectors: Vec<Arc<dyn Detector>> = Vec::new();
        for name in names {
            let Some(plugin) = self.loaded.get(name).cloned() else { continue };
            match plugin.detector(&Self::config_for(config, name, service)).await {
                Ok(detector) => detectors.push(detector),
                Err(error) => self.fail(plugin.reference(), "as a detector", &error),
            }
        }
        detectors
    }

    /// The policies of these names, as configured for a service.
    pub async fn policies(
        &mut self,
        config: &Config,
        names: &[PluginName],
        service: Option<&ServiceConfig>,
    ) -> Vec<Arc<dyn Policy>> {
        let mut policies: Vec<Arc<dyn Policy>> = Vec::new();
        for name in names {
            let Some(plugin) = self.loaded.get(name).cloned() else { continue };
            match plugin.policy(&Self::config_for(config, name, service)).await {
                Ok(policy) => policies.push(policy),
                Err(error) => self.fail(plugin.reference(), "as a policy", &error),
            }
        }
        policies
    }

    /// The actions of the plug-ins of these names, as configured for a service.
    pub async fn actions(
        &mut self,
        config: &Config,
        names: &[PluginName],
        service: &ServiceConfig,
    ) -> Vec<Arc<PluginActions>> {
        let mut actions = Vec::new();
        for name in names {
            let Some(plugin) = self.loaded.get(name).cloned() else { continue };
            match plugin.actions(&Self::config_for(config, name, Some(service))).await {
                Ok(offered) => actions.push(offered),
                Err(error) => self.fail(plugin.reference(), "as an action", &error),
            }
        }
        actions
    }

    /// The profiles that can be consulted.
    pub async fn profiles(&mut self, config: &Config) -> BTreeMap<String, Profile> {
        let mut profiles = BTreeMap::new();
        for (name, consult) in &config.consult {
            let detectors = self.detectors(config, &consult.detectors, None).await;
            let policies = self.policies(config, &consult.policies, None).await;
            profiles.insert(name.clone(), Profile { detectors, policies });
        }
        profiles
    }
}
