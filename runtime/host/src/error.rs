//! Why a plug-in cannot be used. What goes wrong later, in a call, is a [`Fault`] and so data.

use std::path::PathBuf;

use heald_model::{Fault, PluginName};

use crate::code::key::KeyError;
use crate::code::schema::Problem;
use crate::code::trust::Untrusted;

/// Why a plug-in was not loaded or configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// wasmtime itself cannot be set up.
    #[error("the WebAssembly engine cannot start")]
    Engine(#[source] wasmtime::Error),
    /// The thread that interrupts guests cannot be started.
    #[error("the thread that limits plug-ins cannot start")]
    Ticker(#[source] std::io::Error),
    /// The file cannot be read.
    #[error("cannot read the component {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No plug-in of that name is built in.
    #[error("no plug-in `{name}` is built in; there are {}", .known.join(", "))]
    NoBuiltin {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The file is larger than any plug-in needs to be.
    #[error("a component of {size} bytes is too large; {limit} is the most")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// The bytes are something else than a component.
    #[error("not a WebAssembly component: {0}")]
    NotComponent(&'static str),
    /// Its signature does not match, or one is missing that is required.
    #[error("the component {component} is not trusted")]
    Untrusted {
        /// Its file.
        component: String,
        /// Why.
        #[source]
        source: Untrusted,
    },
    /// An entry of `trusted_keys` is no key.
    #[error("the entry `{entry}` of `trusted_keys` in [plugins] cannot be used")]
    TrustedKey {
        /// As it is written there.
        entry: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// Signatures are required, and nobody's would count.
    #[error("`require_signed` is set in [plugins] and `trusted_keys` names no key: nothing could be loaded; add one")]
    NoTrustedKeys,
    /// The bytes are no component that can be compiled.
    #[error("the component cannot be compiled")]
    Compile(#[source] wasmtime::Error),
    /// The process that compiles large components failed.
    #[error("the component cannot be compiled; the process that does it said: {problem}")]
    Compiler {
        /// How it ended, and what it said.
        problem: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The work was given up: heald is ending.
    #[error("loading was given up")]
    GivenUp,
    /// It exports nothing that heald could call, or not as the contract has it.
    #[error("plug-in `{plugin}` does not keep the contract: {problem}")]
    Contract {
        /// Which.
        plugin: PluginName,
        /// What is wrong, as a comparison of what is wanted with what is there.
        problem: String,
    },
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
    /// It imports what it was not granted, or what nobody can grant.
    #[error("plug-in `{plugin}` wants more than it is given: {}", .refused.join("; "))]
    Imports {
        /// Which.
        plugin: PluginName,
        /// Each refused import, and what would allow it.
        refused: Vec<String>,
    },
    /// What it imports exists, but has another shape.
    #[error("the imports of plug-in `{plugin}` cannot be linked")]
    Link {
        /// Which.
        plugin: PluginName,
        /// Why.
        #[source]
        source: wasmtime::Error,
    },
    /// A granted directory cannot be opened.
    #[error("the granted directory {path} cannot be opened")]
    Directory {
        /// The directory on this machine.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Two granted directories would be seen at one path.
    #[error("two granted directories are both seen as {guest}; give them different `guest` paths")]
    SamePath {
        /// The path within the plug-in.
        guest: String,
    },
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
    /// It failed while it was set up.
    #[error("plug-in `{plugin}` cannot be set up")]
    Setup {
        /// Which.
        plugin: PluginName,
        /// How.
        #[source]
        fault: Fault,
    },
}
