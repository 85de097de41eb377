//! HTTP targets that do as they are told, and count.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a stub does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Answers with this status code and an empty JSON object.
    Status(u16),
    /// Answers 200 with this body.
    Body(String),
    /// Answers 200 with the first body, and each time after so many requests with the second.
    EachNth(String, u64, String),
    /// Accepts and never answers.
    Hang,
}

/// An HTTP target on the loopback interface. Dropping it closes the port.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    hits: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Stub {
    /// A target on this port.
    pub fn on(port: u16, mode: Mode) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the stub's port is free");
        let address = listener.local_addr().unwrap();
        let (mode, hits, over) =
            (Arc::new(Mutex::new(mode)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let shared = (Arc::clone(&mode), Arc::clone(&hits), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let (mode, hits, over) = shared;
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (mode, hits, over) = (Arc::clone(&mode), Arc::clone(&hits), Arc::clone(&over));
                std::thread::spawn(move || answer(stream, &mode, &hits, &over));
            }
        });
        Self { address, mode, hits, over, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does from now on.
    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// How many requests reached it.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::SeqCst)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread, which then lets go of the port.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, mode: &Mutex<Mode>, hits: &AtomicU64, over: &AtomicBool) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    let hit = hits.fetch_add(1, Ordering::SeqCst) + 1;
    let mode = mode.lock().unwrap().clone();
    let (status, body) = match mode {
        Mode::Status(status) => (status, "{}".to_owned()),
        Mode::Body(body) => (200, body),
        Mode::EachNth(_, nth, other) if hit.is_multiple_of(nth) => (200, other),
        Mode::EachNth(body, ..) => (200, body),
        Mode::Hang => {
            // Until the other side gives up, or the stub is over.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            while !over.load(Ordering::SeqCst) {
                match stream.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error)
                        if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                    Err(_) => return,
                }
            }
            return;
        }
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
}
