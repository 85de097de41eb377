//! Small files beside the journal: reading one without being held up, replacing one whole, setting a broken one aside.
//!
//! It waits for nobody: what is not a regular file (a FIFO, a device) is refused, and so is a file larger than it can
//! rightly be. It deletes nothing that it has not written.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;

/// Opens a file in a way that waits for nobody: a FIFO without a writer would hold an ordinary open for ever. A link is
/// followed; what it leads to must be a regular file.
pub(crate) fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Looking first leaves a device untouched; looking at what was opened is what counts.
    match fs::metadata(path) {
        Ok(metadata) => require_regular(&metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    require_regular(&file.metadata()?)?;
    Ok(file)
}

fn require_regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::other(format!("it is {what}, not a regular file")))
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
///
/// When the file system refuses, when it is no regular file, or when it is larger.
pub fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path, OpenOptions::new().read(true))?;
    let too_large = || io::Error::other(format!("it is too large; at most {limit} bytes are read"));
    if file.metadata()?.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // A file may grow while it is read, and some file systems report no size.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|read| read <= limit);
    if fits { Ok(bytes) } else { Err(too_large()) }
}

/// The same as text.
///
/// # Errors
///
/// As [`read_file`], and when it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read_file(path, limit)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Replaces a file so that at every moment, and after a crash, either the old or the new content is there as a whole.
/// The new content is durable when this returns.
///
/// # Errors
///
/// When the file system refuses; the old file is then still there.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    // A crash may have left one. Whatever else has that name (a link, a FIFO) is not written through.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The rename is durable once the folder is synced.
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Renames a file that cannot be read, so that a new one can take its name. Returns its new path.
///
/// # Errors
///
/// When the file system refuses.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let names = (0..)
        .map(|n: u32| if n == 0 { format!(".unreadable-{seconds}") } else { format!(".unreadable-{seconds}-{n}") });
    // A link that leads nowhere has the name too.
    let free = |aside: &PathBuf| fs::symlink_metadata(aside).is_err();
    let aside = names.map(|ending| beside(path, &ending)).find(free);
    let aside = aside.unwrap_or_else(|| beside(path, ".unreadable"));
    tracing::warn!(aside = %aside.display(), "the unreadable file {} is set aside", path.display());
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// The path with an extension appended to the file name.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fifo(path: &Path) {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    }

    #[test]
    fn a_fifo_a_device_a_folder_and_a_huge_file_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fifo(&path);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let huge = dir.path().join("huge");
        File::create(&huge).unwrap().set_len(20 << 30).unwrap();
        let refused = |path: &Path| read_file(path, 1024).unwrap_err().to_string();
        assert_eq!(refused(&path), "it is a FIFO, not a regular file");
        assert_eq!(refused(&link), "it is a FIFO, not a regular file");
        assert_eq!(refused(Path::new("/dev/zero")), "it is a device, not a regular file");
        assert_eq!(refused(dir.path()), "it is a folder, not a regular file");
        assert_eq!(refused(&huge), "it is too large; at most 1024 bytes are read");
    }

    #[test]
    fn nothing_is_written_through_a_link_or_a_fifo_of_the_new_files_name() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("x"), dir.path().join("other"));
        fs::write(&other, "theirs").unwrap();
        std::os::unix::fs::symlink(&other, beside(&path, ".new")).unwrap();
        replace_file(&path, b"ours").unwrap();
        fifo(&beside(&path, ".new"));
        replace_file(&path, b"ours again").unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"ours again".to_vec(), b"theirs".to_vec()));
    }
}
