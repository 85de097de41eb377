//! The plug-ins that heald knows, loaded or not, and how each is used now. Plain data: it loads nothing and calls no plug-in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use heald_control::{PluginMode, PluginState};
use heald_host::{Plugin, PluginConfig, PluginRole};
use heald_model::{Moment, PluginName, PluginRef, ServiceName};

use super::overrides::{OverrideKind, PluginOverride};

/// Where a plug-in comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginOrigin {
    /// The configuration names it.
    Configuration,
    /// Its file is in the watched folder.
    Folder {
        /// The component.
        file: PathBuf,
    },
}

/// A plug-in that heald knows.
#[derive(Clone)]
pub struct RegisteredPlugin {
    /// Its `[[plugin]]` table.
    pub table: PluginConfig,
    /// Where it comes from.
    pub origin: PluginOrigin,
    /// The services that a plug-in of the folder serves; None: all.
    pub services: Option<BTreeSet<ServiceName>>,
    /// The loaded plug-in; None if it could not be loaded.
    pub plugin: Option<Plugin>,
    /// Why it could not be loaded, or why the last attempt to load another version was refused.
    pub why: Option<String>,
    /// When it was loaded.
    pub since: Moment,
    /// The decisions about it that outlive a restart.
    pub plugin_override: PluginOverride,
    /// True while it is being loaded.
    pub loading: bool,
}

/// How a plug-in's answers are used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// They are not asked for.
    Out,
    /// They count; if the plug-in replaces another, in its place.
    Active,
    /// They are compared and do not count.
    Shadow,
    /// They count for some services.
    Canary,
}

impl RegisteredPlugin {
    /// A plug-in as it is configured, not loaded yet.
    pub fn new(table: PluginConfig, origin: PluginOrigin, plugin_override: PluginOverride) -> Self {
        Self {
            table,
            origin,
            services: None,
            plugin: None,
            // What is withheld is not loaded.
            why: plugin_override.withheld(),
            since: Moment::EPOCH,
            plugin_override,
            loading: false,
        }
    }

    /// How it is used, by its configuration and its override.
    pub fn used(&self) -> Use {
        let Some(plugin) = &self.plugin else { return Use::Out };
        match (self.plugin_override.word(&plugin.reference().digest), self.table.mode) {
            (Some(OverrideKind::Disabled | OverrideKind::RolledBack | OverrideKind::Withheld), _) => Use::Out,
            (Some(OverrideKind::Promoted), _) | (None, PluginMode::Active) => Use::Active,
            (None, PluginMode::Shadow) => Use::Shadow,
            // A canary that replaces no plug-in has nothing to be compared with.
            (None, PluginMode::Canary) if self.table.instead_of.is_none() => Use::Shadow,
            (None, PluginMode::Canary) => Use::Canary,
        }
    }

    /// Its state as programs see it.
    pub fn state(&self) -> PluginState {
        let word = self.plugin_override.word(self.plugin.as_ref().map_or("", |plugin| &plugin.reference().digest));
        match word {
            _ if self.loading => PluginState::Loading,
            Some(OverrideKind::Disabled) => PluginState::Disabled,
            Some(OverrideKind::RolledBack) => PluginState::RolledBack,
            Some(OverrideKind::Withheld) => PluginState::Failed,
            _ if self.plugin.is_none() => PluginState::Failed,
            _ => PluginState::Running,
        }
    }

    /// True if an operator disabled it.
    pub fn disabled(&self) -> bool {
        self.state() == PluginState::Disabled
    }

    /// The loaded plug-in, if it has this role.
    pub fn playing(&self, role: PluginRole) -> Option<&Plugin> {
        self.plugin.as_ref().filter(|plugin| plugin.roles().contains(&role))
    }

    /// Its name, version and digest; only the name if it was never loaded.
    pub fn reference(&self) -> PluginRef {
        self.plugin.as_ref().map_or_else(|| nameless(&self.table.name), |plugin| plugin.reference().clone())
    }

    /// True if it serves this service.
    pub fn serves(&self, service: &ServiceName) -> bool {
        self.services.as_ref().is_none_or(|services| services.contains(service))
    }
}

/// A plug-in of which only the name is known.
pub fn nameless(name: &PluginName) -> PluginRef {
    PluginRef { name: name.clone(), version: String::new(), digest: String::new() }
}

/// All plug-ins by name.
pub type PluginRegistry = BTreeMap<PluginName, RegisteredPlugin>;

/// The services for which a canary's answers count: its share of these, at least one, always the same ones.
pub(crate) fn chosen<'a>(
    canary: &PluginName,
    share: f64,
    services: impl IntoIterator<Item = &'a ServiceName>,
) -> BTreeSet<ServiceName> {
    let mut ranked: Vec<(u64, &ServiceName)> =
        services.into_iter().map(|service| (place(canary.as_str(), service.as_str()), service)).collect();
    ranked.sort();
    // Far fewer services than 2^52.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = (ranked.len() as f64 * share.clamp(0.0, 1.0)).ceil() as usize;
    ranked.into_iter().take(count.max(1)).map(|(_, service)| service.clone()).collect()
}

/// FNV-1a over both names: the same in every release, and a different order for each canary.
fn place(canary: &str, service: &str) -> u64 {
    let bytes = canary.bytes().chain([0]).chain(service.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(count: usize) -> Vec<ServiceName> {
        (0..count).map(|n| ServiceName::from(format!("s{n}"))).collect()
    }

    #[test]
    fn a_share_of_the_services_is_chosen_and_at_least_one() {
        let (canary, all) = (PluginName::from("next"), services(50));
        assert_eq!(chosen(&canary, 0.1, &all).len(), 5);
        assert_eq!(chosen(&canary, 0.01, &all).len(), 1);
        assert_eq!(chosen(&canary, 1.0, &all).len(), 50);
        assert_eq!(chosen(&canary, 0.1, &services(1)).len(), 1);
    }

    #[test]
    fn a_larger_share_holds_the_smaller_and_another_canary_gets_others() {
        let (canary, all) = (PluginName::from("next"), services(50));
        assert!(chosen(&canary, 0.5, &all).is_superset(&chosen(&canary, 0.1, &all)));
        assert_eq!(chosen(&canary, 0.1, &all), chosen(&canary, 0.1, &all));
        assert_ne!(chosen(&canary, 0.1, &all), chosen(&PluginName::from("other"), 0.1, &all));
    }
}
