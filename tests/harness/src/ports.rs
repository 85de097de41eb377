//! Ports for tests that run at the same time.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the kernel's range for outgoing connections, so that none of those takes a port before its test does.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// A port of the loopback interface that nobody uses, and that no other call in this process was given.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes start at different places, so that they seldom try the same.
    let start = (std::process::id() % 100) as u16 * 110;
    loop {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % (LAST - FIRST);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
