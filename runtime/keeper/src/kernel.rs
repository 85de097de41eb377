//! System calls that neither std nor rustix offers in a safe form. Nothing here decides anything.
//!
//! JUSTIFICATION for unsafe code: the keeper needs signal handlers, a look at a zombie that leaves it a zombie, a signal
//! to a whole group that no recycled PID can misdirect, and descriptors that are inherited by number. Each is one system
//! call with plain integers or one buffer on this stack.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::pipe::PipeFlags;

/// `PIDFD_SIGNAL_PROCESS_GROUP` (Linux 6.9), which libc does not name yet.
const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;

/// The signals that the keeper handles: those of its children, and orders for itself or for the runtime.
const HANDLED: [libc::c_int; 5] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR2];

/// The descriptor that the handler writes to.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

/// Writes the number of the signal into the pipe. A full pipe already wakes the reader.
extern "C" fn on_signal(signal: libc::c_int) {
    let byte = u8::try_from(signal).unwrap_or(0);
    // SAFETY: write and the thread's errno are all a handler may touch; errno is left as it was.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(SIGNAL_PIPE.load(Ordering::Relaxed), std::ptr::from_ref(&byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Returns a pipe with the numbers of received signals, one byte each. Reading does not block.
///
/// It uses handlers and not a signalfd. A signalfd needs blocked signals, and spawned processes inherit the mask: either
/// every child would ignore TERM, or the mask would have to be open for a moment in which the keeper does not listen. A
/// handler ends with the exec. All other dispositions go back to the default, except PIPE, which std ignores and resets
/// in what it spawns. The mask is emptied, because the children would inherit the mask that the keeper inherited.
pub(crate) fn listen() -> io::Result<OwnedFd> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    SIGNAL_PIPE.store(writer.into_raw_fd(), Ordering::Relaxed);
    let heard = on_signal as extern "C" fn(libc::c_int);
    for signal in (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGPIPE].contains(signal)) {
        let handler = if HANDLED.contains(&signal) { heard as libc::sighandler_t } else { libc::SIG_DFL };
        // SAFETY: sigaction is plain old data for which all zeroes is a value; the handler does only what one may, and
        // the descriptor it writes to stays open for good. An invalid number is an error return of no consequence.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
    // SAFETY: a zeroed sigset_t on this stack, initialised before use.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
    Ok(reader)
}

/// The PID of a child that has ended and is not reaped. It stays a zombie, so its PID cannot be given to another
/// process.
pub(crate) fn peek_ended() -> Option<u32> {
    // SAFETY: siginfo_t is plain old data for which all zeroes is a value; waitid fills it and si_pid is set (to 0 when
    // nobody has ended) whenever it returns 0.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        match libc::waitid(libc::P_ALL, 0, &mut info, flags) {
            0 => u32::try_from(info.si_pid()).ok().filter(|pid| *pid != 0),
            _ => None,
        }
    }
}

/// Which processes a signal through a pidfd reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalTarget {
    /// The process itself.
    Leader,
    /// Every process of the group that it leads, even if the leader has ended and was reaped. The descriptor keeps the
    /// identity of the group, so a recycled number is never hit. `InvalidInput` before Linux 6.9.
    Group,
}

/// Sends `signal` through a pidfd; 0 only asks whether the target exists.
pub(crate) fn signal(leader: BorrowedFd<'_>, signal: i32, reach: SignalTarget) -> io::Result<()> {
    let flags = if reach == SignalTarget::Group { PIDFD_SIGNAL_PROCESS_GROUP } else { 0 };
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: integers and a null pointer, which the call documents as "no siginfo".
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, leader.as_raw_fd(), signal, info, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends `signal` to a process group by number. Only for a group whose leader is known to exist.
pub(crate) fn signal_group_number(group: i32, signal: i32) -> io::Result<()> {
    if group <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: integers only.
    let result = unsafe { libc::kill(-group, signal) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks every descriptor from 3 on as close-on-exec, so that no child inherits one.
pub(crate) fn close_on_exec_from_3() -> io::Result<()> {
    // SAFETY: integers only; no descriptor is closed, so no owner is surprised.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes ownership of a descriptor that was inherited by number, after asking the kernel whether it is open at all.
pub(crate) fn inherit(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_GETFD reads flags and fails on a descriptor that is not open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open; the caller makes sure that it is taken once (see client::inherited).
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
