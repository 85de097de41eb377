//! A loaded plug-in as its instances see it: the linked component, what it is granted, and what is counted of it.
//!
//! It makes stores, and calls no guest. `pool` and the three roles configure instances and call them.

use std::sync::Arc;

use heald_model::PluginSettings;
use heald_model::{Fault, PluginName, PluginRef};
use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store};

use crate::code::contract::{Contract, PluginRole};
use crate::code::schema::ValueProblem;
use crate::config::Grant;
use crate::guest::limits::{COPIED_BYTES, CallLimits};
use crate::guest::stats::Counters;
use crate::guest::ticker::Ticker;
use crate::world::ambient::Ambient;
use crate::world::context::{Context, PluginAccess};
use crate::world::guest_log::{GuestLog, LogLimiter};
use crate::world::outgoing::AllowedHosts;
use crate::world::sealed::{DirectoryError, seal};

/// Why a loaded plug-in was not set up in a role.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// It has another role than the one it is configured for.
    #[error("plug-in `{plugin}` is no {wanted}; it is {}", .roles.join(" and "))]
    NoSuchRole {
        /// Which.
        plugin: PluginName,
        /// What it was asked to be.
        wanted: &'static str,
        /// What it is.
        roles: Vec<&'static str>,
    },
    /// Its configuration was refused, by its schema or by itself.
    #[error("the configuration of plug-in `{plugin}` is refused: {}", ValueProblem::list(.problems))]
    Config {
        /// Which.
        plugin: PluginName,
        /// Every problem.
        problems: Vec<ValueProblem>,
    },
    /// A granted directory cannot be shown to it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It exports an interface whose types are not those of the contract.
    #[error("plug-in `{plugin}` exports {interface} with other types than the contract has")]
    Types {
        /// Which.
        plugin: PluginName,
        /// The interface.
        interface: String,
        /// The difference.
        #[source]
        source: wasmtime::Error,
    },
    /// It failed while it was set up.
    #[error("plug-in `{plugin}` cannot be set up")]
    Fault {
        /// Which.
        plugin: PluginName,
        /// How.
        #[source]
        fault: Fault,
    },
}

/// A plug-in that was loaded, whatever it is configured as.
pub(crate) struct LoadedPlugin {
    pub(crate) engine: Engine,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) reference: PluginRef,
    /// The version of the contract that it speaks.
    pub(crate) contract: &'static Contract,
    pub(crate) roles: Vec<PluginRole>,
    pub(crate) pre: InstancePre<Context>,
    /// The part of its grant that it asked for.
    pub(crate) grant: Grant,
    /// Whether any of WASI is linked.
    pub(crate) wasi: bool,
    pub(crate) access: Arc<PluginAccess>,
    pub(crate) outgoing: Arc<AllowedHosts>,
    pub(crate) log_limiter: Arc<LogLimiter>,
    pub(crate) counters: Counters,
}

impl LoadedPlugin {
    /// Makes a store for one instance.
    pub(crate) fn store(&self, limits: CallLimits) -> Result<Store<Context>, DirectoryError> {
        let log = GuestLog::new(Arc::clone(&self.log_limiter));
        let ambient = Arc::new(Ambient::default());
        let grants = &self.access.grants;
        let generation = grants.generation();
        let grant = grants.effective(&self.grant);
        let wasi = if self.wasi { Some(seal(&grant, &self.outgoing, &ambient, &log)?) } else { None };
        let access = Arc::clone(&self.access);
        let mut store = Store::new(&self.engine, Context::new(limits, log, access, generation, ambient, wasi));
        store.limiter(|context| &mut context.limiter);
        store.set_hostcall_fuel(COPIED_BYTES);
        store.epoch_deadline_callback(|mut store| store.data_mut().ticked());
        Ok(store)
    }

    /// The error that it does not have this role.
    pub(crate) fn lacks(&self, wanted: PluginRole) -> SetupError {
        SetupError::NoSuchRole {
            plugin: self.reference.name.clone(),
            wanted: wanted.as_str(),
            roles: self.roles.iter().map(|role| role.as_str()).collect(),
        }
    }

    /// Counts the fault in a result, and returns the result.
    pub(crate) fn faulted<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &result {
            self.counters.faulted(fault.cause);
        }
        result
    }
}

/// What a role needs to set a plug-in up.
pub(crate) struct Setup {
    pub(crate) plugin: Arc<LoadedPlugin>,
    pub(crate) settings: PluginSettings,
    pub(crate) limits: CallLimits,
    /// How many warm instances are kept.
    pub(crate) keep: usize,
}

impl Setup {
    /// The error that the plug-in's version has no such role.
    pub(crate) fn refuse<T>(&self, wanted: PluginRole) -> Result<T, SetupError> {
        Err(self.plugin.lacks(wanted))
    }
}
