//! Keeps compiled plug-ins from one start of heald to the next, in a directory that belongs to this user alone.
//!
//! heald executes what lies here. So the directory must belong to this user and nobody else may write to it. Every file
//! in it must be a regular file of the same owner, without access for others and with one name. A plug-in whose file
//! breaks one of these rules is compiled again. The cache takes no path from its callers, and it works on the directory
//! that it opened and checked, not on its name.
//!
//! The directory may vanish or be emptied at any time. A broken cache never keeps a plug-in from being loaded.

use std::fs::{DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::code::entry::{self, CodeKey};
use crate::code::signature::hex;

use self::precompiled::deserialize;

mod precompiled;

/// Bytes of all files together: a dozen plug-ins with interpreters in them, or a thousand without.
const ROOM: u64 = 512 << 20;
/// A file that was not used for this long is removed.
const UNUSED: Duration = Duration::from_hours(30 * 24);
/// An unfinished file of this age is removed.
const UNFINISHED: Duration = Duration::from_hours(1);
/// The most bytes of one file. The largest component that is loaded has 64 MiB, and less machine code than this.
const LARGEST: u64 = 512 << 20;
/// The endings of finished and of unfinished files.
const FINISHED: &str = ".compiled";
const TEMPORARY: &str = ".tmp";

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("the cache of compiled plug-ins {path} cannot be used")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the cache of compiled plug-ins {path} {problem}, and what is in it would be executed; empty it and make it yours alone \
         (`rm -r {path}`), or name another directory as `cache` in [plugins]"
    )]
    NotOurs { path: PathBuf, problem: String },
}

/// The cache of one engine.
#[derive(Debug)]
pub(crate) struct Cache {
    path: PathBuf,
    folder: OwnedFd,
    engine: String,
}

/// A file of the cache, in memory. Only this user could have written it.
pub(crate) struct PrivateFile(Vec<u8>);

