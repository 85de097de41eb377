//! Compiles large components in a process of its own.
//!
//! A component with an interpreter in it takes 5 to 15 s and 350 MiB to compile. An allocator keeps such memory; a
//! process that ends gives it back. The process is started as `PROGRAM ARGUMENTS... IN OUT`. IN and OUT lie in the
//! cache's own directory. The process has an empty environment and a low priority. heald checks OUT like every other
//! file of the cache. When nobody waits for the process any more, it is killed.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::code::cache::{self, Cache};
use crate::code::engine::{self, EngineError};
use crate::code::entry::{self, CodeKey};
use crate::code::section::{SectionError, recognise};
use crate::code::signature;

/// Components from this size on are compiled in another process. A component without an interpreter has a tenth of this
/// size, and compiles faster than a process starts.
pub(crate) const LARGE: usize = 1 << 20;
/// Ten times as long as the largest component takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Below everything that heals, and above the lowest priority of the machine, which is 19.
const NICENESS: i32 = 10;
/// Bytes of the process's error output that are kept: enough for an error with all its causes.
const ERROR_BYTES: u64 = 8 << 10;

/// Why a component was not compiled to a file, or not by another process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The component cannot be read.
    #[error("cannot read the component {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no component.
    #[error(transparent)]
    Section(#[from] SectionError),
    /// wasmtime does not start, or does not compile it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The machine code cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process that compiles large components failed.
    #[error("the component cannot be compiled; the process that does it said: {problem}")]
    Process {
        /// How it ended, and what it said.
        problem: String,
    },
}

/// A program that compiles components. Started as `PROGRAM ARGUMENTS... IN OUT`, it does what [`compile_file`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The program: heald's own image.
    pub program: PathBuf,
    /// Its arguments before the two paths.
    pub arguments: Vec<String>,
}

/// Compiles the component in `input` to the file `output`: what a [`Compiler`] does. `output` must not exist; only this
/// user can read it.
///
/// # Errors
/// When `input` cannot be read or compiled, or `output` cannot be written.
pub fn compile_file(input: &Path, output: &Path) -> Result<(), CompileError> {
    let component = std::fs::read(input).map_err(|source| CompileError::Read { path: input.to_owned(), source })?;
    recognise(&component)?;
    // The engine that will run the code: an engine with equal settings would do only as long as they stay equal.
    let engine = engine::start()?;
    let (content, _) = signature::split(&component);
    let code = engine.precompile_component(content).map_err(EngineError::Compile)?;
    let (digest, hash) = (signature::digest(&component), cache::hash(&engine));
    let file = entry::seal(CodeKey { digest: &digest, engine: &hash }, &code);
    let mut options = OpenOptions::new();
    let written =
        options.write(true).create_new(true).mode(0o600).open(output).and_then(|mut out| out.write_all(&file));
    written.map_err(|source| CompileError::Write { path: output.to_owned(), source })
}

/// Why another process did not compile.
pub(crate) enum Elsewhere {
    /// Another process could not be started, or had no room. This process may still compile the component.
    Untried(String),
    /// The process ran and failed.
    Failed(CompileError),
}

/// Has another process compile a component into the cache. The cache judges the result when it reads it.
pub(crate) async fn elsewhere(
    compiler: &Compiler,
    cache: &Cache,
    content: &[u8],
    digest: &str,
) -> Result<(), Elsewhere> {
    let untried = |error: io::Error| Elsewhere::Untried(error.to_string());
    let (input, output) = (cache.write("in", content).map_err(untried)?, cache.temporary("out"));
    let mut command = Command::new(&compiler.program);
    command.args(&compiler.arguments).arg(input.path()).arg(output.path());
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command
        .spawn()
        .map_err(|error| Elsewhere::Untried(format!("{} cannot be started: {error}", compiler.program.display())))?;
    step_back(&child);
    let failed = |problem| Elsewhere::Failed(CompileError::Process { problem });
    match tokio::time::timeout(PATIENCE, outcome(child)).await {
        Ok(Ok(None)) => output.adopt(digest).map_err(|error| failed(format!("it left nothing behind ({error})"))),
        Ok(Ok(Some(problem))) => Err(failed(problem)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("it was not done after {} s and was ended", PATIENCE.as_secs()))),
    }
}

/// Lowers the priority of the process. A failure does no harm.
fn step_back(child: &Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(Err(error)) = id.map(|id| rustix::process::setpriority_process(Some(id), NICENESS)) {
        tracing::debug!(%error, "the compiler runs with heald's own priority");
    }
}

/// What a failed process said; None: it did not fail.
async fn outcome(mut child: Child) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(ERROR_BYTES).read_to_end(&mut text).await?;
    }
    let status = child.wait().await?;
    if status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&text);
    Ok(Some(format!("{status}: {}", text.trim())))
}
