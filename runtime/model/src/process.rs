//! The processes that heald runs, as they stand.

use crate::id::Replica;
use crate::time::Moment;

/// One supervised process as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessState {
    /// Which copy.
    pub replica: Replica,
    /// Which life of it, counted from 1.
    pub incarnation: u64,
    /// Its process id, while it runs.
    pub pid: Option<u32>,
    /// When this life began.
    pub started: Moment,
    /// When it ended, if it did.
    pub ended: Option<Moment>,
    /// It ended and is not to run again: a finished job, or `restart = "never"`.
    pub finished: bool,
}
