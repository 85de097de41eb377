//! Compiling in a process of its own.
//!
//! A component with an interpreter in it takes 5 to 15 s and 350 MiB to compile, and an allocator does not give the like back: a
//! process that ends does. It is started as `PROGRAM ARGUMENTS... IN OUT`, with IN and OUT in the cache's own directory, an empty
//! environment and a low priority; what it writes to OUT is believed as little as any other file there. It is killed when nobody
//! waits for it any more.

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
use crate::code::entry::{self, Key};
use crate::code::section::{SectionError, recognise};
use crate::code::signature;

/// Components from this size on: those without an interpreter in them have a tenth of it and are compiled faster than a process is
/// worth.
pub(crate) const LARGE: usize = 1 << 20;
/// Ten times what the largest takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Behind all that heals; 19 would be behind everything on the machine.
const NICENESS: i32 = 10;
/// Of what the process says, enough for an error with all its causes.
const SAID: u64 = 8 << 10;

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

/// A program that compiles components: started as `PROGRAM ARGUMENTS... IN OUT`, it does what [`compile_file`](compile_file)
/// does. Interpreters in a component take seconds and hundreds of MiB to compile, which a process that ends gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The program; heald's own image.
    pub program: PathBuf,
    /// Its arguments before the two paths.
    pub arguments: Vec<String>,
}

/// Compiles the component in one file to another: what a [`Compiler`] does. The other must not be there; only this user can
/// read it.
///
/// # Errors
/// When the one cannot be read or compiled, or the other not be written.
pub fn compile_file(input: &Path, output: &Path) -> Result<(), CompileError> {
    let component = std::fs::read(input).map_err(|source| CompileError::Read { path: input.to_owned(), source })?;
    recognise(&component)?;
    // The very engine that will run it: an equal one would do, but then it would have to stay equal.
    let engine = engine::start()?;
    let (content, _) = signature::split(&component);
    let code = engine.precompile_component(content).map_err(EngineError::Compile)?;
    let (digest, hash) = (signature::digest(&component), cache::hash(&engine));
    let file = entry::seal(Key { digest: &digest, engine: &hash }, &code);
    let mut options = OpenOptions::new();
    let written =
        options.write(true).create_new(true).mode(0o600).open(output).and_then(|mut out| out.write_all(&file));
    written.map_err(|source| CompileError::Write { path: output.to_owned(), source })
}

/// Why another process did not compile.
pub(crate) enum Elsewhere {
    /// It could not be tried: no program, no room. Here it may work.
    Untried(String),
    /// It was tried and failed.
    Failed(CompileError),
}

/// Has a component compiled into the cache. What lies there afterwards is for the cache to judge.
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

/// Gives way to everything that heals. Nothing depends on it.
fn step_back(child: &Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(Err(error)) = id.map(|id| rustix::process::setpriority_process(Some(id), NICENESS)) {
        tracing::debug!(%error, "the compiler runs with heald's own priority");
    }
}

/// What the process said if it failed; None: it did not.
async fn outcome(mut child: Child) -> io::Result<Option<String>> {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(SAID).read_to_end(&mut said).await?;
    }
    let status = child.wait().await?;
    if status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&said);
    Ok(Some(format!("{status}: {}", said.trim())))
}
