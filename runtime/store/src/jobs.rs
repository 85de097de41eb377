//! The messages between the store's threads.
//!
//! Plain data. This module runs no thread and decides nothing.

use heald_engine::ports::Durability;
use heald_model::JournalError;
use tokio::sync::oneshot;

use crate::calls::PackedCall;
use crate::retention::{Cutoffs, Trimmed};
use crate::row::StampedEntry;
use crate::tape::PackedChunk;

/// A message to the writer.
#[derive(Debug)]
pub(crate) enum WriterJob {
    Write(Vec<StampedEntry>),
    Commit {
        entries: Vec<StampedEntry>,
        durability: Durability,
        done: Reply<()>,
    },
    /// Write what the replay writer packed.
    WritePacked(Vec<Packed>),
    Trim {
        cutoffs: Cutoffs,
        done: Option<Reply<Trimmed>>,
    },
    /// The examination found damage.
    Suspect(String),
    Close,
}

/// Where the result of a job goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

/// A message to the maintenance thread.
#[derive(Debug)]
pub(crate) enum MaintenanceJob {
    Checkpoint,
    Examine,
    Close,
}

/// A call or a chunk for replay, packed and ready to be inserted.
#[derive(Debug)]
pub(crate) enum Packed {
    Call(PackedCall),
    Chunk(PackedChunk),
}

impl Packed {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Call(call) => call.len(),
            Self::Chunk(chunk) => chunk.len(),
        }
    }

    pub(crate) fn insert(&self, connection: &rusqlite::Connection) -> rusqlite::Result<()> {
        match self {
            Self::Call(call) => call.insert(connection),
            Self::Chunk(chunk) => chunk.insert(connection),
        }
    }
}
