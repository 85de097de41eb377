//! The output of the children: one pipe per child and one file per path, written by the keeper alone.
//!
//! It adds nothing to the output. It looks only for line ends, to begin a new file between two lines.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::protocol::Log;

/// How much one child may write in its turn. It is all that a pipe holds, so that a last turn at the child's end takes
/// the rest of its output before that of its successor.
const TURN: usize = 64 * 1024;

/// How far a file may grow past its size while it waits for a line end.
const LINE_PATIENCE: u64 = 64 * 1024;

/// The result of one read from a pipe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// There may be more to read.
    Some,
    /// There is nothing to read now.
    Empty,
    /// The pipe is closed by all writers.
    Closed,
}

/// The reading end of a child's output.
#[derive(Debug)]
struct Pipe {
    reader: io::PipeReader,
    path: PathBuf,
}

/// All pipes and files.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pipes: BTreeMap<u64, Pipe>,
    files: BTreeMap<PathBuf, LogFile>,
    scratch: Vec<u8>,
}

impl Logs {
    /// Opens a pipe with the number `id` into `log`, and returns the end for the child.
    pub(crate) fn open(&mut self, id: u64, log: &Log) -> io::Result<io::PipeWriter> {
        let (reader, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        let file = self.files.entry(log.path.clone()).or_insert_with(|| LogFile::new(log));
        file.max_bytes = log.max_bytes.max(1);
        file.keep = log.keep;
        self.pipes.insert(id, Pipe { reader, path: log.path.clone() });
        Ok(writer)
    }

    /// The descriptor to wait for.
    pub(crate) fn reader(&self, id: u64) -> Option<BorrowedFd<'_>> {
        self.pipes.get(&id).map(|pipe| pipe.reader.as_fd())
    }

    /// Moves up to one turn of output from the pipe to its file. A closed pipe is removed.
    pub(crate) fn drain(&mut self, id: u64) -> Drained {
        let Some(pipe) = self.pipes.get_mut(&id) else { return Drained::Closed };
        self.scratch.resize(TURN, 0);
        let drained = match pipe.reader.read(&mut self.scratch) {
            Ok(0) => Drained::Closed,
            Ok(count) => {
                if let (Some(file), Some(bytes)) = (self.files.get_mut(&pipe.path), self.scratch.get(..count)) {
                    file.append(bytes);
                }
                if count == TURN { Drained::Some } else { Drained::Empty }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Drained::Empty,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Drained::Some,
            Err(_) => Drained::Closed,
        };
        if drained == Drained::Closed {
            self.close(id);
        }
        drained
    }

    /// Removes a pipe, and its file if no other pipe uses it.
    pub(crate) fn close(&mut self, id: u64) {
        let Some(closed) = self.pipes.remove(&id) else { return };
        if self.pipes.values().all(|pipe| pipe.path != closed.path) {
            self.files.remove(&closed.path);
        }
    }

    /// Reads all that the pipes hold, before the keeper ends.
    pub(crate) fn drain_all(&mut self) {
        for id in self.pipes.keys().copied().collect::<Vec<_>>() {
            while self.drain(id) == Drained::Some {}
        }
    }

    /// Takes the file errors since the last call.
    pub(crate) fn problems(&mut self) -> Vec<String> {
        self.files.values_mut().filter_map(|file| file.problem.take()).collect()
    }
}

/// One log file. A full disk or a missing directory costs log lines and never blocks the child: its pipe is still
/// emptied, lost bytes are counted, and every write tries the file again.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    file: Option<File>,
    size: u64,
    lost: u64,
    problem: Option<String>,
}

impl LogFile {
    fn new(log: &Log) -> Self {
        Self {
            path: log.path.clone(),
            max_bytes: log.max_bytes,
            keep: log.keep,
            file: None,
            size: 0,
            lost: 0,
            problem: None,
        }
    }

