//! One heald per database: an advisory lock on a file beside it. The kernel drops the lock when its holder dies.
//!
//! The file also carries one bit to the next run: that damage was seen, so that the next opening examines the whole
//! database. The file is never removed, because two processes could then lock two files of the same name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::StoreError;
use crate::files::{beside, open_regular};

/// The word behind the holder's process id once damage was seen.
const SUSPECT: &str = "suspect";

/// The lock. It is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    /// The previous holder saw damage.
    pub(crate) suspect: bool,
}

impl Lock {
    /// Takes the lock of the database at `path`, or reports the holder.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let beside = beside(path, ".lock");
        let failed = |source: io::Error| StoreError::Io { path: beside.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = open_regular(&beside, &mut options).map_err(failed)?;
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        let mut said = String::new();
        // What the file says is for people and for `suspect`; nothing depends on it being readable.
        let _ = (&file).take(64).read_to_string(&mut said);
        let mut words = said.split_whitespace();
        let pid = words.next().and_then(|word| word.parse().ok());
        match locked {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::InUse { path: path.into(), pid }),
            Err(errno) => return Err(failed(errno.into())),
        }
        let suspect = words.next() == Some(SUSPECT);
        say(&mut file, suspect).map_err(failed)?;
        Ok(Self { file, suspect })
    }

    /// Writes for the next opening whether damage was seen.
    pub(crate) fn mark(&mut self, suspect: bool) {
        self.suspect = suspect;
        if let Err(error) = say(&mut self.file, suspect) {
            tracing::warn!(%error, "cannot write to the lock file");
        }
    }
}

fn say(file: &mut File, suspect: bool) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mark = if suspect { SUSPECT } else { "" };
    let text = format!("{} {mark}\n", std::process::id());
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heald.db");
        let first = Lock::take(&path).unwrap();
        let said = Lock::take(&path).unwrap_err().to_string();
        assert!(said.contains(&format!("in use by another heald (pid {})", std::process::id())), "{said}");
        drop(first);
        Lock::take(&path).unwrap();
    }

    #[test]
    fn a_lock_file_that_is_a_fifo_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heald.db");
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, beside(&path, ".lock"), fifo, mode, 0).unwrap();
        assert!(matches!(Lock::take(&path), Err(StoreError::Io { source, .. }) if source.to_string().contains("FIFO")));
    }

    #[test]
    fn a_suspicion_outlives_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heald.db");
        let mut lock = Lock::take(&path).unwrap();
        assert!(!lock.suspect);
        lock.mark(true);
        drop(lock);
        let mut lock = Lock::take(&path).unwrap();
        assert!(lock.suspect);
        lock.mark(false);
        drop(lock);
        assert!(!Lock::take(&path).unwrap().suspect);
    }
}
