//! What can be granted beyond the log: `kv`, `process` and `process_control`.
//!
//! Using one of these makes the component import it; a host that does not grant it will not load the component. Under a
//! native test they answer from the doubles in [`testing`](crate::testing).

#[cfg(not(target_family = "wasm"))]
pub use crate::testing::double::{kv, process, process_control};

#[cfg(target_family = "wasm")]
pub use crate::bindings::capabilities::heald::plugin::{kv, process, process_control};
