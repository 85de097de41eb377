//! Real guests, compiled from source, in a real host: those of `plugins/` and `tests/guests`, most of which misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod actions;
mod asking;
mod cache;
mod detectors;
mod files;
mod guests;
mod hostile;
mod http;
mod inspection;
mod kv;
mod loading;
mod policies;
mod process;
mod recording;
mod revocation;
mod signing;
mod surgery;
