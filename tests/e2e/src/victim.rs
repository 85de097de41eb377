//! A process to be healed.
//!
//! `victim FILE [exit MILLIS CODE]` appends its process id and the monotonic time of its first instruction to FILE; then it
//! waits to be killed, or exits with a code after a while. It tells of a second copy: each line is one life.
#![allow(clippy::print_stderr)]

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

fn main() -> ExitCode {
    let began = clock_gettime(ClockId::Monotonic);
    let arguments: Vec<String> = std::env::args().collect();
    let Some(file) = arguments.get(1) else {
        eprintln!("usage: victim FILE [exit MILLIS CODE]");
        return ExitCode::FAILURE;
    };
    let line = format!("{} {}{:09}\n", std::process::id(), began.tv_sec, began.tv_nsec);
    let noted =
        std::fs::File::options().create(true).append(true).open(file).and_then(|mut f| f.write_all(line.as_bytes()));
    if let Err(error) = noted {
        eprintln!("{file}: {error}");
        return ExitCode::FAILURE;
    }
    if let (Some("exit"), Some(millis), Some(code)) =
        (arguments.get(2).map(String::as_str), arguments.get(3), arguments.get(4))
    {
        std::thread::sleep(Duration::from_millis(millis.parse().unwrap_or(0)));
        return ExitCode::from(code.parse::<u8>().unwrap_or(1));
    }
    loop {
        std::thread::park();
    }
}