impl PrivateFile {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Cache {
    /// Opens the directory, and creates it if it is missing.
    pub(crate) fn open(path: &Path, engine: &Engine) -> Result<Self, CacheError> {
        let broken = |source| CacheError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(broken)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| broken(error.into()))?;
        let stat = rustix::fs::fstat(&folder).map_err(|error| broken(error.into()))?;
        let not_ours = |problem: String| CacheError::NotOurs { path: path.to_owned(), problem };
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(not_ours(format!("belongs to the user with number {}", stat.st_uid)));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(not_ours(format!("can be written to by others (its mode is {:o})", stat.st_mode & 0o7777)));
        }
        if stat.st_mode & 0o077 != 0 {
            // Others could read and could not write, so they left nothing here.
            rustix::fs::fchmod(&folder, Mode::RWXU).map_err(|error| broken(error.into()))?;
        }
        let cache = Self { path: path.to_owned(), folder, engine: hash(engine) };
        cache.sweep(SystemTime::now());
        Ok(cache)
    }

    /// The machine code of a component, for this engine. A file that breaks a rule is logged and removed.
    pub(crate) fn recall(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let name = self.name(digest);
        let component = match self.read(&name) {
            Ok(file) => deserialize(engine, &file, self.key(digest)).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        component
            .inspect_err(|problem| {
                tracing::warn!(file = %self.path.join(&name).display(), "a compiled plug-in is not used: {problem}");
                self.remove(&name);
            })
            .ok()
    }

    /// Whether there is a file for a component. The file may be a bad one.
    pub(crate) fn holds(&self, digest: &str) -> bool {
        rustix::fs::statat(&self.folder, self.name(digest), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Keeps the machine code of a component.
    pub(crate) fn keep(&self, digest: &str, code: &[u8]) {
        let file = entry::seal(self.key(digest), code);
        let kept = self.write("code", &file).and_then(|temporary| temporary.adopt(digest));
        if let Err(error) = kept {
            tracing::warn!(cache = %self.path.display(), %error, "a compiled plug-in cannot be kept");
        }
        self.sweep(SystemTime::now());
    }

    /// A new file with these contents. Dropping it removes the file, unless it was adopted.
    pub(crate) fn write(&self, kind: &str, contents: &[u8]) -> io::Result<Temporary<'_>> {
        let temporary = self.temporary(kind);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, &temporary.name, flags, Mode::RUSR | Mode::WUSR)?;
        File::from(file).write_all(contents)?;
        Ok(temporary)
    }

    /// The name for a new file.
    pub(crate) fn temporary(&self, kind: &str) -> Temporary<'_> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // A process id is used again after its process died, and the old process may have left a file.
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let name = format!(".{kind}-{}-{since}-{count}{TEMPORARY}", std::process::id());
        Temporary { cache: self, name }
    }

    fn key<'k>(&'k self, digest: &'k str) -> CodeKey<'k> {
        CodeKey { digest, engine: &self.engine }
    }

    fn name(&self, digest: &str) -> String {
        // These digits tell two engines apart; the file holds the whole hash.
        format!("{digest}-{}{FINISHED}", self.engine.get(..16).unwrap_or_default())
    }

    /// Reads a file if only this user can access it, and marks it as used.
    fn read(&self, name: &str) -> io::Result<PrivateFile> {
        // The file may be a pipe, and opening a pipe can block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if let Some(problem) = strange(&stat) {
            return Err(io::Error::other(problem));
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        // A failure changes only the order in which files are removed.
        let _ = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
        let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or_default());
        File::from(file).take(LARGEST).read_to_end(&mut bytes)?;
        Ok(PrivateFile(bytes))
    }

    fn remove(&self, name: &str) {
        if let Err(error) = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())
            && error != rustix::io::Errno::NOENT
        {
            tracing::warn!(file = %self.path.join(name).display(), %error, "a file of the plug-in cache cannot be removed");
        }
    }

    /// Removes files that were not used for long. Then it removes the least recently used files until the rest fits.
    fn sweep(&self, now: SystemTime) {
        let mut finished = self.list(FINISHED);
        finished.sort_unstable_by_key(|file| std::cmp::Reverse(file.used));
        let mut size = 0_u64;
        for file in finished {
            size = size.saturating_add(file.size);
            if size > ROOM || now.duration_since(file.used).is_ok_and(|unused| unused > UNUSED) {
                self.remove(&file.name);
            }
        }
        for file in self.list(TEMPORARY) {
            if now.duration_since(file.used).is_ok_and(|old| old > UNFINISHED) {
                self.remove(&file.name);
            }
        }
    }

    /// The files with this ending. The cache never touches other files.
    fn list(&self, ending: &str) -> Vec<Listed> {
        let Ok(folder) = rustix::fs::Dir::read_from(&self.folder) else { return Vec::new() };
        let each = folder.filter_map(|entry| {
            let name = entry.ok()?.file_name().to_str().ok()?.to_owned();
            let stat = rustix::fs::statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            let used = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(stat.st_mtime).ok()?))?;
            Some(Listed { name, size: u64::try_from(stat.st_size).ok()?, used })
        });
        each.filter(|file| file.name.ends_with(ending)).collect()
    }
}

struct Listed {
    name: String,
    size: u64,
    used: SystemTime,
}

/// An unfinished file. Dropping it removes it.
pub(crate) struct Temporary<'c> {
    cache: &'c Cache,
    name: String,
}

impl Temporary<'_> {
    /// The path by which another process finds it.
    pub(crate) fn path(&self) -> PathBuf {
        self.cache.path.join(&self.name)
    }

    /// Makes it the file of this component, and replaces an older one.
    pub(crate) fn adopt(self, digest: &str) -> io::Result<()> {
        let folder = &self.cache.folder;
        Ok(rustix::fs::renameat(folder, &self.name, folder, self.cache.name(digest))?)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // The file is missing if it was adopted or never written.
        let _ = rustix::fs::unlinkat(&self.cache.folder, &self.name, AtFlags::empty());
    }
}

