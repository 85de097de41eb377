//! The runtime's end of the connection: the inherited socket and the facts that come with it.
//!
//! It needs no async runtime and reads nothing. The caller reads and writes frames with
//! [`encode`](crate::protocol::encode) and [`Decoder`](crate::protocol::Decoder).

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::kernel;

/// The environment variable with the number of the inherited socket. A process that has it is a runtime.
pub const FD_VARIABLE: &str = "HEALD_KEEPER_FD";

/// The environment variable with the keeper's PID.
pub const KEEPER_VARIABLE: &str = "HEALD_KEEPER_PID";

/// The environment variable that is `1` when the runtime is to run with native rules only.
pub const SAFE_MODE_VARIABLE: &str = "HEALD_SAFE_MODE";

/// Why a process cannot take the keeper's socket.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// The variables contradict the kernel.
    #[error("{FD_VARIABLE} or {KEEPER_VARIABLE} is wrong: {0}")]
    Inherited(&'static str),
    /// This process has taken the socket before.
    #[error("the keeper's socket was taken already")]
    Taken,
    /// The keeper that started this process has ended.
    #[error("the keeper is gone")]
    Orphaned,
    /// A system call failed.
    #[error("cannot take the keeper's socket")]
    Io(#[from] io::Error),
}

/// What a runtime inherits from its keeper.
#[derive(Debug)]
pub struct Inherited {
    /// The socket, close-on-exec and non-blocking. Its end of file means that the keeper has ended.
    pub stream: UnixStream,
    /// The keeper's PID.
    pub keeper: u32,
    /// True if only native rules may run.
    pub safe_mode: bool,
}

/// Whether a keeper started this process as a runtime.
pub fn is_runtime() -> bool {
    std::env::var_os(FD_VARIABLE).is_some()
}

/// Takes the socket that this process inherited, once; `None` if no keeper started it.
///
/// From then on the kernel kills this process when its keeper ends, so that port and locks are free for the next.
pub fn inherited() -> Result<Option<Inherited>, InheritError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let Some(number) = std::env::var_os(FD_VARIABLE) else { return Ok(None) };
    let number = number.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 2);
    let number = number.ok_or(InheritError::Inherited("no descriptor number"))?;
    let keeper = std::env::var(KEEPER_VARIABLE).ok().and_then(|text| text.parse().ok());
    let keeper: u32 = keeper.ok_or(InheritError::Inherited("no PID"))?;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(InheritError::Taken);
    }
    die_with(keeper)?;
    let stream = UnixStream::from(kernel::inherit(number)?);
    rustix::io::ioctl_fioclex(&stream).map_err(io::Error::from)?;
    stream.local_addr().map_err(|_| InheritError::Inherited("no Unix socket"))?;
    stream.set_nonblocking(true)?;
    let safe_mode = std::env::var_os(SAFE_MODE_VARIABLE).is_some_and(|value| value == "1");
    Ok(Some(Inherited { stream, keeper, safe_mode }))
}

/// Lets the kernel kill this process when its parent ends. A parent that has already ended sends nothing, so the parent
/// is checked afterwards.
fn die_with(keeper: u32) -> Result<(), InheritError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let parent = getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    if parent == Some(keeper) { Ok(()) } else { Err(InheritError::Orphaned) }
}
