//! What a plug-in's file is: its sections, its signatures, what it says of itself, what it imports and exports, and its machine code.
//!
//! Nothing here runs a guest, and nothing here knows what a guest may touch.

pub(crate) mod cache;
pub(crate) mod compile;
pub(crate) mod contract;
pub(crate) mod embedded;
pub(crate) mod engine;
pub(crate) mod entry;
pub(crate) mod file;
pub(crate) mod imports;
pub(crate) mod inspect;
pub(crate) mod key;
pub(crate) mod metadata;
pub(crate) mod schema;
pub(crate) mod section;
pub(crate) mod signature;
pub(crate) mod trust;