    /// Writes all of `bytes`. A full file is rotated at the next line end.
    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let slot = usize::try_from(self.max_bytes.saturating_sub(self.size)).unwrap_or(usize::MAX);
            let line_end =
                bytes.get(slot.saturating_sub(1)..).and_then(|past| past.iter().position(|byte| *byte == b'\n'));
            let (now, full) = match line_end {
                Some(at) => (slot.saturating_sub(1) + at + 1, true),
                None => (bytes.len(), self.size + bytes.len() as u64 > self.max_bytes + LINE_PATIENCE),
            };
            let (piece, rest) = bytes.split_at_checked(now).unwrap_or((bytes, &[]));
            match self.write(piece) {
                Ok(()) => self.size += piece.len() as u64,
                Err(error) => self.complain(piece.len(), &error),
            }
            if full && let Err(error) = self.rotate() {
                self.complain(0, &error);
            }
            bytes = rest;
        }
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let (file, size) = open(&self.path)?;
                self.size = size;
                self.file.insert(file)
            }
        };
        file.write_all(piece).inspect_err(|_| self.file = None)?;
        if self.lost > 0 {
            self.problem = Some(format!("{} is written again; {} bytes were lost", self.path.display(), self.lost));
            self.lost = 0;
        }
        Ok(())
    }

    /// Renames `log` to `log.1`, `log.1` to `log.2` and so on; the file beyond `keep` is dropped.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        self.size = 0;
        if self.keep == 0 {
            return std::fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            match std::fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(&self.path, 1))
    }

    fn complain(&mut self, lost: usize, error: &io::Error) {
        if self.lost == 0 {
            self.problem = Some(format!("cannot write {}: {error}", self.path.display()));
        }
        self.lost += lost as u64;
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// `web.log` and 2 give `web.log.2`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(path: &Path, max_bytes: u64, keep: u32) -> Log {
        Log { path: path.to_owned(), max_bytes, keep }
    }

    #[test]
    fn files_are_cut_between_lines_and_no_byte_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/web.log");
        let mut file = LogFile::new(&log(&path, 100, 1000));
        let mut all = String::new();
        for number in 0..500 {
            let line = format!("line {number} {}\n", "x".repeat(number % 37));
            // Pieces of uneven size, because a read from a pipe can end anywhere.
            for piece in line.as_bytes().chunks(7) {
                file.append(piece);
            }
            all.push_str(&line);
        }
        let mut read = String::new();
        for number in (1..1000).rev() {
            let Ok(text) = std::fs::read_to_string(numbered(&path, number)) else { continue };
            assert!(text.ends_with('\n') && text.len() < 200, "{text:?}");
            read.push_str(&text);
        }
        read.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        assert_eq!(read, all);
    }

    #[test]
    fn only_so_many_files_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.log");
        let mut file = LogFile::new(&log(&path, 4, 2));
        for line in ["aaaa\n", "bbbb\n", "cccc\n", "dd\n"] {
            file.append(line.as_bytes());
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "dd\n");
        assert_eq!(std::fs::read_to_string(numbered(&path, 1)).unwrap(), "cccc\n");
        assert_eq!(std::fs::read_to_string(numbered(&path, 2)).unwrap(), "bbbb\n");
        assert!(!numbered(&path, 3).exists());
    }

    #[test]
    fn a_line_without_end_is_cut_after_some_patience() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.log");
        let mut file = LogFile::new(&log(&path, 10, 1));
        for _ in 0..80 {
            file.append(&[b'x'; 1024]);
        }
        assert!(numbered(&path, 1).metadata().unwrap().len() <= LINE_PATIENCE + 2048);
    }

    #[test]
    fn what_cannot_be_written_is_said_once_and_the_file_is_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let blocker = directory.path().join("logs");
        std::fs::write(&blocker, "a file where a directory should be").unwrap();
        let path = blocker.join("web.log");
        let mut file = LogFile::new(&log(&path, 100, 1));
        file.append(b"lost\n");
        assert!(file.problem.take().unwrap().contains("cannot write"));
        file.append(b"lost\n");
        assert_eq!(file.problem.take(), None);
        std::fs::remove_file(&blocker).unwrap();
        file.append(b"kept\n");
        assert!(file.problem.take().unwrap().contains("10 bytes were lost"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept\n");
    }
}
