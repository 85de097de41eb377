//! Machine code from the cache, turned back into a component.
//
// JUSTIFICATION: a precompiled component is machine code, and wasmtime cannot tell whether its compiler wrote it. Compiling a component
// with an interpreter in it takes 5 to 15 s, at every start and reload, unless what was compiled is kept. So it is, where only this
// user can write, and who can write there can as well replace heald or its configuration: no authority is gained by planting code.
#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component;

use super::Private;
use crate::code::entry::{Key, Misfit, unseal};

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error("wasmtime does not take it: {0:#}")]
    Refused(wasmtime::Error),
}

/// The component whose code is in a private file, if the file is the one it should be.
pub(crate) fn revive(engine: &Engine, file: &Private, key: Key<'_>) -> Result<Component, Unusable> {
    let code = unseal(file.bytes(), key)?;
    // SAFETY: `Private` is made by the cache alone, of a regular file in a directory that is this user's and that nobody else can write
    // to, the file itself neither, and it was read whole into memory that nobody else has: it does not change under our hands as a
    // mapped file could. heald writes nothing there but what wasmtime's compiler made; `unseal` has just found that it is
    // unchanged since, of this component and for this very engine.
    unsafe { Component::deserialize(engine, code) }.map_err(Unusable::Refused)
}
