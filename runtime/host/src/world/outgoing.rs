//! The hosts that one plug-in may send requests to, for all its instances, and the warning when it asks for another.
//!
//! It sends nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use heald_model::PluginName;

use crate::config::Grant;
use crate::world::endpoint::{Endpoint, RequestTarget};
use crate::world::network::SharedNetwork;
use crate::world::resolve::Pins;

/// Refused targets that are logged for one plug-in. Further ones are refused silently.
const LOGGED: usize = 32;

/// The hosts that one plug-in may reach, for all its instances.
pub(crate) struct AllowedHosts {
    plugin: PluginName,
    endpoints: Vec<Arc<Endpoint>>,
    pub(crate) network: Arc<SharedNetwork>,
    pub(crate) pins: Pins,
    logged: Mutex<BTreeSet<String>>,
}

impl AllowedHosts {
    pub(crate) fn of(plugin: &PluginName, grant: &Grant, network: &Arc<SharedNetwork>) -> Self {
        let endpoints = grant.http.iter().flatten().cloned().map(Arc::new).collect();
        let (plugin, network) = (plugin.clone(), Arc::clone(network));
        Self { plugin, endpoints, network, pins: Pins::default(), logged: Mutex::default() }
    }

    /// The first endpoint of the grant that covers the target.
    pub(crate) fn endpoint(&self, target: &RequestTarget) -> Option<&Arc<Endpoint>> {
        self.endpoints.iter().find(|endpoint| endpoint.covers(target))
    }

    /// Logs once for each target why nothing was sent there, and what would change that.
    pub(crate) fn warn_once(&self, target: &RequestTarget, why: &str, remedy: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < LOGGED && logged.insert(target.to_string()) {
            tracing::warn!(plugin = %self.plugin, %target, "a request was refused: {why}; {remedy}");
        }
    }

    /// Logs a failed request at the debug level.
    pub(crate) fn failed(&self, target: &RequestTarget, error: &dyn std::fmt::Display) {
        tracing::debug!(plugin = %self.plugin, %target, "a request failed: {error}");
    }
}
