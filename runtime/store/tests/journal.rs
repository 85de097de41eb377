//! What is written is what is read: rows, projections, the stream, and what a restart needs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use heald_control::{History, IncidentQuery};
use heald_engine::learn::Catalog;
use heald_engine::ports::{Durability, Journal};
use heald_model::JournalError;
use heald_model::*;
use support::*;

fn all(limit: u32) -> IncidentQuery {
    IncidentQuery { limit, ..IncidentQuery::default() }
}

#[tokio::test]
async fn rows_come_back_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("heald.db"));
    let entries = history(20);
    let (first, second) = entries.split_at(60);
    store.write(first.to_vec());
    store.commit(second.to_vec(), Durability::Process).await.unwrap();
    assert_eq!(store.newest().await.unwrap(), entries.len() as u64);
    let rows = store.rows(0, 10_000).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.entry.clone()).collect::<Vec<_>>(), entries);
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), (1..=entries.len() as u64).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.node == "test" && row.mono > 0 && !row.boot.is_nil() && row.schema == 1));
    let after = store.rows(100, 3).await.unwrap();
    assert_eq!(after.iter().map(|row| row.seq).collect::<Vec<_>>(), [101, 102, 103]);
}

#[tokio::test]
async fn the_projections_are_the_models_own_fold() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    let entries = history(40);
    // Some in bursts, some alone, and once with a restart between.
    for chunk in entries[..200].chunks(7) {
        store.commit(chunk.to_vec(), Durability::Process).await.unwrap();
    }
    drop(store);
    let store = open(&path);
    for chunk in entries[200..].chunks(1) {
        store.write(chunk.to_vec());
    }
    store.commit(Vec::new(), Durability::Process).await.unwrap();

    let mut expected: Vec<Incident> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.incident.is_some()) {
        match expected.iter_mut().find(|incident| Some(incident.id) == entry.incident) {
            Some(incident) => incident.apply(entry),
            None => expected.push(Incident::open(entry).unwrap()),
        }
    }
    for incident in &expected {
        assert_eq!(store.incident(incident.id).await.unwrap().as_ref(), Some(incident));
    }
    expected.sort_by_key(|incident| (incident.opened, incident.id));
    let open: Vec<Incident> = expected.iter().filter(|incident| incident.is_open()).cloned().collect();
    assert_eq!(store.open_incidents().await.unwrap(), open);

    let mut listed = store.incidents(all(500)).await.unwrap();
    assert_eq!(listed.total, 40);
    listed.items.reverse();
    expected.sort_by_key(|incident| (incident.updated, incident.id));
    expected.iter_mut().for_each(|incident| incident.timeline.clear());
    assert_eq!(listed.items, expected);

    let mut catalog = Catalog::default();
    for attempt in expected.iter().flat_map(|incident| &incident.attempts) {
        catalog.absorb(attempt);
    }
    assert_eq!(store.learned().await.unwrap(), catalog);
    assert_eq!(store.catalog().await.unwrap(), catalog.all());
}

#[tokio::test]
async fn incidents_are_filtered_and_paged_the_last_active_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("heald.db"));
    for n in 0..10 {
        let service = if n % 2 == 0 { "web" } else { "db" };
        store.write(vec![opened(n, service, at(n))]);
        if n < 4 {
            store.write(vec![staged(n, service, at(100 + n), Stage::Resolved)]);
        }
    }
    store.commit(Vec::new(), Durability::Process).await.unwrap();
    let ids = |query: IncidentQuery| {
        let store = &store;
        async move {
            let page = store.incidents(query).await.unwrap();
            (page.items.iter().map(|i| (i.id.0.as_u128() & 0xff) as u64).collect::<Vec<_>>(), page.total)
        }
    };
    // The first four were resolved after the last had opened.
    assert_eq!(ids(all(3)).await, (vec![3, 2, 1], 10));
    assert_eq!(ids(IncidentQuery { offset: 8, ..all(3) }).await, (vec![5, 4], 10));
    assert_eq!(ids(IncidentQuery { service: Some("web".into()), ..all(9) }).await, (vec![2, 0, 8, 6, 4], 5));
    assert_eq!(ids(IncidentQuery { open: true, ..all(9) }).await, (vec![9, 8, 7, 6, 5, 4], 6));
    assert_eq!(ids(IncidentQuery { stage: Some(Stage::Resolved), ..all(9) }).await, (vec![3, 2, 1, 0], 4));
    let both = IncidentQuery { service: Some("web".into()), open: true, ..all(9) };
    assert_eq!(ids(both).await, (vec![8, 6, 4], 3));
}

