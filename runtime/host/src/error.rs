//! Why a plug-in cannot be used: the errors of all stages from a file to a configured plug-in.
//!
//! Each stage has an error of its own, in its own file. What goes wrong later, in a call, is a [`Fault`](heald_model::Fault): data,
//! and no error.

use heald_model::PluginName;

use crate::code::compile::CompileError;
use crate::code::contract::ContractError;
use crate::code::engine::EngineError;
use crate::code::file::FileError;
use crate::code::section::SectionError;
use crate::code::trust::SignatureError;
use crate::guest::instance::SetupError;
use crate::world::sealed::DirectoryError;

/// Why a plug-in was not loaded or configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The thread that interrupts guests cannot be started.
    #[error("the thread that limits plug-ins cannot start")]
    Ticker(#[source] std::io::Error),
    /// wasmtime does not start, or does not compile the component.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The component cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no component.
    #[error(transparent)]
    Section(#[from] SectionError),
    /// Its signature does not match, or one is missing that is required.
    #[error("the component {component} is not trusted")]
    Signature {
        /// Its file.
        component: String,
        /// Why.
        #[source]
        source: SignatureError,
    },
    /// It breaks the contract.
    // The text contains the problem, so the problem is no `source`: it would be printed twice.
    #[error("plug-in `{plugin}` does not keep the contract: {problem}")]
    Contract {
        /// Which.
        plugin: PluginName,
        /// How.
        problem: ContractError,
    },
    /// It imports what it was not granted, or what nobody can grant.
    #[error("plug-in `{plugin}` wants more than it is given: {}", .refused.join("; "))]
    Imports {
        /// Which.
        plugin: PluginName,
        /// Each refused import, and what would allow it.
        refused: Vec<String>,
    },
    /// Another process could not compile it.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The directories that it is granted cannot be shown to it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// What it imports exists, but has another shape.
    #[error("the imports of plug-in `{plugin}` cannot be linked")]
    Link {
        /// Which.
        plugin: PluginName,
        /// Why.
        #[source]
        source: wasmtime::Error,
    },
    /// It was loaded, and cannot be set up in its role.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The work was given up: heald is ending.
    #[error("loading was given up")]
    GivenUp,
}
