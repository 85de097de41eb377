//! Builds heald plug-ins: from a cargo workspace of guests to components that say what they are.
//!
//! [`Project`] builds what an author has, in any language there is a template for. Beneath it are three steps, each usable by
//! itself:
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
mod project;
mod workspace;

use std::path::PathBuf;

pub use component::{component, imports, say};
pub use metadata::{Limits, Metadata, SECTION, metadata};
pub use project::{Built, Language, Manifest, Project, RoleName, SuggestedLimits};
pub use workspace::{Guest, Workspace};

/// Why a plug-in could not be built or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Cargo itself did not start.
    #[error("cannot run {program}; install Rust, https://rustup.rs")]
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
    /// Nothing in this workspace is a plug-in.
    #[error("no package in {directory} is a plug-in: its Cargo.toml must say `crate-type = [\"cdylib\"]` under [lib]")]
    NoGuest {
        /// The workspace's directory.
        directory: PathBuf,
    },
    /// There is no plug-in in this directory.
    #[error("{directory} holds no plug-in: neither {wanted} nor Cargo.toml; `heald plugin new` writes one")]
    NoProject {
        /// The directory.
        directory: PathBuf,
        /// The file that would have said more.
        wanted: &'static str,
    },
    /// What the project says of itself cannot be understood.
    #[error("cannot read {path}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A file that should hold JSON does not.
    #[error("{path} is no JSON of the kind that is needed here")]
    Schema {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A program that is needed does not start.
    #[error("cannot run {program}; {fix}")]
    Tool {
        /// The program.
        program: PathBuf,
        /// How to come by it.
        fix: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program that is needed said no.
    #[error("{step} did not work; {program} says:\n{output}")]
    Step {
        /// What it was run for.
        step: &'static str,
        /// The program.
        program: PathBuf,
        /// What it said.
        output: String,
    },
    /// A capability that bindings cannot be made for.
    #[error(
        "a plug-in in {language} cannot have the capability `{capability}`: {}",
        if *.language == "c" { "the bindings in gen/ are made for `log` alone" } else {
            "there are kv, process and process-control beside log; for others write it in Rust"
        }
    )]
    NoWit {
        /// The capability.
        capability: String,
        /// The language.
        language: &'static str,
    },
    /// The component imports what its own word about itself leaves out.
    #[error(
        "it imports {import}, and its `capabilities` do not say so: add \"{capability}\" to them, or do without \
         (operators grant what a plug-in says it needs)"
    )]
    Unsaid {
        /// What is imported.
        import: String,
        /// The word for it.
        capability: String,
    },
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
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
