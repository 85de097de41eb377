//! A process that notes the monotonic time of its first instruction in a file, and waits to be killed.

use std::io::Write;

use rustix::time::{ClockId, clock_gettime};

fn main() {
    let began = clock_gettime(ClockId::Monotonic);
    let line = format!("{} {}{:09}\n", std::process::id(), began.tv_sec, began.tv_nsec);
    if let Some(file) = std::env::args().nth(1) {
        let noted = std::fs::File::options().create(true).append(true).open(file);
        let _ = noted.and_then(|mut file| file.write_all(line.as_bytes()));
    }
    loop {
        std::thread::park();
    }
}
