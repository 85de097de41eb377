//! The event stream: server-sent events in, journal rows out. When the connection is lost it is taken up again behind the last
//! row that was seen, so nothing is missed and nothing comes twice.

use std::collections::VecDeque;
use std::time::Duration;

use heald_model::Row;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};

use super::http::{Client, RequestError};

/// The first pause before the connection is tried again, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// heald says something every 15 s; three times that without a word is a dead connection.
const DEAD: Duration = Duration::from_secs(45);
/// No event is longer.
const LONGEST: usize = 16 << 20;

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// A row, and its text as it came.
    Event(Box<Row>, String),
    /// The connection is lost.
    Lost(RequestError),
}

/// The stream, wherever it is.
pub(super) struct Events {
    body: Incoming,
    parser: Parser,
    ready: VecDeque<SseMessage>,
    last: Option<u64>,
    client: Client,
}

impl Events {
    pub(super) async fn open(client: &Client, after: Option<u64>) -> Result<Self, RequestError> {
        let body = connect(client, after).await?;
        let (parser, ready) = (Parser::default(), VecDeque::new());
        Ok(Self { body, parser, ready, last: after, client: client.clone() })
    }

    pub(super) async fn next(&mut self) -> Next {
        loop {
            while let Some(message) = self.ready.pop_front() {
                // What this heald does not know (a later one's record) is passed over, and its number kept.
                self.last = message.id.or(self.last);
                if let Ok(row) = serde_json::from_str::<Row>(&message.data) {
                    return Next::Event(Box::new(row), message.data);
                }
            }
            let lost = |why: &str| RequestError::Broken { url: self.client.url().to_owned(), why: why.to_owned() };
            let frame = match tokio::time::timeout(DEAD, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Next::Lost(self.client.broken(&error)),
                Ok(None) => return Next::Lost(lost("heald has ended it")),
                Err(_) => return Next::Lost(lost("nothing was heard")),
            };
            let Some(data) = frame.data_ref() else { continue };
            self.ready.extend(self.parser.take(data));
            if self.parser.held() > LONGEST {
                return Next::Lost(lost("an event without end"));
            }
        }
    }

    /// Tries until it works.
    pub(super) async fn reopen(&mut self, client: &Client) {
        let mut pause = PAUSE.0;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
            // A stream that began with "from now on" and saw nothing yet goes on from now on.
            if let Ok(body) = connect(client, self.last).await {
                self.body = body;
                self.parser = Parser::default();
                return;
            }
        }
    }
}

async fn connect(client: &Client, after: Option<u64>) -> Result<Incoming, RequestError> {
    let header = after.map(|after| (HeaderName::from_static("last-event-id"), HeaderValue::from(after)));
    let response = client.open("/events", header.as_slice()).await?;
    Ok(response.into_body())
}

/// One event as it came.
#[derive(Debug, Default, PartialEq, Eq)]
struct SseMessage {
    id: Option<u64>,
    data: String,
}

/// Bytes to events, as the HTML standard's "Server-sent events" reads them (but for a lone CR as a line's end).
#[derive(Debug, Default)]
struct Parser {
    bytes: Vec<u8>,
    message: SseMessage,
}

impl Parser {
    fn take(&mut self, bytes: &[u8]) -> Vec<SseMessage> {
        self.bytes.extend_from_slice(bytes);
        let mut done = Vec::new();
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let message = std::mem::take(&mut self.message);
                if !message.data.is_empty() {
                    done.push(message);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => {
                    if !self.message.data.is_empty() {
                        self.message.data.push('\n');
                    }
                    self.message.data.push_str(value);
                }
                "id" => self.message.id = value.parse().ok(),
                _ => {}
            }
        }
        done
    }

    fn held(&self) -> usize {
        self.bytes.len() + self.message.data.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_bytes_come() {
        let text = "retry: 1000\n: heald\n\nid: 7\nevent: note\ndata: {\"a\":\ndata: \"ä\"}\n\n: \n\nid:8\r\ndata:x\r\n\r\nid: 9\ndata: half";
        let expected =
            [SseMessage { id: Some(7), data: "{\"a\":\n\"ä\"}".into() }, SseMessage { id: Some(8), data: "x".into() }];
        for size in [1, 2, 3, 7, 1_000] {
            let mut parser = Parser::default();
            let messages: Vec<_> = text.as_bytes().chunks(size).flat_map(|chunk| parser.take(chunk)).collect();
            assert_eq!(messages, expected, "in pieces of {size}");
        }
    }
}
