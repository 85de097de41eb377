//! The versions of the contract that are spoken, one adapter each.
//!
//! Which version a component speaks stands in the names of what it exports; all that it imports of the contract has to be of that
//! version too. An adapter says what its version has, links what a component imports of it, and sets up guests that take and give
//! the host's own records ([`role`](crate::guest::role)). Everything else (limits, grants, replays, the judging of answers) knows no
//! versions.
//!
//! A released version is never dropped from [`SPOKEN`]: components of it are in the tests, and must answer for ever.

mod v0_1_0;

#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod v0_0_9;

use std::sync::Arc;

use async_trait::async_trait;
use heald_engine::calls::Settings;
use wasmtime::component::Linker;

use crate::code::contract::{Contract, Role};
use crate::config::Grant;
use crate::error::HostError;
use crate::guest::action::PluginActions;
use crate::guest::detector::PluginDetector;
use crate::guest::limits::Limits;
use crate::guest::policy::PluginPolicy;
use crate::load::Loaded;
use crate::world::context::Context;

/// Adapters, the newest version first.
pub(crate) type Spoken = &'static [&'static dyn Adapter];

/// What every host speaks. The first is the version whose records are the host's own.
pub(crate) const SPOKEN: Spoken = &[&v0_1_0::Adapter];

/// What there is to say of a plug-in that is set up in one of its roles.
pub(crate) struct Setup {
    pub(crate) plugin: Arc<Loaded>,
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    /// Warm instances that are kept.
    pub(crate) keep: usize,
}

impl Setup {
    /// That the plug-in has no such role: with its version there is none.
    fn refuse<T>(&self, wanted: Role) -> Result<T, HostError> {
        Err(self.plugin.lacks(wanted))
    }
}

/// One version of the contract.
#[async_trait]
pub(crate) trait Adapter: Send + Sync {
    /// What its version has.
    fn contract(&self) -> &'static Contract;

    /// Links what of this version is granted, and what needs no grant.
    fn link(&self, linker: &mut Linker<Context>, grant: &Grant) -> wasmtime::Result<()>;

    /// Sets a detector up.
    async fn detector(&self, setup: Setup) -> Result<PluginDetector, HostError> {
        setup.refuse(Role::Detector)
    }

    /// Sets a policy up.
    async fn policy(&self, setup: Setup) -> Result<PluginPolicy, HostError> {
        setup.refuse(Role::Policy)
    }

    /// Sets actions up.
    async fn actions(&self, setup: Setup) -> Result<PluginActions, HostError> {
        setup.refuse(Role::Action)
    }
}
