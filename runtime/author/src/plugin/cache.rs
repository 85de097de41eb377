//! The cache of compiled components for the commands of authors.

use std::path::PathBuf;

/// The folder of the cache, so that a component that was just built is tested without compiling it again. It is this user's own, and apart
/// from the cache of a running heald. None: the user has no home directory, and there is no cache.
pub(super) fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(caches.join("heald/compiled"))
}
