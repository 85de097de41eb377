//! Other people's programs: run in the project, their output shown only when they fail.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Error;

/// A program, and how to come by it.
pub(super) struct Tool {
    program: PathBuf,
    /// What to do if it is not there.
    fix: &'static str,
    command: Command,
    input: &'static str,
}

impl Tool {
    pub(super) fn new(program: impl AsRef<Path>, fix: &'static str, directory: &Path) -> Self {
        let program = program.as_ref().to_owned();
        let mut command = Command::new(&program);
        command.current_dir(directory);
        Self { program, fix, command, input: "" }
    }

    pub(super) fn args(mut self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(words);
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What it reads.
    pub(super) fn input(mut self, text: &'static str) -> Self {
        self.input = text;
        self
    }

    /// Runs it to its end. `step` says what for.
    pub(super) fn run(mut self, step: &'static str) -> Result<Output, Error> {
        let missing = |source| Error::Tool { program: self.program.clone(), fix: self.fix, source };
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(missing)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends without reading has a better explanation than a broken pipe.
            let _ = stdin.write_all(self.input.as_bytes());
        }
        let output = child.wait_with_output().map_err(missing)?;
        if output.status.success() {
            return Ok(output);
        }
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        Err(Error::Step { step, program: self.program, output: String::from_utf8_lossy(&said).trim().to_owned() })
    }
}

/// The first of these programs that is on the PATH.
pub(super) fn first_of(names: impl IntoIterator<Item = String>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places: Vec<_> = std::env::split_paths(&path).collect();
    names.into_iter().find_map(|name| places.iter().map(|place| place.join(&name)).find(|program| program.is_file()))
}
