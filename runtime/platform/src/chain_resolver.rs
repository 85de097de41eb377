//! Resolves the registry into the plug-ins of each service. It configures the plug-ins, which may fail; it changes nothing that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heald_engine::ports::{Detector, Policy};
use heald_engine::{PluginChain, PluginSlot};
use heald_model::SlotMode;

use crate::action_executor::NATIVE;
use crate::consult::Profile;
use heald_host::{HostError, Plugin, PluginActions, PluginRole};
use heald_model::{PluginName, ServiceName};
use serde_json::{Map, Value};

use super::registry::{PluginOrigin, PluginRegistry, RegisteredPlugin, Use, chosen};
use heald_config::{Config, ServiceConfig, chain};

/// The plug-ins of each service and profile, resolved from one state of the registry.
#[derive(Default)]
pub struct ChainResolver {
    /// Detectors and policies of each service.
    pub chains: BTreeMap<ServiceName, PluginChain>,
    /// Actions of each service.
    pub actions: BTreeMap<ServiceName, Vec<Arc<PluginActions>>>,
    /// The profiles that can be consulted.
    pub profiles: BTreeMap<String, Profile>,
    /// The plug-ins that refused their configuration, failed during set-up, or offer what cannot be used, each with the reason.
    pub faults: Vec<(PluginName, String)>,
}

/// A plug-in in one slot of a chain.
struct ChainSlot<'a> {
    registered: &'a RegisteredPlugin,
    part: SlotMode,
    trial: Option<PluginName>,
    against: Option<PluginName>,
}

impl<'a> ChainSlot<'a> {
    fn active(registered: &'a RegisteredPlugin) -> Self {
        Self { registered, part: SlotMode::Active, trial: None, against: None }
    }

    fn shadow(registered: &'a RegisteredPlugin, trial: &PluginName, against: Option<&PluginName>) -> Self {
        Self { registered, part: SlotMode::Shadow, trial: Some(trial.clone()), against: against.cloned() }
    }

    fn member<T: ?Sized>(self, plugin: Arc<T>) -> PluginSlot<T> {
        PluginSlot { plugin, part: self.part, trial: self.trial, against: self.against }
    }
}

impl ChainResolver {
    /// Resolves the chains of every service of the configuration.
    pub async fn of(config: &Config, registry: &PluginRegistry) -> Self {
        let mut resolved = Self::default();
        for service in &config.service {
            let chain = resolved.chain(config, registry, service).await;
            resolved.chains.insert(service.name.clone(), chain);
            let actions = resolved.actions_for(config, registry, service).await;
            resolved.actions.insert(service.name.clone(), actions);
        }
        resolved.consult(config, registry).await;
        resolved
    }

    async fn chain(&mut self, config: &Config, registry: &PluginRegistry, service: &ServiceConfig) -> PluginChain {
        let mut chain = PluginChain::default();
        let listed = config.detectors(service).iter().chain(of_folder(registry, &service.name, PluginRole::Detector));
        for name in listed {
            // Whether a detector answers in this slot, and whether one was refused.
            let (mut there, mut refused) = (false, false);
            for slot in slots(config, registry, name, &service.name, PluginRole::Detector) {
                let detector = slot.registered.plugin.as_ref();
                let Some(plugin) = detector else { continue };
                match plugin.detector(&settings(config, slot.registered, Some(service))).await {
                    Ok(detector) => {
                        there |= slot.part == SlotMode::Active;
                        chain.detectors.push(slot.member(detector as Arc<dyn Detector>));
                    }
                    Err(error) => {
                        refused = true;
                        self.refused(slot.registered, "as a detector", &error);
                    }
                }
            }
            let wanted = registry.get(name).is_some_and(|registered| !registered.disabled());
            if wanted && !there && (refused || registry.get(name).is_some_and(|registered| registered.plugin.is_none()))
            {
                chain.missing.push(name.clone());
            }
        }
        // Policies of the folder go first: those of the configuration usually answer everything.
        let listed = of_folder(registry, &service.name, PluginRole::Policy).chain(config.policies(service));
        for name in listed {
            for slot in slots(config, registry, name, &service.name, PluginRole::Policy) {
                let Some(plugin) = slot.registered.plugin.as_ref() else { continue };
                match plugin.policy(&settings(config, slot.registered, Some(service))).await {
                    Ok(policy) => chain.policies.push(slot.member(policy as Arc<dyn Policy>)),
                    Err(error) => self.refused(slot.registered, "as a policy", &error),
                }
            }
        }
        chain
    }

    async fn actions_for(
        &mut self,
        config: &Config,
        registry: &PluginRegistry,
        service: &ServiceConfig,
    ) -> Vec<Arc<PluginActions>> {
        let mut actions = Vec::new();
        let listed = config.actions(service).iter().chain(of_folder(registry, &service.name, PluginRole::Action));
        for name in listed {
            // A shadow's actions are not offered: an action that is not performed gives nothing to compare.
            for slot in slots(config, registry, name, &service.name, PluginRole::Action)
                .filter(|slot| slot.part == SlotMode::Active)
            {
                let Some(plugin) = slot.registered.plugin.as_ref() else { continue };
                match plugin.actions(&settings(config, slot.registered, Some(service))).await {
                    Ok(offered) => {
                        for info in offered.infos().iter().filter(|info| NATIVE.contains(&info.name.as_str())) {
                            let action = &info.name;
                            let text = format!(
                                "its action `{action}` has the name of heald's own action, which is never replaced; give it another name"
                            );
                            self.fault(slot.registered, text);
                        }
                        actions.push(offered);
                    }
                    Err(error) => self.refused(slot.registered, "as an action", &error),
                }
            }
        }
        actions
    }

