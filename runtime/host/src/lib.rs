//! Runs plug-ins: WebAssembly components that speak `heald:plugin` (see `wit/`).
//!
//! [`Host::load`] reads a component, compares it with the contract and links it to what it is granted. [`Plugin::detector`],
//! [`Plugin::policy`] and [`Plugin::actions`] configure it and give the engine its ports. A call runs on a warm instance, under
//! two clocks and some counts. Whatever goes wrong in it comes back within its limits as a [`Fault`](heald_model::Fault), which is
//! data; the next call is not affected.
//!
//! | house | |
//! |---|---|
//! | `code` | what a file is: sections, signatures, metadata, contract, machine code |
//! | `guest` | an instance: limits, pool, calls, answers, faults |
//! | `world` | what an instance may touch: log, WASI, network, `kv`, processes |
//!
//! | file | |
//! |---|---|
//! | `error` | why a plug-in cannot be used |
//! | `options`, `config` | what the daemon and the operator say |
//! | `load` | from bytes to a linked plug-in |
//! | `plugin` | a loaded plug-in, and what it becomes when it is configured |
//! | `versions` | the versions of the contract that are spoken |
//! | `bindings`, `text` | generated records, and text made fit to be shown |
//! | `code::file`, `section`, `metadata`, `schema` | what a file has in it, and what it says of itself |
//! | `code::signature`, `key`, `trust` | who vouches for a file, and whose word counts |
//! | `code::contract`, `imports` | what a component exports and imports, compared with what is spoken and granted |
//! | `code::inspect` | all of that, for people |
//! | `code::engine`, `compile`, `cache`, `entry`, `embedded` | machine code: made, kept, loaded |
//! | `guest::instance`, `pool` | a loaded plug-in, and its warm instances |
//! | `guest::limits`, `ticker`, `clock` | what stops an instance |
//! | `guest::detector`, `policy`, `action`, `task` | the engine's ports |
//! | `guest::role`, `adapter` | what is asked of a guest in each role, and what speaks one version of the contract |
//! | `guest::lower`, `lift` | records into a guest and out of it |
//! | `guest::settings`, `fault`, `stats`, `weigh` | what is recorded and reported of a call |
//! | `world::context` | what the host keeps beside one instance |
//! | `world::capability`, `grants` | what is granted, and what is revoked |
//! | `world::guest_log`, `output` | the log, and standard output into it |
//! | `world::sealed`, `wasi`, `ambient` | WASI, its clocks and its randomness |
//! | `world::kv`, `shelf`, `process`, `processes` | heald's own capabilities, and what stands behind them |
//! | `world::http`, `outgoing`, `exchange`, `network` | requests to granted hosts |
//! | `world::endpoint`, `resolve`, `address`, `tls` | where a request goes |
//! | `world::recorder` | the answers of the host, recorded and replayed |
//!
//! A file imports those it builds on and none that builds on it: a parent and its own parts are the only circle. `code` imports
//! neither `guest` nor `world`.
//!
//! It refuses to judge: counting faults, quarantine, the order of a chain and the fallback belong to the engine.
#![deny(unsafe_code)]

mod bindings;
mod code;
#[cfg(test)]
mod compatibility;
mod config;
mod error;
mod guest;
mod load;
mod options;
mod plugin;
mod text;
mod versions;
mod world;

pub use code::compile::{CompileError, Compiler, compile_file};
pub use code::contract::{ContractError, PluginRole};
pub use code::embedded::Embedded;
pub use code::engine::{EngineError, config, precompile};
pub use code::file::FileError;
pub use code::inspect::{Inspection, Interface, Producer, Sizes};
pub use code::key::{KeyError, PublicKey, SecretKey};
pub use code::metadata::{Metadata, MetadataError, Suggested};
pub use code::schema::ValueProblem;
pub use code::section::SectionError;
pub use code::signature::{Signature, digest, sign, signatures};
pub use code::trust::{SignatureError, Trust, TrustError, verify};
pub use config::{CanaryConfig, Directory, Grant, LimitsConfig, PluginConfig, PluginsConfig, merged};
pub use error::HostError;
pub use guest::action::{ActionFailure, PluginActions};
pub use guest::detector::PluginDetector;
pub use guest::instance::SetupError;
pub use guest::limits::CallLimits;
pub use guest::policy::PluginPolicy;
pub use guest::stats::Stats;
pub use guest::task::{Plan, Task};
pub use load::{Host, inspect};
pub use options::Options;
pub use plugin::Plugin;
pub use world::capability::{Capability, NoCapability};
pub use world::endpoint::{Endpoint, HostPort};
pub use world::network::Network;
pub use world::processes::{ProcessAccess, Touch, TouchError};
pub use world::resolve::{Resolver, SystemResolver};
pub use world::sealed::DirectoryError;
