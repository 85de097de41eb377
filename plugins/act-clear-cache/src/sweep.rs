//! Walking a directory and deleting, or only counting, what is in it.
//!
//! It never follows a symbolic link, and what it cannot delete it leaves and counts.

use std::fmt;
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use heald_plugin::Error;

/// What was, or would be, deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files, links and the like.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes in the files.
    pub bytes: u64,
}

/// How a walk went.
#[derive(Debug, Default)]
pub struct Sweep {
    /// What was done.
    pub done: Amount,
    /// How many entries it could do nothing about.
    pub failed: u64,
    /// The first of these.
    pub trouble: Option<String>,
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let Self { files, directories, bytes } = self;
        write!(out, "{files} files ({bytes} bytes) and {directories} directories")
    }
}

/// Counts what [`empty`] would delete.
pub fn count(directory: &Path) -> Result<Sweep, Error> {
    walk(directory, |_, _| Ok(()))
}

/// Deletes everything in this directory, and not the directory.
pub fn empty(directory: &Path) -> Result<Sweep, Error> {
    walk(directory, |path, is_directory| if is_directory { fs::remove_dir(path) } else { fs::remove_file(path) })
}

/// An entry yet to be looked at, or a directory whose entries are done.
enum Step {
    Enter(DirEntry),
    Leave(PathBuf),
}

/// Depth first, with a stack of its own: a guest's is small, and directories can be deep.
fn walk(directory: &Path, delete: impl Fn(&Path, bool) -> io::Result<()>) -> Result<Sweep, Error> {
    let mut sweep = Sweep::default();
    let mut steps = Vec::new();
    let top = fs::read_dir(directory).map_err(|error| refusal(directory, &error))?;
    sweep.take_in(top, directory, &mut steps);
    while let Some(step) = steps.pop() {
        match step {
            Step::Leave(path) => {
                if sweep.note(&path, delete(&path, true)).is_some() {
                    sweep.done.directories += 1;
                }
            }
            Step::Enter(entry) => {
                let path = entry.path();
                // Of the entry itself: neither of these two follows a link.
                let Some(kind) = sweep.note(&path, entry.file_type()) else { continue };
                if kind.is_dir() {
                    let Some(entries) = sweep.note(&path, fs::read_dir(&path)) else { continue };
                    steps.push(Step::Leave(path.clone()));
                    sweep.take_in(entries, &path, &mut steps);
                } else {
                    let size = entry.metadata().map(|metadata| metadata.len()).unwrap_or_default();
                    if sweep.note(&path, delete(&path, false)).is_some() {
                        sweep.done.files += 1;
                        sweep.done.bytes += size;
                    }
                }
            }
        }
    }
    Ok(sweep)
}

impl Sweep {
    fn take_in(&mut self, entries: fs::ReadDir, directory: &Path, steps: &mut Vec<Step>) {
        // Read to the end before anything is deleted: deleting while listing may skip entries.
        for entry in entries {
            steps.extend(self.note(directory, entry).map(Step::Enter));
        }
    }

    /// What was gone already is no trouble: somebody else clears this cache too.
    fn note<T>(&mut self, path: &Path, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                self.failed += 1;
                self.trouble.get_or_insert_with(|| format!("{}: {error}", path.display()));
                None
            }
        }
    }
}

/// An error of the file system, as the contract has it.
pub(crate) fn refusal(path: &Path, error: &io::Error) -> Error {
    let said = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::NotFound => Error::NotFound(said),
        ErrorKind::PermissionDenied => Error::Denied(said),
        _ => Error::Other(said),
    }
}
