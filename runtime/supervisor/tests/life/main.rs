//! The supervisor over a real keeper, with real processes. The runtime is the test, through the fixture's relay, which can
//! be killed.
#![allow(
    missing_docs,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod convergence;
mod latency;
mod ordering;
mod processes;
mod rig;
