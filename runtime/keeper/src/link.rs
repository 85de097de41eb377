//! The keeper's end of the socket to the runtime: it sends and receives frames without ever waiting.
//!
//! It knows frames and not their meaning.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::protocol::{Decoder, KeeperMessage, MAX_FRAME, ProtocolError, RuntimeRequest, encode};

/// How many bytes may wait for a runtime that does not read. Beyond that the link counts as broken. There is room for a
/// whole hello and what follows it.
const MAX_WAITING: usize = 2 * MAX_FRAME;

/// How many bytes one read takes.
const CHUNK: usize = 64 * 1024;

/// Why a link cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the runtime closed its end")]
    Closed,
    #[error("the runtime does not read")]
    Choked,
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One connection to one runtime.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    decoder: Decoder,
    waiting: Vec<u8>,
    chunk: Vec<u8>,
}

impl Link {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, decoder: Decoder::default(), waiting: Vec::new(), chunk: vec![0; CHUNK] })
    }

    /// Sends a message. What the socket has no room for is kept for later.
    pub(crate) fn send(&mut self, message: &KeeperMessage) -> Result<(), LinkError> {
        encode(message, &mut self.waiting)?;
        self.flush()
    }

    /// Sends what waits, as far as the socket has room.
    pub(crate) fn flush(&mut self) -> Result<(), LinkError> {
        let mut sent = 0;
        while let Some(rest) = self.waiting.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(LinkError::Closed),
                Err(error) => return Err(error.into()),
            }
        }
        self.waiting.drain(..sent);
        if self.waiting.len() > MAX_WAITING { Err(LinkError::Choked) } else { Ok(()) }
    }

    /// Whether something waits for room.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Reads what has arrived.
    pub(crate) fn receive(&mut self) -> Result<(), LinkError> {
        match self.stream.read(&mut self.chunk) {
            Ok(0) => Err(LinkError::Closed),
            Ok(count) => {
                self.decoder.push(self.chunk.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(LinkError::Closed),
            Err(error) => Err(error.into()),
        }
    }

    /// The next whole request.
    pub(crate) fn next(&mut self) -> Result<Option<RuntimeRequest>, LinkError> {
        Ok(self.decoder.decode()?)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
