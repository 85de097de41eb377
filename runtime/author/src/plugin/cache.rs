//! Where these commands keep what they compiled.

use std::path::PathBuf;

/// Where these commands keep what they compiled, so that what was just built is tested at once: for this user alone, and apart
/// from what a running heald keeps. None: there is no home, and so no cache.
pub(super) fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(caches.join("heald/compiled"))
}
