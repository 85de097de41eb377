//! Keeps every component that ran, by its digest, so that explain and replay find it, whatever file has its name today.
//!
//! A component is removed a year after its last use, and the oldest go first when all take more than a GiB. A component that cannot be kept
//! gives a warning and no error.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use heald_store::StoreConfig;

/// A component that is not loaded for this long is removed when another is kept.
const KEPT: Duration = Duration::from_hours(365 * 24);
/// Beyond this many bytes the oldest components are removed. It is enough for fifty with an interpreter, or thousands without.
const BYTES: u64 = 1 << 30;

/// Where components are kept: beside the journal.
pub fn components_dir(store: &StoreConfig) -> PathBuf {
    store.path.with_extension("components")
}

/// The folder of kept components.
#[derive(Clone, Debug)]
pub struct Components {
    folder: PathBuf,
}

impl Components {
    /// Uses this folder, and makes it when it is first needed.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The component of this digest; None if it is not kept or no longer has the digest.
    pub fn find(&self, digest: &str) -> Option<Vec<u8>> {
        let bytes = std::fs::read(self.place(digest)?).ok()?;
        (heald_host::digest(&bytes) == digest).then_some(bytes)
    }

    /// Keeps the component of a file, if the file still has this digest.
    pub(super) fn keep(&self, component: &str, digest: &str) {
        if component.starts_with("builtin:") {
            return;
        }
        if let Err(error) = self.try_keep(Path::new(component), digest) {
            tracing::warn!(component, %error, "cannot be kept; its decisions cannot be explained once the file changes");
        }
    }

    fn try_keep(&self, component: &Path, digest: &str) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        let Some(place) = self.place(digest) else { return Ok(()) };
        if place.exists() {
            // The time of the last write says when the component was last used.
            return std::fs::File::open(&place)?.set_modified(SystemTime::now());
        }
        let bytes = heald_store::read_file(component, BYTES)?;
        if heald_host::digest(&bytes) != digest {
            return Err(std::io::Error::other("the file has changed while it was loaded"));
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        self.sweep();
        heald_store::replace_file(&place, &bytes)
    }

    fn sweep(&self) {
        let Ok(files) = std::fs::read_dir(&self.folder) else { return };
        let mut kept: Vec<(SystemTime, u64, PathBuf)> = files
            .flatten()
            .filter_map(|file| {
                let metadata = file.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), file.path()))
            })
            .collect();
        kept.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut bytes = 0_u64;
        for (used, length, path) in kept {
            bytes = bytes.saturating_add(length);
            if bytes > BYTES || used.elapsed().is_ok_and(|age| age > KEPT) {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Digests come from the journal too, so only 64 hexadecimal digits become the name of a file.
    fn place(&self, digest: &str) -> Option<PathBuf> {
        let sound = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        sound.then(|| self.folder.join(format!("{digest}.wasm")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_is_found_by_its_digest_until_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        std::fs::write(&file, b"a component").unwrap();
        let digest = heald_host::digest(b"a component");
        let kept = Components::at(folder.path().join("kept"));
        kept.keep(file.to_str().unwrap(), &digest);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(kept.find(&digest).unwrap(), b"a component");
        std::fs::write(kept.place(&digest).unwrap(), b"another").unwrap();
        assert_eq!(kept.find(&digest), None);
        assert_eq!(kept.find("../../etc/passwd"), None);
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        std::fs::write(&file, b"another").unwrap();
        let kept = Components::at(folder.path().join("kept"));
        let digest = heald_host::digest(b"a component");
        kept.keep(file.to_str().unwrap(), &digest);
        assert_eq!(kept.find(&digest), None);
    }
}
