//! What must hold of every scenario.
//!
//! | file | |
//! |---|---|
//! | `acts` | what is checked of each act: when it is put on record, and when it is done |
//! | `counts` | what the checks count by themselves, to judge what the guard's ledger makes of the same rows |
//! | `end` | what must hold when all is over |

mod acts;
mod counts;
mod end;

pub use acts::{performing, standing, written};
pub use counts::{Outage, Pace};
pub use end::{End, ended, tell};