    async fn consult(&mut self, config: &Config, registry: &PluginRegistry) {
        for (name, consult) in &config.consult {
            let mut profile = Profile { detectors: Vec::new(), policies: Vec::new(), service: None };
            for plugin in consult.detectors.iter().filter_map(|name| answering(registry, name, PluginRole::Detector)) {
                match plugin.1.detector(&settings(config, plugin.0, None)).await {
                    Ok(detector) => profile.detectors.push(detector),
                    Err(error) => self.refused(plugin.0, "as a detector", &error),
                }
            }
            for plugin in consult.policies.iter().filter_map(|name| answering(registry, name, PluginRole::Policy)) {
                match plugin.1.policy(&settings(config, plugin.0, None)).await {
                    Ok(policy) => profile.policies.push(policy),
                    Err(error) => self.refused(plugin.0, "as a policy", &error),
                }
            }
            self.profiles.insert(name.clone(), profile);
        }
    }

    fn refused(&mut self, registered: &RegisteredPlugin, role: &str, error: &HostError) {
        self.fault(registered, format!("{role}: {}", chain(error)));
    }

    fn fault(&mut self, registered: &RegisteredPlugin, text: String) {
        let fault = (registered.table.name.clone(), text);
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// A plug-in's configuration for a service, with the service's overrides merged in.
fn settings(config: &Config, registered: &RegisteredPlugin, service: Option<&ServiceConfig>) -> Map<String, Value> {
    match service {
        Some(service) => config.plugin_for(&registered.table, service),
        None => registered.table.config.clone(),
    }
}

/// The plug-ins of the watched folder that serve this service and replace no other.
fn of_folder<'a>(
    registry: &'a PluginRegistry,
    service: &'a ServiceName,
    role: PluginRole,
) -> impl Iterator<Item = &'a PluginName> {
    let dropped = registry.iter().filter(|(_, registered)| matches!(registered.origin, PluginOrigin::Folder { .. }));
    let here = dropped.filter(move |(_, registered)| {
        registered.table.instead_of.is_none() && registered.serves(service) && registered.playing(role).is_some()
    });
    here.map(|(name, _)| name)
}

/// The slots where the configuration names this plug-in: itself or its replacement, and the shadows compared with it.
fn slots<'a>(
    config: &Config,
    registry: &'a PluginRegistry,
    name: &'a PluginName,
    service: &ServiceName,
    role: PluginRole,
) -> impl Iterator<Item = ChainSlot<'a>> + use<'a> {
    let mut slots = Vec::new();
    let named = registry.get(name);
    let mut rivals: Vec<&RegisteredPlugin> = Vec::new();
    for registered in registry.values() {
        let aims = registered.table.instead_of.as_ref() == Some(name) && registered.table.name != *name;
        if aims && registered.serves(service) && registered.playing(role).is_some() {
            rivals.push(registered);
        }
    }
    for rival in rivals.iter().filter(|rival| rival.used() == Use::Shadow) {
        slots.push(ChainSlot::shadow(rival, &rival.table.name, Some(name)));
    }
    let heir = rivals.iter().find(|rival| rival.used() == Use::Active);
    let canary = rivals
        .iter()
        .find(|rival| rival.used() == Use::Canary && on_duty(config, registry, rival, name, role).contains(service));
    match (heir, canary, named) {
        (Some(heir), ..) => slots.push(ChainSlot::active(heir)),
        (None, Some(canary), _) => {
            let trial = &canary.table.name;
            if let Some(stable) = named.filter(|stable| stable.used() == Use::Active) {
                slots.push(ChainSlot::shadow(stable, trial, Some(trial)));
            }
            slots.push(ChainSlot { trial: Some(trial.clone()), ..ChainSlot::active(canary) });
        }
        (None, None, Some(named)) => match named.used() {
            Use::Active => slots.push(ChainSlot::active(named)),
            Use::Shadow | Use::Canary => slots.push(ChainSlot::shadow(named, &named.table.name, None)),
            Use::Out => {}
        },
        (None, None, None) => {}
    }
    slots.into_iter()
}

/// The services for which a canary's answers count, among those that ask the plug-in it replaces.
fn on_duty(
    config: &Config,
    registry: &PluginRegistry,
    canary: &RegisteredPlugin,
    stable: &PluginName,
    role: PluginRole,
) -> BTreeSet<ServiceName> {
    let asks = |service: &&ServiceConfig| {
        let listed = match role {
            PluginRole::Detector => config.detectors(service),
            PluginRole::Policy => config.policies(service),
            PluginRole::Action => config.actions(service),
        };
        let dropped = of_folder(registry, &service.name, role).any(|name| name == stable);
        (listed.contains(stable) || dropped) && canary.serves(&service.name)
    };
    let services = config.service.iter().filter(asks).map(|service| &service.name);
    let services: Vec<&ServiceName> = services.collect();
    if services.is_empty() {
        return BTreeSet::new();
    }
    chosen(&canary.table.name, canary.table.canary.share, services)
}

/// The plug-in that answers where a profile names this one.
fn answering<'a>(
    registry: &'a PluginRegistry,
    name: &PluginName,
    role: PluginRole,
) -> Option<(&'a RegisteredPlugin, &'a Plugin)> {
    let heir = registry.values().find(|rival| {
        rival.table.instead_of.as_ref() == Some(name) && rival.used() == Use::Active && rival.playing(role).is_some()
    });
    let registered = heir.or_else(|| registry.get(name)).filter(|registered| registered.used() == Use::Active)?;
    Some((registered, registered.playing(role)?))
}
