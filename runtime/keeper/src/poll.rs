//! Waiting for the first of many things: a thin skin over epoll that names what is waited for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{Timespec, epoll};

/// What is taken from the kernel at once. With a full turn of output from each, a round stays around a millisecond.
const BATCH: usize = 32;

/// What has something to say. The order is the order of service: ends before requests before output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// A signal for the keeper, an ended child included.
    Signals,
    /// An adopted process ended.
    Survivor(u32),
    /// The runtime's socket.
    Runtime,
    /// A child wrote something.
    Output(u64),
}

impl Source {
    fn pack(self) -> u64 {
        match self {
            Self::Signals => 0,
            Self::Runtime => 1,
            Self::Survivor(pid) => 2 | u64::from(pid) << 2,
            Self::Output(id) => 3 | id << 2,
        }
    }

    fn unpack(packed: u64) -> Self {
        match packed & 3 {
            0 => Self::Signals,
            1 => Self::Runtime,
            2 => Self::Survivor(u32::try_from(packed >> 2).unwrap_or_default()),
            _ => Self::Output(packed >> 2),
        }
    }
}

/// The set of things waited for. A descriptor that is closed leaves it by itself.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Waits for something to read (or an end) from now on.
    pub(crate) fn watch(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        let data = epoll::EventData::new_u64(source.pack());
        Ok(epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)?)
    }

    /// Waits for room to write as well, or no longer.
    pub(crate) fn want_room(&self, fd: impl AsFd, source: Source, wanted: bool) -> io::Result<()> {
        let flags = if wanted { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(source.pack()), flags)?)
    }

    /// Waits no longer.
    pub(crate) fn forget(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// What is ready, in order of service, or nothing after so many microseconds.
    pub(crate) fn wait(&self, timeout_us: Option<u64>) -> io::Result<Vec<Source>> {
        let timeout = timeout_us.map(|us| Timespec {
            tv_sec: i64::try_from(us / 1_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(us % 1_000_000).unwrap_or(0) * 1000,
        });
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready: Vec<Source> = events.iter().map(|event| Source::unpack(event.data.u64())).collect();
        ready.sort_unstable();
        Ok(ready)
    }
}
