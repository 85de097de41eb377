//! Instances of a plug-in: how they are made, limited, called and judged.
//!
//! Nothing here decides what a guest may touch: it hands each instance the [`Context`](crate::world::context::Context) that does.

pub(crate) mod action;
pub(crate) mod adapter;
pub(crate) mod clock;
pub(crate) mod detector;
pub(crate) mod fault;
pub(crate) mod instance;
pub(crate) mod lift;
pub(crate) mod limits;
pub(crate) mod lower;
pub(crate) mod policy;
pub(crate) mod pool;
pub(crate) mod role;
pub(crate) mod settings;
pub(crate) mod stats;
pub(crate) mod task;
pub(crate) mod ticker;
pub(crate) mod weigh;