/// It first opened before the others, and is the news all the same.
#[tokio::test]
async fn an_incident_that_came_back_is_listed_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("heald.db"));
    store.write(vec![opened(1, "web", at(1)), staged(1, "web", at(2), Stage::Resolved)]);
    store.write(vec![opened(2, "web", at(3)), staged(2, "web", at(4), Stage::Resolved)]);
    let Record::Opened { condition, concern, parent, .. } = opened(1, "web", at(5)).record else { panic!() };
    let again = Record::Opened { condition, concern, parent, reopened: 1 };
    store
        .commit(vec![Entry::of_incident(at(5), "web".into(), incident_id(1), again)], Durability::Process)
        .await
        .unwrap();
    let listed = store.incidents(IncidentQuery { service: Some("web".into()), ..all(9) }).await.unwrap().items;
    assert_eq!(listed.iter().map(|incident| incident.id).collect::<Vec<_>>(), [incident_id(1), incident_id(2)]);
    assert!(listed[0].is_open() && listed[0].reopened == 1);
}

#[tokio::test]
async fn a_restart_finds_what_the_engine_and_the_guard_need() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    let mut entries = vec![opened(1, "web", at(10))];
    entries.push(Entry::of_incident(
        at(11),
        "web".into(),
        incident_id(1),
        Record::Intended { intent: intent(1, "web", at(11), Some(incident_id(1))) },
    ));
    let exited =
        Record::ProcessExited { replica: "0".into(), incarnation: 1, pid: 42, status: Some(-9), wanted: false };
    entries.push(Entry::of_service(at(9), "web".into(), exited));
    entries.push(Entry::of_service(at(8), "db".into(), Record::Reset { by: "me".into() }));
    let wish = Record::DesiredChanged { desired: Desired::Stopped, by: "me".into() };
    entries.push(Entry::of_service(at(12), "db".into(), wish));
    let changed = Record::HealthChanged { from: Health::Healthy, to: Health::Unhealthy, why: None };
    entries.push(Entry::of_service(at(13), "web".into(), changed));
    entries.extend(attempt(2, "db", 20, 5, None, Outcome::Healed));
    store.commit(entries, Durability::Process).await.unwrap();
    store.commit([healed(7, "mq", 0), healed(8, "mq", 700)].concat(), Durability::Machine).await.unwrap();
    drop(store);

    let store = open(&path);
    let open = store.open_incidents().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].unsettled().map(|attempt| attempt.intent.id), Some(intent_id(1)));
    let lately = store.resolved_since(at(700)).await.unwrap();
    assert_eq!(lately.iter().map(|incident| incident.id).collect::<Vec<_>>(), [incident_id(8)]);
    assert_eq!((lately[0].timeline.len(), lately[0].attempts.len()), (9, 1));
    let mut attempts = store.attempts(None, 10, 0).await.unwrap().items;
    attempts.reverse();
    let ids: Vec<IntentId> = attempts.iter().map(|attempt| attempt.intent.id).collect();
    assert_eq!(ids, [7, 1, 2, 8].map(intent_id));
    assert_eq!(attempts[2].ending, Ending::Verified(Outcome::Healed));
    assert_eq!(attempts[2].took, Some(Duration::from_millis(5)));
    let kinds = |entries: Vec<Entry>| entries.iter().map(|e| e.record.kind()).collect::<Vec<_>>();
    let ledger = store.entries_since(at(9)).await.unwrap();
    assert_eq!(
        kinds(ledger),
        [
            "opened",
            "intended",
            "process-exited",
            "intended",
            "settled",
            "settled",
            "staged",
            "opened",
            "intended",
            "settled",
            "staged"
        ]
    );
    let outside = rusqlite::Connection::open(&path).unwrap();
    let newest = |column: &str| -> (String, i64) {
        let sql = format!("SELECT {column}, {column}_at FROM services WHERE {column} IS NOT NULL");
        outside.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    assert_eq!(newest("desired"), ("stopped".to_owned(), i64::try_from(at(12).nanos()).unwrap()));
    assert_eq!(newest("health"), ("unhealthy".to_owned(), i64::try_from(at(13).nanos()).unwrap()));
    let page = store.attempts(Some("db".into()), 10, 0).await.unwrap();
    assert_eq!((page.items.len(), page.total), (1, 1));
    assert_eq!(store.attempts(None, 1, 2).await.unwrap().items[0].intent.id, intent_id(1));
}

#[tokio::test]
async fn a_rebuild_gives_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    for chunk in history(400).chunks(13) {
        store.write(chunk.to_vec());
    }
    store.commit(Vec::new(), Durability::Process).await.unwrap();
    let before = projections(&path);
    assert!(before.len() > 4_000, "{}", before.len());
    let store = rebuilt(store, &path);
    assert_eq!(projections(&path), before);
    // And the writer goes on from it as if nothing had been.
    let more = vec![staged(2, "s2", at(999_999), Stage::Resolved)];
    store.commit(more, Durability::Process).await.unwrap();
    let after = projections(&path);
    drop(rebuilt(store, &path));
    assert_eq!(projections(&path), after);
    assert_ne!(after, before);
}

