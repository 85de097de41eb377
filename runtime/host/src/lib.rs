//! Runs plug-ins: WebAssembly components that speak `heald:plugin` (see `wit/`).
//!
//! [`Host::load`] reads a component, compares it with the contract and links it to what it is granted; [`Plugin::detector`],
//! [`Plugin::policy`] and [`Plugin::actions`] configure it and give the engine its ports. A call runs on a warm instance, under
//! two clocks and a handful of counts, and whatever goes wrong in it comes back as a [`Fault`](heald_model::Fault): data,
//! within the budget, with the next call as good as new.
//!
//! | file | |
//! |---|---|
//! | `options`, `config` | what the operator and the daemon say |
//! | `load` | from bytes to a linked plug-in |
//! | `compile`, `cache`, `entry`, `vouched` | machine code: made, kept, believed |
//! | `section`, `signature`, `key` | who vouches for a file |
//! | `contract`, `metadata`, `schema` | what is checked before anything runs |
//! | `inspect` | the same, for people |
//! | `pool`, `limits`, `ticker`, `clock` | instances, and what stops them |
//! | `detector`, `policy`, `action` | the engine's ports |
//! | `role`, `versions` | what is asked of a guest, in each version of the contract |
//! | `lower`, `lift` | records into a guest and out of it |
//! | `context`, `leash`, `voice`, `wasi` | what a guest can reach, and what is taken back |
//! | `kv`, `process` | heald's own capabilities |
//! | `http`, `exchange`, `endpoint`, `resolve`, `address`, `tls` | what of the network |
//! | `heard`, `settings` | what a replay needs to know |
//! | `fault`, `stats`, `weigh` | what is told of it |
//!
//! It refuses to judge: strikes, rest, the order of a chain and the fallback are the engine's.
#![deny(unsafe_code)]

mod action;
mod address;
mod bindings;
mod cache;
mod clock;
mod compile;
mod config;
mod context;
mod contract;
mod detector;
mod embedded;
mod endpoint;
mod engine;
mod entry;
mod error;
mod exchange;
mod fault;
mod heard;
mod http;
mod inspect;
mod key;
mod kv;
mod leash;
mod lift;
mod limits;
mod load;
mod lower;
mod metadata;
mod options;
mod policy;
mod pool;
mod process;
mod resolve;
mod role;
mod schema;
mod section;
mod settings;
mod signature;
mod stats;
mod text;
mod ticker;
mod tls;
mod versions;
mod voice;
mod vouched;
mod wasi;
mod weigh;

pub use action::{ActionFailure, Plan, PluginActions, Task};
pub use compile::compile_file;
pub use config::{CanaryConfig, Directory, Grant, LimitsConfig, PluginConfig, PluginsConfig, merged};
pub use contract::Role;
pub use detector::PluginDetector;
pub use embedded::Embedded;
pub use endpoint::{Endpoint, Origin, Secret};
pub use engine::{config, precompile};
pub use error::HostError;
pub use inspect::{Inspection, Interface, Producer, Sizes, inspect};
pub use key::{KeyError, PublicKey, SecretKey};
pub use leash::{Capability, NoCapability};
pub use limits::Limits;
pub use load::{Host, Plugin};
pub use metadata::{Metadata, Suggested};
pub use options::{Compiler, Network, Options, Reach, Touch, TouchError, Trust};
pub use policy::PluginPolicy;
pub use resolve::{Resolver, SystemResolver};
pub use schema::Problem;
pub use signature::{Signature, Untrusted, digest, sign, signatures, verify};
pub use stats::Stats;
