//! The plug-ins of a running heald. They come from the configuration and from a watched folder, and are replaced while everything runs.
//! Beside them: the executor of actions ([`action_executor`]) and the events of processes ([`process_events`]).
//!
//! Every change of plug-ins goes one way (`Platform::change`): load the plug-in off the threads that heal, resolve the chains of all
//! services, test the new plug-in, and only then swap, for each service between two samples. A step that fails changes nothing and says
//! why. A call that is under way ends on the plug-in it began with.
//!
//! | file | |
//! |---|---|
//! | `registry` | what is known of each plug-in, and how it is used |
//! | `chain_resolver` | which plug-ins each service has, and in which part |
//! | `self_test` | the test of a plug-in before it is used |
//! | `platform` | what is loaded, and the one way in which it changes |
//! | `platform/orders` | what operators ask: reload, enable, disable, promote, revoke |
//! | `platform/folder` | the watched folder |
//! | `platform/canary` | the judgement of canaries |
//! | `overrides` | decisions about plug-ins that outlive a restart |
//! | `components` | every component that ran, kept for explain and replay |
#![deny(unsafe_code)]

pub mod action_executor;
pub mod builtins;
mod chain_resolver;
mod components;
mod consult;
mod overrides;
mod platform;
pub mod process_events;
mod registry;
mod self_test;

pub use chain_resolver::ChainResolver;
pub use components::{Components, components_dir};
pub use consult::{Consultants, Profile};
pub use platform::{Parts, Platform, PlatformPorts};
pub use registry::{PluginOrigin, PluginRegistry, RegisteredPlugin, nameless};
