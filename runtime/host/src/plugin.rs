//! A loaded plug-in: what is known of it, and what it becomes when it is configured.
//!
//! Nothing of a plug-in runs before it is configured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use heald_model::PluginRef;
use serde_json::{Map, Value};

use crate::code::contract::PluginRole;
use crate::code::imports::words;
use crate::code::key::PublicKey;
use crate::code::metadata::Metadata;
use crate::code::schema;
use crate::config::LimitsConfig;
use crate::error::HostError;
use crate::guest::action::PluginActions;
use crate::guest::adapter::ContractAdapter;
use crate::guest::detector::PluginDetector;
use crate::guest::instance::{LoadedPlugin, Setup, SetupError};
use crate::guest::limits::CallLimits;
use crate::guest::policy::PluginPolicy;
use crate::guest::pool::WARM;
use crate::guest::settings::settle;
use crate::guest::stats::Stats;
use crate::world::capability::Capability;

/// A loaded plug-in. Configure it to get a detector, a policy or actions.
#[derive(Clone)]
pub struct Plugin(Arc<PluginInner>);

struct PluginInner {
    loaded: Arc<LoadedPlugin>,
    /// Speaks its version of the contract.
    adapter: &'static dyn ContractAdapter,
    metadata: Metadata,
    /// The limits in its table.
    limits: LimitsConfig,
    requested: Vec<&'static str>,
    signer: Option<PublicKey>,
    detectors: Known<PluginDetector>,
    policies: Known<PluginPolicy>,
    actions: Known<PluginActions>,
}

/// What loading found out about a plug-in.
pub(crate) struct PluginFacts {
    pub(crate) adapter: &'static dyn ContractAdapter,
    pub(crate) metadata: Metadata,
    pub(crate) limits: LimitsConfig,
    pub(crate) requested: Vec<&'static str>,
    pub(crate) signer: Option<PublicKey>,
}

impl Plugin {
    /// A linked plug-in that nobody has configured yet.
    pub(crate) fn new(loaded: LoadedPlugin, facts: PluginFacts) -> Self {
        let PluginFacts { adapter, metadata, limits, requested, signer } = facts;
        let (detectors, policies, actions) = Default::default();
        let loaded = Arc::new(loaded);
        Self(Arc::new(PluginInner {
            loaded,
            adapter,
            metadata,
            limits,
            requested,
            signer,
            detectors,
            policies,
            actions,
        }))
    }

    /// Its configured name, its version and its digest.
    pub fn reference(&self) -> &PluginRef {
        &self.0.loaded.reference
    }

    /// The version of the contract that it speaks, such as `0.1.0`.
    #[cfg(test)]
    pub(crate) fn contract(&self) -> &'static str {
        self.0.loaded.contract.version
    }

    /// What its file says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// The roles that it has.
    pub fn roles(&self) -> &[PluginRole] {
        &self.0.loaded.roles
    }

    /// The trusted key that signed it.
    pub fn signed_by(&self) -> Option<PublicKey> {
        self.0.signer
    }

    /// What it asks to be granted, in the words of a `grant`: `http`, `files`, `kv`, `process`, `process-control`, `clock`, `random`.
    pub fn requested(&self) -> Vec<String> {
        self.0.requested.iter().map(ToString::to_string).collect()
    }

    /// What it is granted of that and was not revoked, in the same words.
    pub fn granted(&self) -> Vec<String> {
        let revoked = self.revoked();
        let words = words(&self.0.loaded.grant).into_iter();
        words.filter(|word| !revoked.iter().any(|revoked| revoked.as_str() == *word)).map(str::to_owned).collect()
    }

    /// Revokes a capability; true if the plug-in held it. It reaches instances at work: they are denied what they ask
    /// for from now on, and calls under way are stopped where files, the clock or randomness are revoked. It holds
    /// until the plug-in is loaded again. What the plug-in keeps in `kv` stays.
    pub fn revoke(&self, capability: Capability) -> bool {
        self.0.loaded.access.grants.revoke(capability)
    }

    /// What was revoked of its grant.
    pub fn revoked(&self) -> Vec<Capability> {
        self.0.loaded.access.grants.revoked()
    }

    /// What it cost so far, and how it failed.
    pub fn stats(&self) -> Stats {
        self.0.loaded.counters.read(self.0.loaded.log_limiter.dropped())
    }

    /// The plug-in as a detector with this configuration: the `config` of its table with a service's overrides
    /// [`merged`](crate::merged) in. Equal configurations share one detector.
    ///
    /// # Errors
    /// When it has no such role, refuses the configuration, or cannot be set up.
    pub async fn detector(&self, config: &Map<String, Value>) -> Result<Arc<PluginDetector>, HostError> {
        let (role, limits) = (PluginRole::Detector, CallLimits::DETECTOR);
        self.configured(config, &self.0.detectors, role, limits, WARM, |setup| self.0.adapter.detector(setup)).await
    }

    /// The plug-in as a policy with this configuration; see [`detector`](Self::detector).
    ///
    /// # Errors
    /// When it has no such role, refuses the configuration, or cannot be set up.
    pub async fn policy(&self, config: &Map<String, Value>) -> Result<Arc<PluginPolicy>, HostError> {
        let (role, limits) = (PluginRole::Policy, CallLimits::POLICY);
        self.configured(config, &self.0.policies, role, limits, WARM, |setup| self.0.adapter.policy(setup)).await
    }

    /// The plug-in's actions with this configuration; see [`detector`](Self::detector).
    ///
    /// # Errors
    /// When it has none, refuses the configuration, or cannot be set up.
    pub async fn actions(&self, config: &Map<String, Value>) -> Result<Arc<PluginActions>, HostError> {
        // Actions are rare, and each gets an instance that did nothing before.
        let (role, limits) = (PluginRole::Action, CallLimits::ACTION);
        self.configured(config, &self.0.actions, role, limits, 0, |setup| self.0.adapter.actions(setup)).await
    }

    async fn configured<T, F: Future<Output = Result<T, SetupError>>>(
        &self,
        config: &Map<String, Value>,
        cache: &Known<T>,
        role: PluginRole,
        limits: CallLimits,
        keep: usize,
        set_up: impl FnOnce(Setup) -> F,
    ) -> Result<Arc<T>, HostError> {
        let PluginInner { loaded: plugin, metadata, .. } = &*self.0;
        if !plugin.roles.contains(&role) {
            return Err(plugin.lacks(role).into());
        }
        let settings = settle(config);
        if let Some(known) = cache.get(&settings.text) {
            return Ok(known);
        }
        let flaws = schema::flaws(&metadata.config);
        let problems = match flaws.is_empty() {
            true => schema::check(&metadata.config, &Value::Object(config.clone())),
            false => flaws,
        };
        if !problems.is_empty() {
            return Err(SetupError::Config { plugin: plugin.reference.name.clone(), problems }.into());
        }
        let limits = self.0.limits.over(limits.tightened(metadata.limits));
        let text = Arc::clone(&settings.text);
        let made = set_up(Setup { plugin: Arc::clone(plugin), settings, limits, keep }).await?;
        Ok(cache.put(text, Arc::new(made)))
    }
}

/// What was configured and is still in use, by configuration text.
struct Known<T>(Mutex<HashMap<Arc<str>, Weak<T>>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Known<T> {
    fn get(&self, config: &str) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(config).and_then(Weak::upgrade)
    }

    fn put(&self, config: Arc<str>, value: Arc<T>) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, value| value.strong_count() > 0);
        known.insert(config, Arc::downgrade(&value));
        value
    }
}
