//! The hosts that one plug-in may send requests to, for all its instances, and what is said when it asks for another.
//!
//! It sends nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use heald_model::PluginName;

use crate::config::Grant;
use crate::world::endpoint::{Endpoint, Target};
use crate::world::network::Outside;
use crate::world::resolve::Pins;

/// Refused places that are told to the operator, for one plug-in. What is refused after that is refused in silence.
const TOLD: usize = 32;

/// What one plug-in may reach, for all its instances.
pub(crate) struct Outgoing {
    plugin: PluginName,
    endpoints: Vec<Arc<Endpoint>>,
    pub(crate) outside: Arc<Outside>,
    pub(crate) pins: Pins,
    told: Mutex<BTreeSet<String>>,
}

impl Outgoing {
    pub(crate) fn of(plugin: &PluginName, grant: &Grant, outside: &Arc<Outside>) -> Self {
        let endpoints = grant.http.iter().flatten().cloned().map(Arc::new).collect();
        let (plugin, outside) = (plugin.clone(), Arc::clone(outside));
        Self { plugin, endpoints, outside, pins: Pins::default(), told: Mutex::default() }
    }

    /// The first of the grant's endpoints that a request falls under.
    pub(crate) fn endpoint(&self, target: &Target) -> Option<&Arc<Endpoint>> {
        self.endpoints.iter().find(|endpoint| endpoint.covers(target))
    }

    /// Says once for each place why nothing was sent there, and what would change that.
    pub(crate) fn tell(&self, target: &Target, why: &str, remedy: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD && told.insert(target.to_string()) {
            tracing::warn!(plugin = %self.plugin, %target, "a request was refused: {why}; {remedy}");
        }
    }

    /// For who looks closer.
    pub(crate) fn failed(&self, target: &Target, error: &dyn std::fmt::Display) {
        tracing::debug!(plugin = %self.plugin, %target, "a request failed: {error}");
    }
}
