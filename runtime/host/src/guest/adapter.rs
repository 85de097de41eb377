//! An adapter speaks one version of the contract: it links what a component imports of that version, and sets up guests
//! that take and return the host's own records.
//!
//! It limits nothing and judges no answer: that is the same for all versions.

use async_trait::async_trait;
use wasmtime::component::Linker;

use crate::code::contract::{PluginRole, Speaks};
use crate::config::Grant;
use crate::guest::action::PluginActions;
use crate::guest::detector::PluginDetector;
use crate::guest::instance::{Setup, SetupError};
use crate::guest::policy::PluginPolicy;
use crate::world::context::Context;

/// The adapters of a host, the newest version first.
pub(crate) type Spoken = &'static [&'static dyn ContractAdapter];

/// One version of the contract.
#[async_trait]
pub(crate) trait ContractAdapter: Speaks + Send + Sync {
    /// Links the interfaces of this version that are granted or need no grant.
    fn link(&self, linker: &mut Linker<Context>, grant: &Grant) -> wasmtime::Result<()>;

    /// Sets a detector up.
    async fn detector(&self, setup: Setup) -> Result<PluginDetector, SetupError> {
        setup.refuse(PluginRole::Detector)
    }

    /// Sets a policy up.
    async fn policy(&self, setup: Setup) -> Result<PluginPolicy, SetupError> {
        setup.refuse(PluginRole::Policy)
    }

    /// Sets actions up.
    async fn actions(&self, setup: Setup) -> Result<PluginActions, SetupError> {
        setup.refuse(PluginRole::Action)
    }
}
