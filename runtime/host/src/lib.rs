//! Runs plug-ins: WebAssembly components that speak `heald:plugin` (see `wit/`).
//!
//! [`Host::load`] reads a component, compares it with the contract and links it to what it is granted; [`Plugin::detector`],
//! [`Plugin::policy`] and [`Plugin::actions`] configure it and give the engine its ports. A call runs on a warm instance, under
//! two clocks and a handful of counts, and whatever goes wrong in it comes back as a [`Fault`](heald_model::Fault): data,
//! within the budget, with the next call as good as new.
//!
//!
//! | house | |
//! |---|---|
//! | `code` | what a file is: sections, signatures, metadata, contract, machine code |
//! | `guest` | an instance: limits, pool, calls, answers, faults |
//! | `world` | what an instance may touch: log, WASI, network, `kv`, processes |
//!
//! | file | |
//! |---|---|
//! | `options`, `config` | what the operator and the daemon say |
//! | `load` | from bytes to a linked plug-in |
//! | `code::compile`, `cache`, `entry`, `vouched` | machine code: made, kept, believed |
//! | `code::section`, `signature`, `key` | who vouches for a file |
//! | `code::contract`, `metadata`, `schema` | what is checked before anything runs |
//! | `code::inspect` | the same, for people |
//! | `guest::pool`, `limits`, `ticker`, `clock` | instances, and what stops them |
//! | `guest::detector`, `policy`, `action` | the engine's ports |
//! | `guest::role`, `versions` | what is asked of a guest, in each version of the contract |
//! | `guest::lower`, `lift` | records into a guest and out of it |
//! | `guest::settings`, `fault`, `stats`, `weigh` | what is recorded and told of it |
//! | `world::context`, `leash`, `voice`, `wasi` | what a guest can reach, and what is taken back |
//! | `world::kv`, `process` | heald's own capabilities |
//! | `world::http`, `exchange`, `endpoint`, `resolve`, `address`, `tls` | what of the network |
//! | `world::heard` | what a replay needs to know |
//!
//! It refuses to judge: strikes, rest, the order of a chain and the fallback are the engine's.
#![deny(unsafe_code)]

mod bindings;
mod code;
mod config;
mod error;
mod guest;
mod load;
mod options;
mod text;
mod versions;
mod world;

pub use code::compile::compile_file;
pub use code::contract::Role;
pub use code::embedded::Embedded;
pub use code::engine::{config, precompile};
pub use code::inspect::{Inspection, Interface, Producer, Sizes, inspect};
pub use code::key::{KeyError, PublicKey, SecretKey};
pub use code::metadata::{Metadata, Suggested};
pub use code::schema::Problem;
pub use code::signature::{Signature, Untrusted, digest, sign, signatures, verify};
pub use config::{CanaryConfig, Directory, Grant, LimitsConfig, PluginConfig, PluginsConfig, merged};
pub use error::HostError;
pub use guest::action::{ActionFailure, Plan, PluginActions, Task};
pub use guest::detector::PluginDetector;
pub use guest::limits::Limits;
pub use guest::policy::PluginPolicy;
pub use guest::stats::Stats;
pub use load::{Host, Plugin};
pub use options::{Compiler, Network, Options, Reach, Touch, TouchError, Trust};
pub use world::endpoint::{Endpoint, Origin, Secret};
pub use world::leash::{Capability, NoCapability};
pub use world::resolve::{Resolver, SystemResolver};