#[tokio::test]
async fn projections_of_another_fold_are_made_again_at_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    store.commit(history(20), Durability::Process).await.unwrap();
    drop(store);
    let right = projections(&path);
    for harm in ["UPDATE meta SET value = 0; DELETE FROM timeline", "UPDATE incidents SET body = '{}'"] {
        rusqlite::Connection::open(&path).unwrap().execute_batch(harm).unwrap();
        assert_ne!(projections(&path), right);
        drop(open(&path));
        assert_eq!(projections(&path), right, "{harm}");
    }
}

#[tokio::test]
async fn subscribers_hear_rows_in_order_once_they_are_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("heald.db"));
    let mut rows = store.subscribe();
    store.write(notes(0..5));
    store.commit(notes(5..8), Durability::Process).await.unwrap();
    for n in 0..8 {
        let row = rows.recv().await.unwrap();
        assert_eq!((row.seq, row.entry.clone()), (n + 1, note(n)));
    }
    assert!(rows.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_commits_share_transactions_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(open(&dir.path().join("heald.db")));
    let mut tasks = Vec::new();
    for lane in 0..8_u64 {
        let store = std::sync::Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for n in 0..50 {
                store.write(vec![note(lane * 1000 + 2 * n)]);
                store.commit(vec![note(lane * 1000 + 2 * n + 1)], Durability::Process).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let rows = store.rows(0, 10_000).await.unwrap();
    assert_eq!(rows.len(), 800);
    for lane in 0..8 {
        let range = at(lane * 1000)..at(lane * 1000 + 1000);
        let own: Vec<Moment> = rows.iter().map(|row| row.entry.at).filter(|at| range.contains(at)).collect();
        assert_eq!(own, (0..100).map(|n| at(lane * 1000 + n)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    store.write(notes(0..3));
    store.close();
    assert_eq!(store.commit(notes(3..4), Durability::Process).await, Err(JournalError::Closed));
    store.write(notes(4..5));
    drop(store);
    assert!(!dir.path().join("heald.db-wal").exists(), "an orderly end leaves no log");
    let store = open(&path);
    assert_eq!(store.newest().await.unwrap(), 3, "what was handed over before the end is there");
}

#[tokio::test]
async fn a_row_that_cannot_be_understood_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    store.commit(notes(0..3), Durability::Process).await.unwrap();
    let outside = rusqlite::Connection::open(&path).unwrap();
    outside.execute("UPDATE journal SET record = '{\"kind\":\"from-the-future\"}' WHERE seq = 2", []).unwrap();
    let rows = store.rows(0, 10).await.unwrap();
    assert_eq!(rows.len(), 3);
    assert!(matches!(&rows[1].entry.record, Record::Note { text } if text.contains("cannot be understood")));
    drop(rebuilt(store, &path));
}

/// 100 000 incidents: a list of 50 stays fast, and an append does not read them.
#[tokio::test]
async fn a_hundred_thousand_incidents_do_not_slow_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    let count = 100_000;
    for from in (0..count).step_by(1000) {
        let entries = (from..from + 1000).flat_map(|n| {
            let service = format!("s{}", n % 50);
            [opened(n, &service, at(n)), staged(n, &service, at(n + 1), Stage::Resolved)]
        });
        store.write(entries.collect());
    }
    store.commit(Vec::new(), Durability::Process).await.unwrap();
    let queries = [
        all(50),
        IncidentQuery { service: Some("s7".into()), ..all(50) },
        IncidentQuery { stage: Some(Stage::Resolved), ..all(50) },
        IncidentQuery { open: true, ..all(50) },
    ];
    for query in queries {
        let mut times = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            store.incidents(query.clone()).await.unwrap();
            times.push(begun.elapsed());
        }
        times.sort();
        assert!(times[2] < Duration::from_millis(100), "{query:?}: {times:?}");
    }
}

/// What a restore waits for before its effect. The bound is loose on purpose: it finds a sync on the path, not a busy
/// machine.
#[tokio::test]
async fn a_commit_waits_for_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("heald.db"));
    let mut times = Vec::new();
    for n in 0..300 {
        let begun = Instant::now();
        store.commit(healed(n, "web", n * 50), Durability::Process).await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort();
    assert!(times[150] < Duration::from_millis(5), "median {:?}, p99 {:?}", times[150], times[297]);
}
