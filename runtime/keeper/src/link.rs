//! The keeper's end of the socket to the runtime: frames in, frames out, never waiting for either.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::protocol::{Decoder, MAX_FRAME, Message, ProtocolError, Request, encode};

/// What may wait for a runtime that does not read; past it, it counts as gone. Room for a whole hello and what follows.
const MAX_WAITING: usize = 2 * MAX_FRAME;

/// What a read takes at once.
const CHUNK: usize = 64 * 1024;

/// Why a link is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the runtime closed its end")]
    Closed,
    #[error("the runtime does not read")]
    Choked,
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One connection, for the life of one runtime.
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

    /// Sends, or keeps for later what the socket has no room for.
    pub(crate) fn send(&mut self, message: &Message) -> Result<(), Broken> {
        encode(message, &mut self.waiting)?;
        self.flush()
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&mut self) -> Result<(), Broken> {
        let mut sent = 0;
        while let Some(rest) = self.waiting.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(Broken::Closed),
                Err(error) => return Err(error.into()),
            }
        }
        self.waiting.drain(..sent);
        if self.waiting.len() > MAX_WAITING { Err(Broken::Choked) } else { Ok(()) }
    }

    /// Whether something waits for room.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes in what is there.
    pub(crate) fn receive(&mut self) -> Result<(), Broken> {
        match self.stream.read(&mut self.chunk) {
            Ok(0) => Err(Broken::Closed),
            Ok(count) => {
                self.decoder.push(self.chunk.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Broken::Closed),
            Err(error) => Err(error.into()),
        }
    }

    /// The next request taken in.
    pub(crate) fn next(&mut self) -> Result<Option<Request>, Broken> {
        Ok(self.decoder.decode()?)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
