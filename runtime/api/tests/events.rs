//! The event stream: complete, without doubles, resumable, and never in the way of an orderly end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]

mod support;

use std::time::Duration;

use axum::http::Method;
use heald_api::Phase;
use heald_model::{Entry, PluginRef, Record, Row, Source};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use support::*;

/// A client of the stream.
struct Listener {
    body: Incoming,
    text: String,
}

impl Listener {
    async fn new(face: &Face, path: &str, headers: &[(&str, &str)]) -> Self {
        let response = face.send(Method::GET, path, "", headers).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut listener = Self { body: response.into_body(), text: String::new() };
        // The first block says how soon to come back: the stream is open.
        let hello = listener.block().await.unwrap();
        assert!(hello.contains("retry: 1000") || hello.contains("retry:1000"), "{hello}");
        listener
    }

    /// The next block; None at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await.expect("silence")?;
            self.text += std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap();
        }
    }

    /// The numbers of the next events.
    async fn ids(&mut self, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        while ids.len() < count {
            let block = self.block().await.expect("the stream has ended");
            let field = |name: &str| {
                block.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_start().to_owned())
            };
            let Some(id) = field("id:") else { continue };
            assert_eq!(field("event:").as_deref(), Some("note"));
            let row: Row = serde_json::from_str(&field("data:").unwrap()).unwrap();
            assert_eq!(row.seq.to_string(), id);
            ids.push(row.seq);
        }
        ids
    }
}

#[tokio::test]
async fn a_new_client_hears_what_happens_from_now_on() {
    let face = face().await;
    for n in 0..5 {
        face.heald.append(&format!("before {n}"));
    }
    let mut listener = Listener::new(&face, "/events", &[]).await;
    face.heald.append("after");
    face.heald.append("after");
    assert_eq!(listener.ids(2).await, [6, 7]);
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing_and_hears_nothing_twice() {
    let face = face().await;
    for n in 0..700 {
        face.heald.append(&n.to_string());
    }
    let mut listener = Listener::new(&face, "/events", &[("last-event-id", "100")]).await;
    let live = async {
        for n in 0..300 {
            face.heald.append(&n.to_string());
            tokio::task::yield_now().await;
        }
    };
    let (ids, ()) = tokio::join!(listener.ids(900), live);
    assert_eq!(ids, (101..=1000).collect::<Vec<_>>());
    let mut again = Listener::new(&face, "/events?after=998", &[]).await;
    assert_eq!(again.ids(2).await, [999, 1000]);
    let mut both = Listener::new(&face, "/events?after=1", &[("last-event-id", "999")]).await;
    assert_eq!(both.ids(1).await, [1000], "where it was when it broke off comes first");
}

#[tokio::test]
async fn a_slow_client_reads_what_it_missed_from_the_journal() {
    let face = face().await;
    let mut listener = Listener::new(&face, "/events?after=0", &[]).await;
    face.heald.append("heard");
    assert_eq!(listener.ids(1).await, [1]);
    // More than the channel of eight holds, in one go.
    for n in 0..200 {
        face.heald.append(&n.to_string());
    }
    assert_eq!(listener.ids(200).await, (2..=201).collect::<Vec<_>>());
    face.heald.append("live again");
    assert_eq!(listener.ids(1).await, [202]);
}

#[tokio::test]
async fn a_gap_in_the_journal_is_no_gap_in_the_stream() {
    let face = face().await;
    for n in 0..10 {
        face.heald.append(&n.to_string());
    }
    // Retention has deleted some.
    face.heald.journal.lock().unwrap().retain(|row| row.seq > 6 || row.seq == 2);
    let mut listener = Listener::new(&face, "/events?after=0", &[]).await;
    assert_eq!(listener.ids(5).await, [2, 7, 8, 9, 10]);
}

#[tokio::test]
async fn an_id_of_a_journal_that_is_no_more_starts_over() {
    let face = face().await;
    face.heald.append("one");
    let mut listener = Listener::new(&face, "/events", &[("last-event-id", "5000")]).await;
    face.heald.append("two");
    assert_eq!(listener.ids(2).await, [1, 2]);
    let refused = face.ask(Method::GET, "/events", "", &[("last-event-id", "five")]).await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn open_streams_end_when_heald_drains() {
    let mut face = face().await;
    let mut listener = Listener::new(&face, "/events", &[]).await;
    face.phase.send(Phase::Draining).unwrap();
    assert_eq!(listener.block().await, None);
    face.end.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(3), &mut face.served).await.expect("not within grace").unwrap().unwrap();
}

#[tokio::test]
async fn what_plugins_would_have_done_and_where_they_go_is_told_by_name() {
    let face = face().await;
    let mut listener = Listener::new(&face, "/events?after=0", &[]).await;
    let plugin = PluginRef { name: "rules".into(), version: "0.2.0".into(), digest: "ab".repeat(32) };
    let shadowed = Record::Shadowed {
        plugin: plugin.clone(),
        would: "restart".into(),
        did: "nothing".into(),
        by: Source::Native,
        agrees: false,
    };
    let moved = Record::PluginMoved { plugin, to: "promoted".into(), by: "ann".into(), why: "it agreed".into() };
    face.heald.record(|at| Entry::of_service(at, "writer".into(), shadowed.clone()));
    face.heald.record(|at| Entry::of_heald(at, moved.clone()));
    for (id, kind, record) in [(1, "shadowed", shadowed), (2, "plugin-moved", moved)] {
        let block = listener.block().await.unwrap();
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_start();
        assert_eq!((field("id:"), field("event:")), (id.to_string().as_str(), kind));
        let row: Row = serde_json::from_str(field("data:")).unwrap();
        assert_eq!(row.entry.record, record);
        let shown: serde_json::Value = serde_json::from_str(field("data:")).unwrap();
        assert_eq!((&shown["record"]["kind"], &shown["record"]["plugin"]["name"]), (&kind.into(), &"rules".into()));
    }
}
