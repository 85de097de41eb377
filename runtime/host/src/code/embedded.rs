//! Plug-ins that were compiled when heald was built.
//
// JUSTIFICATION: a precompiled component is machine code. wasmtime checks that it is for this version, these settings and this
// processor, not that the code is what its compiler wrote; only who made it can vouch for that. So it is accepted from nowhere
// but the binary itself: `Embedded::new` is where the caller vouches, and the file cannot be reached in another way.
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
    /// A plug-in by its name after `builtin:`, the SHA-256 of its component in lower-case hex, the component, and what
    /// [`precompile`](crate::precompile) made of it.
    ///
    /// # Safety
    /// `precompiled` must be the unchanged result of [`precompile`](crate::precompile): it will be executed.
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

    /// The component for this engine. Should its machine code not fit (a build script with other settings), it is compiled
    /// anew: that takes longer and is otherwise the same.
    pub(crate) fn load(&self, engine: &Engine) -> Result<Component, EngineError> {
        // SAFETY: whoever made `self` promised that these bytes are what wasmtime's compiler wrote.
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
