//! What a guest may touch: the log, WASI, heald's own capabilities and the network, each as far as it is granted.
//!
//! Nothing here calls a guest, and nothing here is open to a guest between calls.

pub(crate) mod address;
pub(crate) mod ambient;
pub(crate) mod capability;
pub(crate) mod context;
pub(crate) mod endpoint;
pub(crate) mod exchange;
pub(crate) mod grants;
pub(crate) mod guest_log;
pub(crate) mod http;
pub(crate) mod kv;
pub(crate) mod network;
pub(crate) mod outgoing;
pub(crate) mod output;
pub(crate) mod process;
pub(crate) mod processes;
pub(crate) mod recorder;
pub(crate) mod resolve;
pub(crate) mod sealed;
pub(crate) mod shelf;
pub(crate) mod tls;
pub(crate) mod wasi;
