//! Who is asked about a service: the detectors, and the policies in their order, each with the part it plays.
//!
//! A chain is a value: to change a plug-in is to hand the service another chain, between two looks. Calls under way end on the
//! plug-ins they began with, and what a plug-in remembers of the service goes on under its name. A chain does not know
//! how plug-ins are loaded.

use std::collections::BTreeSet;
use std::sync::Arc;

use heald_model::{PluginName, SlotMode};

use crate::ports::{Detector, Policy};

/// One plug-in in its part.
pub struct PluginSlot<T: ?Sized> {
    /// The plug-in.
    pub plugin: Arc<T>,
    /// Whether its answers count.
    pub part: SlotMode,
    /// The plug-in whose trial this is: its own name for a shadow or a canary, the canary's for the plug-in that runs behind one.
    pub trial: Option<PluginName>,
    /// For a shadow: whose answers its own are compared with; None: with what all others said.
    pub against: Option<PluginName>,
}

impl<T: ?Sized> PluginSlot<T> {
    /// A plug-in whose answers count, on no trial.
    pub fn active(plugin: Arc<T>) -> Self {
        Self { plugin, part: SlotMode::Active, trial: None, against: None }
    }

    /// True if its answers count.
    pub fn is_active(&self) -> bool {
        self.part == SlotMode::Active
    }
}

impl<T: ?Sized> Clone for PluginSlot<T> {
    fn clone(&self) -> Self {
        let Self { plugin, part, trial, against } = self;
        Self { plugin: Arc::clone(plugin), part: *part, trial: trial.clone(), against: against.clone() }
    }
}

/// The plug-ins of one service.
#[derive(Clone, Default)]
pub struct PluginChain {
    /// All are asked.
    pub detectors: Vec<PluginSlot<dyn Detector>>,
    /// Asked in order until one of them, an active one, does not pass. A shadow stands before the plug-in it is compared with,
    /// and is asked if that one's turn comes.
    pub policies: Vec<PluginSlot<dyn Policy>>,
    /// Detectors that are wanted and could not be loaded: the native rules answer for them.
    pub missing: Vec<PluginName>,
}

impl PluginChain {
    /// Plug-ins whose answers all count.
    pub fn active(detectors: Vec<Arc<dyn Detector>>, policies: Vec<Arc<dyn Policy>>) -> Self {
        Self {
            detectors: detectors.into_iter().map(PluginSlot::active).collect(),
            policies: policies.into_iter().map(PluginSlot::active).collect(),
            missing: Vec::new(),
        }
    }

    /// The detectors whose word is waited for.
    pub(crate) fn expected(&self) -> impl Iterator<Item = &PluginName> {
        let active = self.detectors.iter().filter(|member| member.is_active());
        active.map(|member| &member.plugin.plugin().name).chain(&self.missing)
    }

    /// Everybody in it.
    pub(crate) fn names(&self) -> BTreeSet<&PluginName> {
        let detectors = self.detectors.iter().map(|member| &member.plugin.plugin().name);
        detectors.chain(self.policies.iter().map(|member| &member.plugin.plugin().name)).collect()
    }
}
