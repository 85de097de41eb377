//! A client that shows the wire as it is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, lower-cased.
    pub headers: String,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text))
    }
}

/// GET.
pub fn get(address: SocketAddr, path: &str) -> Option<Answer> {
    request(address, "GET", path, None)
}

/// One request with a JSON body, or none. None: nobody answered within ten seconds.
pub fn request(address: SocketAddr, method: &str, path: &str, body: Option<&str>) -> Option<Answer> {
    let kind = if body.is_some() { "content-type: application/json\r\n" } else { "" };
    request_with(address, method, path, kind, body.unwrap_or(""))
}

/// One request with header lines of one's own (each ended by CRLF).
pub fn request_with(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Option<Answer> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let headers = head.to_ascii_lowercase();
    let body = if headers.contains("transfer-encoding: chunked") { dechunk(body) } else { body.to_owned() };
    Some(Answer { status, headers, text: body })
}

fn dechunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || tail.len() < size {
            break;
        }
        body.push_str(&tail[..size]);
        rest = tail[size..].trim_start_matches("\r\n");
    }
    body
}

/// Reads the event stream from after a sequence number until `enough`, or until it has been silent for a second: everything
/// that was on record when it was asked for is there by then.
pub fn events(address: SocketAddr, after: u64, enough: impl Fn(&Value) -> bool) -> Vec<Value> {
    const SILENCE: Duration = Duration::from_secs(1);
    let mut stream = TcpStream::connect(address).expect("heald listens");
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let ask = format!("GET /events?after={after} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut rows = Vec::new();
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { break };
        let Some(data) = line.strip_prefix("data:") else { continue };
        let row: Value = serde_json::from_str(data.trim()).unwrap_or_else(|error| panic!("{error}: {data}"));
        let last = enough(&row);
        rows.push(row);
        if last {
            break;
        }
    }
    rows
}
