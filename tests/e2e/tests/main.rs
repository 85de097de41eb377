//! heald, end to end.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, unreachable_pub)]

mod author;
mod bad_input;
mod command_line;
mod crash;
mod damaged_files;
mod halt;
mod health_api;
mod house;
mod illness;
mod operator_words;
mod ordinary_day;
mod own_death;
mod plugin_commands;
mod plugin_faults;
mod plugin_life;
mod readme;
mod replay;
mod safe_mode;
mod setup;
mod silent_keeper;
mod survivors;
