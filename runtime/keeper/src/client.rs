//! The runtime's half of the connection, without a runtime of its own: the socket and the facts that come with it. Whoever
//! takes it brings the waiting (the supervisor wraps the stream for tokio) and uses [`encode`](crate::protocol::encode) and
//! [`Decoder`](crate::protocol::Decoder).

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::kernel;

/// The environment variable that names the inherited socket: its presence says "you are the runtime".
pub const FD_VARIABLE: &str = "HEALD_KEEPER_FD";

/// The environment variable with the keeper's PID.
pub const KEEPER_VARIABLE: &str = "HEALD_KEEPER_PID";

/// The environment variable that is `1` when the runtime is to run with native rules only.
pub const SAFE_MODE_VARIABLE: &str = "HEALD_SAFE_MODE";

/// Why a process is no runtime under a keeper.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The variables contradict what the kernel says.
    #[error("{FD_VARIABLE} or {KEEPER_VARIABLE} is wrong: {0}")]
    Inherited(&'static str),
    /// The keeper's socket has been taken before in this process.
    #[error("the keeper's socket was taken already")]
    Taken,
    /// The keeper that started this process is gone.
    #[error("the keeper is gone")]
    Orphaned,
    /// A system call failed.
    #[error("cannot take the keeper's socket")]
    Io(#[from] io::Error),
}

/// What a runtime gets from its keeper.
#[derive(Debug)]
pub struct Inherited {
    /// The socket, close-on-exec and non-blocking. Its end of file means the keeper is gone.
    pub stream: UnixStream,
    /// The keeper's PID.
    pub keeper: u32,
    /// Native rules only.
    pub safe_mode: bool,
}

/// Whether this process was started as a runtime by a keeper.
pub fn is_runtime() -> bool {
    std::env::var_os(FD_VARIABLE).is_some()
}

/// Takes the socket this process was started with, once; `None` if no keeper started it.
///
/// From then on this process dies with its keeper, at once and whatever it is doing, so that port and locks are free for
/// the next.
pub fn inherited() -> Result<Option<Inherited>, ClientError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let Some(number) = std::env::var_os(FD_VARIABLE) else { return Ok(None) };
    let number = number.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 2);
    let number = number.ok_or(ClientError::Inherited("no descriptor number"))?;
    let keeper = std::env::var(KEEPER_VARIABLE).ok().and_then(|text| text.parse().ok());
    let keeper: u32 = keeper.ok_or(ClientError::Inherited("no PID"))?;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(ClientError::Taken);
    }
    die_with(keeper)?;
    let stream = UnixStream::from(kernel::inherit(number)?);
    rustix::io::ioctl_fioclex(&stream).map_err(io::Error::from)?;
    stream.local_addr().map_err(|_| ClientError::Inherited("no Unix socket"))?;
    stream.set_nonblocking(true)?;
    let safe_mode = std::env::var_os(SAFE_MODE_VARIABLE).is_some_and(|value| value == "1");
    Ok(Some(Inherited { stream, keeper, safe_mode }))
}

/// Has the kernel kill this process when its parent goes. A parent that is gone by now sends nothing: so look afterwards.
fn die_with(keeper: u32) -> Result<(), ClientError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let parent = getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    if parent == Some(keeper) { Ok(()) } else { Err(ClientError::Orphaned) }
}
