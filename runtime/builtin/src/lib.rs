//! The plug-ins that every heald carries: built from `plugins/` by the build script, componentised, precompiled for the
//! host's engine, and embedded.
//!
//! This crate holds bytes and knows nothing of what is in them; loading them is the host's business.
//!
//! ```
//! let threshold = heald_builtin::get("detect-threshold").expect("it is carried");
//! assert!(threshold.component.starts_with(b"\0asm"));
//! ```
#![forbid(unsafe_code)]

/// One plug-in, ready to be loaded.
#[derive(Clone, Copy)]
pub struct Builtin {
    /// What `builtin:<name>` in the configuration means.
    pub name: &'static str,
    /// The component.
    pub component: &'static [u8],
    /// Machine code for this architecture, as the host's engine wants it.
    pub precompiled: &'static [u8],
    /// SHA-256 of the component, in lower-case hexadecimal.
    pub digest: &'static str,
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.debug_struct("Builtin").field("name", &self.name).field("digest", &self.digest).finish_non_exhaustive()
    }
}

static ALL: &[Builtin] = include!(concat!(env!("OUT_DIR"), "/table.rs"));

/// All of them, sorted by name.
pub fn all() -> &'static [Builtin] {
    ALL
}

/// The one of that name.
pub fn get(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|each| each.name == name)
}
