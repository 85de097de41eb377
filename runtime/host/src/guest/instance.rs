//! A loaded plug-in as its instances see it: the linked component, what it is granted, and what is counted of it.
//!
//! It makes stores and calls nothing in them. Who configures instances and asks them is above: `pool`, and the three roles.

use std::sync::Arc;

use heald_engine::calls::Settings;
use heald_model::{Fault, PluginName, PluginRef};
use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store};

use crate::code::contract::{Contract, Role};
use crate::code::schema::Problem;
use crate::config::Grant;
use crate::guest::limits::{COPIED_BYTES, Limits};
use crate::guest::stats::Counters;
use crate::guest::ticker::Ticker;
use crate::world::ambient::Ambient;
use crate::world::context::{Context, Premises};
use crate::world::outgoing::Outgoing;
use crate::world::sealed::{DirectoryError, seal};
use crate::world::voice::{Gate, Voice};

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
    #[error("the configuration of plug-in `{plugin}` is refused: {}", Problem::list(.problems))]
    Config {
        /// Which.
        plugin: PluginName,
        /// Every problem.
        problems: Vec<Problem>,
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
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) reference: PluginRef,
    /// The version of the contract that it speaks.
    pub(crate) contract: &'static Contract,
    pub(crate) roles: Vec<Role>,
    pub(crate) pre: InstancePre<Context>,
    /// What of its grant it asked for.
    pub(crate) grant: Grant,
    /// Whether any of WASI is linked.
    pub(crate) wasi: bool,
    pub(crate) premises: Arc<Premises>,
    pub(crate) outgoing: Arc<Outgoing>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) counters: Counters,
}

impl Loaded {
    /// A store for one instance.
    pub(crate) fn store(&self, limits: Limits) -> Result<Store<Context>, DirectoryError> {
        let voice = Voice::new(Arc::clone(&self.gate));
        let ambient = Arc::new(Ambient::default());
        let leash = &self.premises.leash;
        let generation = leash.generation();
        let grant = leash.left(&self.grant);
        let wasi = if self.wasi { Some(seal(&grant, &self.outgoing, &ambient, &voice)?) } else { None };
        let premises = Arc::clone(&self.premises);
        let mut store = Store::new(&self.engine, Context::new(limits, voice, premises, generation, ambient, wasi));
        store.limiter(|context| &mut context.limiter);
        store.set_hostcall_fuel(COPIED_BYTES);
        store.epoch_deadline_callback(|mut store| store.data_mut().ticked());
        Ok(store)
    }

    /// The error that it does not have this role.
    pub(crate) fn lacks(&self, wanted: Role) -> SetupError {
        SetupError::NoSuchRole {
            plugin: self.reference.name.clone(),
            wanted: wanted.as_str(),
            roles: self.roles.iter().map(|role| role.as_str()).collect(),
        }
    }

    /// Counts a fault, and hands it on.
    pub(crate) fn faulted<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &result {
            self.counters.faulted(fault.cause);
        }
        result
    }
}

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
    pub(crate) fn refuse<T>(&self, wanted: Role) -> Result<T, SetupError> {
        Err(self.plugin.lacks(wanted))
    }
}
