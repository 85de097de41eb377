//! Waiting for many sources at once: a thin layer over epoll that names each source. It reads nothing itself.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{Timespec, epoll};

/// How many events are taken from the kernel at once. With a full turn of output from each, a round takes about a
/// millisecond.
const BATCH: usize = 32;

/// What is ready. The order is the order of service: exits before requests before output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PollSource {
    /// A signal for the keeper; an ended child sends one.
    Signals,
    /// An adopted process ended.
    Adopted(u32),
    /// The runtime's socket.
    Runtime,
    /// The output of a child.
    Output(u64),
}

impl PollSource {
    fn pack(self) -> u64 {
        match self {
            Self::Signals => 0,
            Self::Runtime => 1,
            Self::Adopted(pid) => 2 | u64::from(pid) << 2,
            Self::Output(id) => 3 | id << 2,
        }
    }

    fn unpack(packed: u64) -> Self {
        match packed & 3 {
            0 => Self::Signals,
            1 => Self::Runtime,
            2 => Self::Adopted(u32::try_from(packed >> 2).unwrap_or_default()),
            _ => Self::Output(packed >> 2),
        }
    }
}

/// The set of watched sources. A closed descriptor leaves it by itself.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches a descriptor for input or its end.
    pub(crate) fn watch(&self, fd: impl AsFd, source: PollSource) -> io::Result<()> {
        let data = epoll::EventData::new_u64(source.pack());
        Ok(epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)?)
    }

    /// Watches for room to write as well, or stops doing so.
    pub(crate) fn want_room(&self, fd: impl AsFd, source: PollSource, wanted: bool) -> io::Result<()> {
        let flags = if wanted { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(source.pack()), flags)?)
    }

    /// Stops watching a descriptor.
    pub(crate) fn forget(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// The ready sources in order of service; empty after the timeout.
    pub(crate) fn wait(&self, timeout_us: Option<u64>) -> io::Result<Vec<PollSource>> {
        let timeout = timeout_us.map(|us| Timespec {
            tv_sec: i64::try_from(us / 1_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(us % 1_000_000).unwrap_or(0) * 1000,
        });
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready: Vec<PollSource> = events.iter().map(|event| PollSource::unpack(event.data.u64())).collect();
        ready.sort_unstable();
        Ok(ready)
    }
}
