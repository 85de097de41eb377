//! Turns machine code from the cache into a component. It takes machine code from nowhere else.
//
// JUSTIFICATION: a precompiled component is machine code, and wasmtime cannot tell whether its compiler wrote it. A
// component with an interpreter in it takes 5 to 15 s to compile, at every start and reload, unless its machine code is
// kept. The code is kept where only this user can write. Whoever can write there can also replace heald or its
// configuration, so planted code gives nobody new authority.
#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component;

use super::PrivateFile;
use crate::code::entry::{CodeKey, EntryError, unseal};

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrecompiledError {
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error("wasmtime does not take it: {0:#}")]
    Refused(wasmtime::Error),
}

/// The component of the machine code in a private file, if the file is the wanted one.
pub(crate) fn deserialize(
    engine: &Engine,
    file: &PrivateFile,
    key: CodeKey<'_>,
) -> Result<Component, PrecompiledError> {
    let code = unseal(file.bytes(), key)?;
    // SAFETY: only the cache makes a `PrivateFile`, of a regular file to which nobody but this user can write, in a
    // directory to which nobody but this user can write. The file was read whole into memory that nothing else holds,
    // so it does not change as a mapped file could. heald writes nothing there but what wasmtime's compiler made.
    // `unseal` has just found that the code is unchanged since then, and that it is of this component and for this
    // engine.
    unsafe { Component::deserialize(engine, code) }.map_err(PrecompiledError::Refused)
}
