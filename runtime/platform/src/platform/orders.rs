//! The orders of operators about plug-ins. Every order is recorded in the journal and goes through [`Platform::change`]; enable, disable,
//! promote and revoke outlive a restart.

use async_trait::async_trait;
use heald_control::{Divergence, PluginError, PluginMode, PluginStatus, Plugins};
use heald_host::{Capability, NoCapability};
use heald_model::JournalError;
use heald_model::{Moment, PluginName, PluginRef};

use super::Platform;
use crate::overrides::{Decided, OverrideKind, PluginOverride};
use crate::registry::{PluginOrigin, nameless};
use crate::registry::{PluginRegistry, RegisteredPlugin, Use};

#[async_trait]
impl Plugins for Platform {
    fn list(&self) -> Vec<PluginStatus> {
        self.registry().values().map(|registered| self.status_of(registered)).collect()
    }

    fn status(&self, name: &str) -> Result<PluginStatus, PluginError> {
        let registry = self.registry();
        Ok(self.status_of(registered(&registry, name)?))
    }

    fn divergence(&self, name: &str) -> Result<Divergence, PluginError> {
        let registry = self.registry();
        self.divergence_of(registered(&registry, name)?)
    }

    async fn reload(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError> {
        let _turn = self.changing.lock().await;
        let mut registry = self.registry();
        let mut candidate = registered(&registry, name)?.clone();
        let before = candidate.plugin.clone();
        if let Some(why) = candidate.plugin_override.withheld() {
            return Err(self.keep_old(&candidate.table.name, why, by));
        }
        self.try_suspect(&candidate.table.name).await;
        self.mark_loading(&candidate.table.name, true);
        self.load(&mut candidate).await;
        self.mark_loading(&candidate.table.name, false);
        candidate.loading = false;
        let plugin = candidate.table.name.clone();
        if candidate.plugin.is_none() {
            return Err(self.keep_old(&plugin, candidate.why.unwrap_or_default(), by));
        }
        let (reference, registered) = (candidate.reference(), candidate.clone());
        let another = before.is_none_or(|before| before.reference().digest != reference.digest);
        registry.insert(plugin.clone(), candidate);
        if let Err(why) = self.change(registry, Some(&plugin)).await {
            return Err(self.keep_old(&plugin, why, by));
        }
        match another {
            true => self.restart_trial(&plugin, &registered),
            false => self.follow_trial(&plugin, &registered),
        }
        self.tell(reference.clone(), "reloaded", by, if another { "another version" } else { "the same version" });
        if another {
            self.gone(&reference, "another version was loaded");
        }
        self.status(name)
    }

    async fn enable(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError> {
        let _turn = self.changing.lock().await;
        let mut registry = self.registry();
        let mut candidate = registered(&registry, name)?.clone();
        let plugin_override = std::mem::take(&mut candidate.plugin_override);
        if plugin_override == PluginOverride::default() {
            let why =
                format!("{name} is neither disabled, nor rolled back, nor promoted, and nothing was revoked from it");
            return Err(PluginError::NothingToDo(why));
        }
        self.try_suspect(&candidate.table.name).await;
        // It is loaded again: a loaded plug-in never regains a revoked capability, and old faults no longer count.
        self.load(&mut candidate).await;
        if candidate.plugin.is_none() {
            return Err(self.keep_old(&candidate.table.name, candidate.why.unwrap_or_default(), by));
        }
        let enabled = candidate.clone();
        let status = self.commit(&mut registry, candidate, "enabled", by, "as it is configured".into()).await?;
        self.restart_trial(&enabled.table.name, &enabled);
        self.gone(&enabled.reference(), "the plug-in was enabled");
        Ok(status)
    }

    async fn disable(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError> {
        let _turn = self.changing.lock().await;
        let mut registry = self.registry();
        let mut candidate = registered(&registry, name)?.clone();
        if candidate.disabled() {
            return Err(PluginError::NothingToDo(format!("{name} is disabled already")));
        }
        candidate.decide(OverrideKind::Disabled, by, self.now(), "an operator ordered it");
        let reference = candidate.reference();
        let status = self.commit(&mut registry, candidate, "disabled", by, "an operator ordered it".into()).await?;
        self.gone(&reference, &format!("the plug-in is disabled ({by})"));
        Ok(status)
    }

    async fn promote(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError> {
        self.promote_this(name, by, None).await
    }

    async fn revoke(&self, name: &str, capability: &str, by: &str) -> Result<PluginStatus, PluginError> {
        let _turn = self.changing.lock().await;
        let mut registry = self.registry();
        let mut candidate = registered(&registry, name)?.clone();
        let known: Capability =
            capability.parse().map_err(|error: NoCapability| PluginError::NothingToDo(error.to_string()))?;
        if !candidate.plugin_override.revoked.insert(capability.to_owned()) {
            return Err(PluginError::NothingToDo(format!("{capability} was revoked from {name} already")));
        }
        // This reaches live instances and calls at once. A version that is loaded later is loaded without the capability.
        if let Some(plugin) = &candidate.plugin {
            plugin.revoke(known);
        }
        self.commit(&mut registry, candidate, "revoked", by, capability.to_owned()).await
    }
}

impl RegisteredPlugin {
    /// Notes a decision about the version that is loaded now.
    pub(super) fn decide(&mut self, word: OverrideKind, by: &str, at: Moment, why: &str) {
        let digest = self.reference().digest;
        self.plugin_override.decided = Some(Decided { word, digest, by: by.to_owned(), at, why: why.to_owned() });
    }
}

impl Platform {
    /// Promotes a plug-in; with `version` only if that version is loaded.
    pub(super) async fn promote_this(
        &self,
        name: &str,
        by: &str,
        version: Option<&PluginRef>,
    ) -> Result<PluginStatus, PluginError> {
        let _turn = self.changing.lock().await;
        let mut registry = self.registry();
        let mut candidate = registered(&registry, name)?.clone();
        if version.is_some_and(|version| *version != candidate.reference()) {
            return Err(PluginError::NothingToDo(format!("{name} is another version by now")));
        }
        if candidate.plugin.is_none() {
            let why = candidate.why.clone().unwrap_or_default();
            return Err(PluginError::Refused(format!("{name} is not loaded: {why}")));
        }
        if candidate.table.mode == PluginMode::Active || candidate.used() == Use::Active {
            return Err(PluginError::NothingToDo(format!("{name} is active already")));
        }
        let of = self.divergence_of(&candidate).map(|divergence| divergence.agreement).unwrap_or_default();
        let why = format!("after {} of {} compared answers agreed", of.agreed, of.compared);
        candidate.decide(OverrideKind::Promoted, by, self.now(), &why);
        if candidate.table.mode == PluginMode::Shadow {
            // As a shadow it was loaded without its grants to send and write.
            self.load(&mut candidate).await;
            if candidate.plugin.is_none() {
                return Err(self.keep_old(&candidate.table.name, candidate.why.unwrap_or_default(), by));
            }
        }
        self.commit(&mut registry, candidate, "promoted", by, why).await
    }

    /// Puts a decision into effect: on disk first, then in what runs.
    pub(super) async fn commit(
        &self,
        registry: &mut PluginRegistry,
        candidate: RegisteredPlugin,
        to: &str,
        by: &str,
        why: String,
    ) -> Result<PluginStatus, PluginError> {
        let name = candidate.table.name.clone();
        let (reference, used) = (candidate.reference(), candidate.used());
        registry.insert(name.clone(), candidate.clone());
        let before = self.override_of(&candidate.table);
        let kept = self.keep_override(&name, &candidate.plugin_override).await;
        // An order that makes things safer is carried out even if it cannot be written down, and without a self-test.
        let safer = matches!(to, "disabled" | "rolled-back" | "revoked");
        if let Err(error) = &kept {
            tracing::error!(plugin = %name, "the decision cannot be written and ends with the next restart: {error}");
            if !safer {
                let why = format!("the file of decisions about plug-ins: {error}");
                return Err(PluginError::Journal(JournalError::Unavailable(why)));
            }
        }
        let new = (used != Use::Out && !safer).then_some(&name);
        if let Err(refused) = self.change(registry.clone(), new).await {
            // The file gets the previous override back.
            let _ = self.keep_override(&name, &before).await;
            return Err(self.keep_old(&name, refused, by));
        }
        self.follow_trial(&name, &candidate);
        self.tell(reference, to, by, why);
        self.status(name.as_str())
    }

    /// Notes that a change was refused. What ran goes on.
    pub(super) fn keep_old(&self, name: &PluginName, why: String, by: &str) -> PluginError {
        let mut registry = self.registry_mut();
        let reference = registry.get_mut(name).map(|registered| {
            registered.why = Some(why.clone());
            registered.reference()
        });
        drop(registry);
        self.tell(reference.unwrap_or_else(|| nameless(name)), "refused", by, why.clone());
        PluginError::Refused(why)
    }

    /// Marks a plug-in as loading or not.
    pub(super) fn mark_loading(&self, name: &PluginName, loading: bool) {
        let mut registry = self.registry_mut();
        if let Some(registered) = registry.get_mut(name) {
            registered.loading = loading;
        }
    }
}

/// The plug-in of that name.
fn registered<'a>(registry: &'a PluginRegistry, name: &str) -> Result<&'a RegisteredPlugin, PluginError> {
    registry.get(&PluginName::from(name)).ok_or_else(|| PluginError::NoPlugin {
        name: name.to_owned(),
        known: registry.keys().map(ToString::to_string).collect(),
    })
}

impl PluginOrigin {
    /// Its name for programs.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Folder { .. } => "folder",
        }
    }
}
