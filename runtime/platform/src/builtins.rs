//! The embedded plug-ins, vouched for.
//
// JUSTIFICATION: the host executes precompiled machine code only from a caller who vouches for it. These bytes were written by
// this workspace's own build script from `heald_host::precompile` and lie in the binary itself.
#![allow(unsafe_code)]

use heald_host::Embedded;

/// What `builtin:NAME` can mean.
pub fn embedded() -> Vec<Embedded> {
    let each = heald_builtin::all().iter();
    each.map(|builtin| {
        // SAFETY: `precompiled` is the unchanged result of `heald_host::precompile`, see heald-builtin's build script.
        unsafe { Embedded::new(builtin.name, builtin.digest, builtin.component, builtin.precompiled) }
    })
    .collect()
}

/// The names that `builtin:NAME` may have.
pub fn names() -> Vec<&'static str> {
    heald_builtin::all().iter().map(|builtin| builtin.name).collect()
}
