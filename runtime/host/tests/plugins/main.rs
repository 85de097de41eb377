//! Real guests, compiled from source, in a real host: those of `plugins/` and `tests/guests`, most of which misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod actions;
mod cache;
mod detectors;
mod guests;
mod inspection;
mod loading;
mod policies;
mod signing;
mod surgery;
