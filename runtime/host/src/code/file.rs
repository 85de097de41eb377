//! Reads a component's file, and bounds its size.
//!
//! It refuses what is not a regular file (opening a FIFO would wait for its writer) and a file that is too large, and looks
//! at nothing else.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Bytes of a component. Those with a Python interpreter in them have 18 MB.
const LIMIT: u64 = 64 << 20;

/// Why there are no bytes to load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read the component {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any plug-in needs to be.
    #[error("a component of {size} bytes is too large; {limit} is the most")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// No plug-in of that name is built in.
    #[error("no plug-in `{name}` is built in; there are {}", .known.join(", "))]
    NoBuiltin {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

/// The bytes of a file, at most one more than is allowed.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let broken = |source| FileError::Read { path: path.to_owned(), source };
    let regular = |metadata: Metadata| match metadata.is_file() {
        true if metadata.len() > LIMIT => Err(FileError::TooLarge { size: metadata.len(), limit: LIMIT }),
        true => Ok(()),
        false => Err(broken(io::Error::other("it is not a regular file"))),
    };
    // Looking first leaves a device untouched; looking at what was opened is what counts.
    regular(std::fs::metadata(path).map_err(broken)?)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).map_err(broken)?;
    regular(file.metadata().map_err(broken)?)?;
    let mut bytes = Vec::new();
    // The extra byte shows that a file is too large, whatever size its file system reports.
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(broken)?;
    Ok(bytes)
}

/// Refuses too many bytes.
pub(crate) fn judge_size(bytes: &[u8]) -> Result<(), FileError> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size > LIMIT { Err(FileError::TooLarge { size, limit: LIMIT }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_a_device_and_a_huge_file_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (fifo, huge) = (folder.path().join("x.wasm"), folder.path().join("huge.wasm"));
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::fs::File::create(&huge).unwrap().set_len(20 << 30).unwrap();
        assert!(matches!(read(&fifo), Err(FileError::Read { .. })));
        assert!(matches!(read(Path::new("/dev/zero")), Err(FileError::Read { .. })));
        assert!(matches!(read(&huge), Err(FileError::TooLarge { .. })));
    }
}
