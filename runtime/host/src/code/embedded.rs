//! Plug-ins that are part of the binary, compiled when heald was built. It takes machine code from nowhere else.
//
// JUSTIFICATION: a precompiled component is machine code. wasmtime checks that the code is for this version, these
// settings and this processor. It does not check that its compiler wrote the code: only the maker of the code can
// promise that. So `Embedded::new` is unsafe, the caller makes the promise there, and no file leads here.
#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::code::engine::{self, EngineError};

/// A plug-in within the binary.
#[derive(Clone, Copy)]
pub struct Embedded {
    pub(crate) name: &'static str,
    pub(crate) digest: &'static str,
    pub(crate) component: &'static [u8],
    precompiled: &'static [u8],
}

impl Embedded {
    /// The arguments are the plug-in's name after `builtin:`, the SHA-256 of its component in lower-case hexadecimal,
    /// the component, and what [`precompile`](crate::precompile) made of the component.
    ///
    /// # Safety
    /// `precompiled` must be the unchanged result of [`precompile`](crate::precompile): heald executes it.
    pub const unsafe fn new(
        name: &'static str,
        digest: &'static str,
        component: &'static [u8],
        precompiled: &'static [u8],
    ) -> Self {
        Self { name, digest, component, precompiled }
    }

    /// The name after `builtin:`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The component for this engine. If the machine code does not fit (a build script had other settings), the
    /// component is compiled again: that takes longer and changes nothing else.
    pub(crate) fn load(&self, engine: &Engine) -> Result<Component, EngineError> {
        // SAFETY: the caller of `Embedded::new` promised that wasmtime's compiler wrote these bytes.
        match unsafe { Component::deserialize(engine, self.precompiled) } {
            Ok(component) => Ok(component),
            Err(error) => {
                tracing::warn!(plugin = self.name, error = %format!("{error:#}"), "compiling a built-in plug-in anew");
                engine::compile(engine, self.component)
            }
        }
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("name", &self.name).field("digest", &self.digest).finish_non_exhaustive()
    }
}