/// Why others may have written or changed a file.
fn strange(stat: &Stat) -> Option<String> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Some("it is no regular file".to_owned());
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Some(format!("it belongs to the user with number {}", stat.st_uid));
    }
    if stat.st_mode & 0o077 != 0 {
        return Some(format!("others have access to it (its mode is {:o})", stat.st_mode & 0o7777));
    }
    if stat.st_nlink != 1 {
        return Some("it has another name".to_owned());
    }
    (u64::try_from(stat.st_size).unwrap_or(u64::MAX) > LARGEST).then(|| "it is too large".to_owned())
}

/// A hash of everything that machine code depends on, apart from the component.
pub(crate) fn hash(engine: &Engine) -> String {
    /// The standard library may change its hasher; this one stays the same.
    struct Steady(Sha256);

    impl Hasher for Steady {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            self.0.clone().finalize().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
        }
    }

    let mut steady = Steady(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut steady);
    hex(&steady.0.finalize())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn cache(path: &Path) -> Cache {
        Cache::open(path, &Engine::new(&crate::code::engine::config()).unwrap()).unwrap()
    }

    /// A file of this size that takes no room, used so long before now.
    fn put(cache: &Cache, name: &str, size: u64, now: SystemTime, ago: Duration) {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(cache.path.join(name)).unwrap();
        file.set_len(size).unwrap();
        file.set_modified(now - ago).unwrap();
    }

    fn names(cache: &Cache) -> Vec<String> {
        let entries = std::fs::read_dir(&cache.path).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_is_not_used_makes_room() {
        let place = tempfile::tempdir().unwrap();
        let cache = cache(&place.path().join("cache"));
        let now = SystemTime::now();
        let minutes = |minutes| Duration::from_mins(minutes);
        put(&cache, "newest.compiled", ROOM / 2, now, minutes(1));
        put(&cache, "older.compiled", ROOM / 2, now, minutes(2));
        put(&cache, "oldest.compiled", 1, now, minutes(3));
        put(&cache, ".in-1-2-3.tmp", 1, now, minutes(59));
        put(&cache, ".in-1-2-4.tmp", 1, now, minutes(61));
        put(&cache, "somebody's", ROOM, now, 2 * UNUSED);
        cache.sweep(now);
        assert_eq!(names(&cache), [".in-1-2-3.tmp", "newest.compiled", "older.compiled", "somebody's"]);
        // Files know the time to the second.
        cache.sweep(now + UNUSED - minutes(2));
        assert_eq!(names(&cache), ["newest.compiled", "somebody's"]);
        cache.sweep(now + UNUSED);
        assert_eq!(names(&cache), ["somebody's"], "what the cache did not put there is not its to remove");
    }

    #[test]
    fn being_recalled_is_being_used() {
        let place = tempfile::tempdir().unwrap();
        let cache = cache(&place.path().join("cache"));
        let now = SystemTime::now();
        put(&cache, "old.compiled", 1, now, UNUSED);
        std::fs::set_permissions(cache.path.join("old.compiled"), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(cache.read("old.compiled").unwrap().bytes(), [0]);
        cache.sweep(now + Duration::from_mins(1));
        assert_eq!(names(&cache), ["old.compiled"]);
    }

    #[test]
    fn a_refused_directory_says_why_and_what_to_do() {
        let place = tempfile::tempdir().unwrap();
        let engine = Engine::new(&crate::code::engine::config()).unwrap();
        let open = |path: &Path| Cache::open(path, &engine).unwrap_err().to_string();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let said = open(place.path());
        for part in [&*place.path().display().to_string(), "can be written to by others", "777", "`rm -r", "[plugins]"]
        {
            assert!(said.contains(part), "{said}");
        }
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(open(&file).contains("file cannot be used"));
    }

    #[test]
    fn what_is_under_way_is_gone_when_nobody_takes_it() {
        let place = tempfile::tempdir().unwrap();
        let cache = cache(&place.path().join("cache"));
        let digest = "d".repeat(64);
        drop(cache.write("code", b"half").unwrap());
        assert!(names(&cache).is_empty() && !cache.holds(&digest));
        cache.write("code", b"whole").unwrap().adopt(&digest).unwrap();
        assert!(cache.holds(&digest));
        assert_eq!(names(&cache), [cache.name(&digest)]);
    }
}
