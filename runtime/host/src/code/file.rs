//! Reads a component's file, and bounds its size.
//!
//! It refuses a file that is too large, and looks at nothing else.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

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
    let file = File::open(path).map_err(broken)?;
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
