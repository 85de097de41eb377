//! The plug-ins that heald knows of, loaded or not, and how each is used now. Plain data: it loads nothing and asks nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use heald_engine::plugins::{PluginMode, PluginState};
use heald_host::{Plugin, PluginConfig, PluginRole};
use heald_model::{Moment, PluginName, PluginRef, ServiceName};

use super::standing::{Standing, Word};

/// Where a plug-in was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration.
    Configuration,
    /// By lying in the watched folder.
    Folder {
        /// The component.
        file: PathBuf,
    },
}

/// One plug-in.
#[derive(Clone)]
pub struct Enrolled {
    /// As it is configured.
    pub table: PluginConfig,
    /// Where it was named.
    pub origin: Origin,
    /// One of the folder: the services it is for; None: all.
    pub services: Option<BTreeSet<ServiceName>>,
    /// What runs; None if nothing could be loaded.
    pub plugin: Option<Plugin>,
    /// Why nothing could, or why the last attempt at another version was refused.
    pub why: Option<String>,
    /// When it was loaded.
    pub since: Moment,
    /// What was decided about it.
    pub standing: Standing,
    /// It is being loaded just now.
    pub loading: bool,
}

/// How its answers are used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Not at all.
    Out,
    /// They count, in the place of another if it names one.
    Active,
    /// They are compared.
    Shadow,
    /// They count for some services.
    Canary,
}

impl Enrolled {
    /// As configured, not loaded yet.
    pub fn new(table: PluginConfig, origin: Origin, standing: Standing) -> Self {
        Self { table, origin, services: None, plugin: None, why: None, since: Moment::EPOCH, standing, loading: false }
    }

    /// How it is used, by its configuration and by what was decided about it.
    pub fn used(&self) -> Use {
        let Some(plugin) = &self.plugin else { return Use::Out };
        match (self.standing.word(&plugin.reference().digest), self.table.mode) {
            (Some(Word::Disabled | Word::RolledBack), _) => Use::Out,
            (Some(Word::Promoted), _) | (None, PluginMode::Active) => Use::Active,
            (None, PluginMode::Shadow) => Use::Shadow,
            // A canary that is to replace nobody has nothing to be compared with.
            (None, PluginMode::Canary) if self.table.instead_of.is_none() => Use::Shadow,
            (None, PluginMode::Canary) => Use::Canary,
        }
    }

    /// Where it is in its life.
    pub fn state(&self) -> PluginState {
        let word = self.standing.word(self.plugin.as_ref().map_or("", |plugin| &plugin.reference().digest));
        match word {
            _ if self.loading => PluginState::Loading,
            Some(Word::Disabled) => PluginState::Disabled,
            Some(Word::RolledBack) => PluginState::RolledBack,
            _ if self.plugin.is_none() => PluginState::Failed,
            _ => PluginState::Running,
        }
    }

    /// True if an operator wants it out.
    pub fn disabled(&self) -> bool {
        self.state() == PluginState::Disabled
    }

    /// It, if it can be that.
    pub fn playing(&self, role: PluginRole) -> Option<&Plugin> {
        self.plugin.as_ref().filter(|plugin| plugin.roles().contains(&role))
    }

    /// Its name, version and digest; of one that never was loaded only the name.
    pub fn reference(&self) -> PluginRef {
        self.plugin.as_ref().map_or_else(|| nameless(&self.table.name), |plugin| plugin.reference().clone())
    }

    /// Whether it is for this service at all.
    pub fn serves(&self, service: &ServiceName) -> bool {
        self.services.as_ref().is_none_or(|services| services.contains(service))
    }
}

/// A plug-in of which only the name is known.
pub fn nameless(name: &PluginName) -> PluginRef {
    PluginRef { name: name.clone(), version: String::new(), digest: String::new() }
}

/// All of them, by name.
pub type Roster = BTreeMap<PluginName, Enrolled>;

/// The services for which a canary's answers count: so many of these as its share says, at least one, always the same ones.
pub(super) fn chosen<'a>(
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

/// FNV-1a over both names: stable from release to release, and another order for each canary.
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
