//! What the fuzz targets share: a host, what a plug-in is shown, and what must hold of every answer.
//!
//! A target is a promise: whatever these bytes are, heald neither panics nor hangs, and what it accepts is within its bounds. A broken
//! promise is a panic, which libFuzzer reports with the bytes that led to it.

pub mod bounds;
pub mod section;
pub mod shown;
pub mod stage;
