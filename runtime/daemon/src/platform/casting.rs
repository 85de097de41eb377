//! From the roster to who is asked about each service, in which part. It configures plug-ins, and with that tries them out; it
//! changes nothing that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heald_engine::calls::Part;
use heald_engine::ports::{Detector, Policy};
use heald_engine::{Cast, Member, Profile};
use heald_host::{HostError, Plugin, PluginActions, PluginRole};
use heald_model::{PluginName, ServiceName};
use serde_json::{Map, Value};

use super::roster::{Enrolled, Origin, Roster, Use, chosen};
use crate::config::{Config, ServiceConfig};

/// Who is asked about what, made from one state of the roster.
#[derive(Default)]
pub struct Casting {
    /// Detectors and policies of each service.
    pub casts: BTreeMap<ServiceName, Cast>,
    /// Actions of each service.
    pub actions: BTreeMap<ServiceName, Vec<Arc<PluginActions>>>,
    /// The profiles that can be consulted.
    pub profiles: BTreeMap<String, Profile>,
    /// What refused its configuration, or failed while it was set up, and as what.
    pub faults: Vec<(PluginName, String)>,
}

/// Whoever takes part in one slot of a chain.
struct Slot<'a> {
    enrolled: &'a Enrolled,
    part: Part,
    trial: Option<PluginName>,
    against: Option<PluginName>,
}

impl<'a> Slot<'a> {
    fn active(enrolled: &'a Enrolled) -> Self {
        Self { enrolled, part: Part::Active, trial: None, against: None }
    }

    fn shadow(enrolled: &'a Enrolled, trial: &PluginName, against: Option<&PluginName>) -> Self {
        Self { enrolled, part: Part::Shadow, trial: Some(trial.clone()), against: against.cloned() }
    }

    fn member<T: ?Sized>(self, plugin: Arc<T>) -> Member<T> {
        Member { plugin, part: self.part, trial: self.trial, against: self.against }
    }
}

impl Casting {
    /// Casts every service of the configuration.
    pub async fn of(config: &Config, roster: &Roster) -> Self {
        let mut casting = Self::default();
        for service in &config.service {
            let cast = casting.cast(config, roster, service).await;
            casting.casts.insert(service.name.clone(), cast);
            let actions = casting.actions_for(config, roster, service).await;
            casting.actions.insert(service.name.clone(), actions);
        }
        casting.consult(config, roster).await;
        casting
    }

    async fn cast(&mut self, config: &Config, roster: &Roster, service: &ServiceConfig) -> Cast {
        let mut cast = Cast::default();
        let listed = config.detectors(service).iter().chain(of_folder(roster, &service.name, PluginRole::Detector));
        for name in listed {
            // Whether somebody's word counts here, under whatever name.
            let (mut there, mut refused) = (false, false);
            for slot in slots(config, roster, name, &service.name, PluginRole::Detector) {
                let detector = slot.enrolled.plugin.as_ref();
                let Some(plugin) = detector else { continue };
                match plugin.detector(&settings(config, slot.enrolled, Some(service))).await {
                    Ok(detector) => {
                        there |= slot.part == Part::Active;
                        cast.detectors.push(slot.member(detector as Arc<dyn Detector>));
                    }
                    Err(error) => {
                        refused = true;
                        self.refused(slot.enrolled, "as a detector", &error);
                    }
                }
            }
            let wanted = roster.get(name).is_some_and(|enrolled| !enrolled.disabled());
            if wanted && !there && (refused || roster.get(name).is_some_and(|enrolled| enrolled.plugin.is_none())) {
                cast.missing.push(name.clone());
            }
        }
        // A policy that was dropped into the folder is there to be heard: those of the configuration usually answer everything.
        let listed = of_folder(roster, &service.name, PluginRole::Policy).chain(config.policies(service));
        for name in listed {
            for slot in slots(config, roster, name, &service.name, PluginRole::Policy) {
                let Some(plugin) = slot.enrolled.plugin.as_ref() else { continue };
                match plugin.policy(&settings(config, slot.enrolled, Some(service))).await {
                    Ok(policy) => cast.policies.push(slot.member(policy as Arc<dyn Policy>)),
                    Err(error) => self.refused(slot.enrolled, "as a policy", &error),
                }
            }
        }
        cast
    }

    async fn actions_for(
        &mut self,
        config: &Config,
        roster: &Roster,
        service: &ServiceConfig,
    ) -> Vec<Arc<PluginActions>> {
        let mut actions = Vec::new();
        let listed = config.actions(service).iter().chain(of_folder(roster, &service.name, PluginRole::Action));
        for name in listed {
            // What an action would have done cannot be compared: one in the shadow is not offered.
            for slot in
                slots(config, roster, name, &service.name, PluginRole::Action).filter(|slot| slot.part == Part::Active)
            {
                let Some(plugin) = slot.enrolled.plugin.as_ref() else { continue };
                match plugin.actions(&settings(config, slot.enrolled, Some(service))).await {
                    Ok(offered) => actions.push(offered),
                    Err(error) => self.refused(slot.enrolled, "as an action", &error),
                }
            }
        }
        actions
    }

