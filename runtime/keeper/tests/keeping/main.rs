//! The keeper with real processes: a real keeper, a runtime that can be killed, real children.
#![allow(
    missing_docs,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod adoption;
mod children;
mod endings;
mod latency;
mod logs;
mod rig;
mod runtime_dies;
