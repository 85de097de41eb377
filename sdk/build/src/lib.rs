//! Builds heald plug-ins: from a cargo workspace of guests to components that say what they are.
//!
//! Three steps, each usable by itself:
//!
//! 1. [`Workspace::build`] runs cargo over a workspace of guests and says which `.wasm` files came of it, and which files
//!    went into them.
//! 2. [`component`] makes a component of a core module (one that is a component already passes through) and moves what the
//!    plug-in says of itself from the core module to the component.
//! 3. [`metadata`] and [`imports`] read a component without running it.
//!
//! Nothing here loads or judges a plug-in; that is the host's business.
#![forbid(unsafe_code)]

mod component;
mod metadata;
mod workspace;

use std::path::PathBuf;

pub use component::{component, imports};
pub use metadata::{Limits, Metadata, SECTION, metadata};
pub use workspace::{Guest, Workspace};

/// Why a plug-in could not be built or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Cargo itself did not start.
    #[error("cannot run {program}")]
    Cargo {
        /// The cargo that was tried.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The guests do not compile.
    #[error("the guests in {workspace} do not build:\n{output}")]
    Build {
        /// The workspace's directory.
        workspace: PathBuf,
        /// What cargo and rustc said.
        output: String,
    },
    /// The compiler lacks the standard library of the guests' target.
    #[error("the target {target} is not installed; `rustup target add {target}` installs it")]
    Target {
        /// The target triple.
        target: String,
    },
    /// Cargo said something that this crate does not understand.
    #[error("cargo's answer cannot be read")]
    Answer(#[source] serde_json::Error),
    /// Cargo built a guest, yet named no `.wasm` file.
    #[error("no .wasm file came of the guest {package}")]
    NoArtifact {
        /// The guest's package.
        package: String,
    },
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// These bytes are no WebAssembly, or broken.
    #[error("not a WebAssembly file")]
    Wasm(#[source] wasmparser::BinaryReaderError),
    /// The core module does not fit the world it claims. The chain of causes is in the text: the encoder's own error type
    /// is not ours to expose.
    #[error("no component can be made of this module: {0}")]
    Encode(String),
    /// The plug-in's word about itself is no valid JSON.
    #[error("the custom section {SECTION} cannot be read")]
    Metadata(#[source] serde_json::Error),
    /// Two roles of one plug-in say different things of it.
    #[error("the roles of one plug-in disagree about its {0}")]
    Disagree(&'static str),
    /// The file says nothing of itself.
    #[error("there is no custom section {SECTION}")]
    NoMetadata,
}
