//! `GET /events`: the journal as server-sent events.
//!
//! The id of an event is the sequence number of its row, so a client that comes back with Last-Event-ID misses nothing
//! and sees nothing twice. Rows are read only when the client is ready for them, so a slow client costs no memory.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use heald_control::History;
use heald_model::JournalError;
use heald_model::Row;
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::failure::Failure;
use crate::request::QueryParams;
use crate::{Api, Phase};

/// A comment is sent after this much silence. Proxies cut silent connections after half a minute or more.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A browser reconnects this long after the connection breaks.
const RETRY: Duration = Duration::from_secs(1);
/// Rows read at a time while catching up.
const PORTION: u32 = 256;

/// Where the stream begins.
#[derive(Debug, Deserialize)]
pub(crate) struct EventStart {
    after: Option<u64>,
}

/// `GET /events`: the rows after Last-Event-ID or `?after=`, or from now on.
pub(crate) async fn stream(
    State(api): State<Api>,
    QueryParams(from): QueryParams<EventStart>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    // This comes before the newest row is looked up, so that no row is missed in between.
    let live = api.history.subscribe();
    let newest = api.history.newest().await?;
    let asked = match headers.get("last-event-id") {
        Some(id) => {
            let id = id.to_str().ok().and_then(|id| id.trim().parse().ok());
            Some(id.ok_or_else(|| Failure::bad("Last-Event-ID must be the id of an event, a whole number"))?)
        }
        None => from.after,
    };
    // An id beyond the newest row belongs to another journal, so the client gets all of this one.
    let after = asked.map_or(newest, |after| if after > newest { 0 } else { after });
    let tail =
        Tail { history: api.history, live, phase: api.phase, after, read: VecDeque::new(), behind: after < newest };
    let hello = futures_util::stream::iter([Ok(Event::default().retry(RETRY).comment("heald"))]);
    let events = unfold(tail, |mut tail| async move {
        let row = tail.next().await?;
        Some((Ok(event(&row)), tail))
    });
    let events = futures_util::StreamExt::chain(hello, events);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

fn event(row: &Row) -> Event {
    let event = Event::default().id(row.seq.to_string()).event(row.entry.record.kind());
    match event.clone().json_data(row) {
        Ok(event) => event,
        // Rows are plain data. Should one fail to serialise, the client still learns its number.
        Err(_) => event.data("{}"),
    }
}

/// The rows after a given row, without end.
struct Tail {
    history: Arc<dyn History>,
    live: Receiver<Arc<Row>>,
    phase: watch::Receiver<Phase>,
    /// The last row that was sent.
    after: u64,
    /// Rows that were read but not sent yet.
    read: VecDeque<Row>,
    /// The journal has rows that do not come over the channel.
    behind: bool,
}

impl Tail {
    /// The next row; `None` when heald ends or the journal cannot be read. The client then comes back and gets the
    /// error.
    async fn next(&mut self) -> Option<Arc<Row>> {
        loop {
            if let Some(row) = self.read.pop_front() {
                self.after = row.seq;
                return Some(Arc::new(row));
            }
            if self.behind {
                self.catch_up().await.ok()?;
                continue;
            }
            let row = tokio::select! {
                row = self.live.recv() => row,
                _ = self.phase.wait_for(|phase| *phase == Phase::Draining) => return None,
            };
            match row {
                Ok(row) if row.seq <= self.after => {}
                Ok(row) if row.seq == self.after + 1 => {
                    self.after = row.seq;
                    return Some(row);
                }
                Ok(_) | Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), JournalError> {
        self.read = self.history.rows(self.after, PORTION).await?.into();
        self.behind = !self.read.is_empty();
        Ok(())
    }
}