    async fn consult(&mut self, config: &Config, roster: &Roster) {
        for (name, consult) in &config.consult {
            let mut profile = Profile { detectors: Vec::new(), policies: Vec::new() };
            for plugin in consult.detectors.iter().filter_map(|name| answering(roster, name, PluginRole::Detector)) {
                match plugin.1.detector(&settings(config, plugin.0, None)).await {
                    Ok(detector) => profile.detectors.push(detector),
                    Err(error) => self.refused(plugin.0, "as a detector", &error),
                }
            }
            for plugin in consult.policies.iter().filter_map(|name| answering(roster, name, PluginRole::Policy)) {
                match plugin.1.policy(&settings(config, plugin.0, None)).await {
                    Ok(policy) => profile.policies.push(policy),
                    Err(error) => self.refused(plugin.0, "as a policy", &error),
                }
            }
            self.profiles.insert(name.clone(), profile);
        }
    }

    fn refused(&mut self, enrolled: &Enrolled, role: &str, error: &HostError) {
        let text = format!("{role}: {}", chain(error));
        let fault = (enrolled.table.name.clone(), text);
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// The whole chain of an error in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// A plug-in's configuration for a service, with the service's overrides merged in.
fn settings(config: &Config, enrolled: &Enrolled, service: Option<&ServiceConfig>) -> Map<String, Value> {
    match service {
        Some(service) => config.plugin_for(&enrolled.table, service),
        None => enrolled.table.config.clone(),
    }
}

/// The plug-ins of the watched folder that are for this service and are not there in the place of another.
fn of_folder<'a>(
    roster: &'a Roster,
    service: &'a ServiceName,
    role: PluginRole,
) -> impl Iterator<Item = &'a PluginName> {
    let dropped = roster.iter().filter(|(_, enrolled)| matches!(enrolled.origin, Origin::Folder { .. }));
    let here = dropped.filter(move |(_, enrolled)| {
        enrolled.table.instead_of.is_none() && enrolled.serves(service) && enrolled.playing(role).is_some()
    });
    here.map(|(name, _)| name)
}

/// Who takes part where the configuration names this plug-in: it, what is there in its place, what is compared with it.
fn slots<'a>(
    config: &Config,
    roster: &'a Roster,
    name: &'a PluginName,
    service: &ServiceName,
    role: PluginRole,
) -> impl Iterator<Item = Slot<'a>> + use<'a> {
    let mut slots = Vec::new();
    let named = roster.get(name);
    let mut rivals: Vec<&Enrolled> = Vec::new();
    for enrolled in roster.values() {
        let aims = enrolled.table.instead_of.as_ref() == Some(name) && enrolled.table.name != *name;
        if aims && enrolled.serves(service) && enrolled.playing(role).is_some() {
            rivals.push(enrolled);
        }
    }
    for rival in rivals.iter().filter(|rival| rival.used() == Use::Shadow) {
        slots.push(Slot::shadow(rival, &rival.table.name, Some(name)));
    }
    let heir = rivals.iter().find(|rival| rival.used() == Use::Active);
    let canary = rivals
        .iter()
        .find(|rival| rival.used() == Use::Canary && on_duty(config, roster, rival, name, role).contains(service));
    match (heir, canary, named) {
        (Some(heir), ..) => slots.push(Slot::active(heir)),
        (None, Some(canary), _) => {
            let trial = &canary.table.name;
            if let Some(stable) = named.filter(|stable| stable.used() == Use::Active) {
                slots.push(Slot::shadow(stable, trial, Some(trial)));
            }
            slots.push(Slot { trial: Some(trial.clone()), ..Slot::active(canary) });
        }
        (None, None, Some(named)) => match named.used() {
            Use::Active => slots.push(Slot::active(named)),
            Use::Shadow | Use::Canary => slots.push(Slot::shadow(named, &named.table.name, None)),
            Use::Out => {}
        },
        (None, None, None) => {}
    }
    slots.into_iter()
}

/// The services for which a canary's answers count, of those that ask the plug-in it is to replace.
fn on_duty(
    config: &Config,
    roster: &Roster,
    canary: &Enrolled,
    stable: &PluginName,
    role: PluginRole,
) -> BTreeSet<ServiceName> {
    let asks = |service: &&ServiceConfig| {
        let listed = match role {
            PluginRole::Detector => config.detectors(service),
            PluginRole::Policy => config.policies(service),
            PluginRole::Action => config.actions(service),
        };
        let dropped = of_folder(roster, &service.name, role).any(|name| name == stable);
        (listed.contains(stable) || dropped) && canary.serves(&service.name)
    };
    let services = config.service.iter().filter(asks).map(|service| &service.name);
    let services: Vec<&ServiceName> = services.collect();
    if services.is_empty() {
        return BTreeSet::new();
    }
    chosen(&canary.table.name, canary.table.canary.share, services)
}

/// The plug-in that answers where a profile names one.
fn answering<'a>(roster: &'a Roster, name: &PluginName, role: PluginRole) -> Option<(&'a Enrolled, &'a Plugin)> {
    let heir = roster.values().find(|rival| {
        rival.table.instead_of.as_ref() == Some(name) && rival.used() == Use::Active && rival.playing(role).is_some()
    });
    let enrolled = heir.or_else(|| roster.get(name)).filter(|enrolled| enrolled.used() == Use::Active)?;
    Some((enrolled, enrolled.playing(role)?))
}
