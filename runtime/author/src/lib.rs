//! The commands for those who write plug-ins: `heald plugin new, build, test, bench, inspect, sign, verify` ([`plugin`]), and
//! `heald explain` and `heald replay`, which ask plug-ins again what the journal says they were asked ([`replay`]).
//!
//! Each command has its arguments and what it does in one file. None of them talks to a running heald.
#![forbid(unsafe_code)]

pub mod plugin;
pub mod replay;
