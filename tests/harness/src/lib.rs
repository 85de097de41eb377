//! What heald's end-to-end tests and benches stand on.
//!
//! Everything here is real: a heald of the binary under test, HTTP targets on real sockets, processes that can be killed.
//! Nothing sleeps for a fixed time; [`within`] waits for a state with a deadline and says what it saw when that passes.
//! A failure is a panic: this crate is for tests.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod heald;
mod http;
mod ports;
mod stub;
mod wait;

pub use heald::{Heald, Launch, gone, kill, signal};
pub use http::{Answer, events, get, request, request_with};
pub use ports::free_port;
pub use rustix::process::Signal;
pub use stub::{Mode, Stub};
pub use wait::{until, within};
