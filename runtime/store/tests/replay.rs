//! What is kept for replay comes back to the bit, or it is said that it does not; and nothing waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use heald_engine::ports::{Durability, Journal};
use heald_model::*;
use heald_model::{CallQuery, PluginCall, Recording, TapeEntry};
use heald_store::{Archive, NodeIdentity, Store, StoreConfig, StoreError};
use rusqlite::Connection;
use support::kept::*;
use support::*;

fn every(limit: u32) -> CallQuery {
    CallQuery { limit, ..CallQuery::default() }
}

fn keep_call(store: &Store, call: &PluginCall) {
    store.keep(Recording::Call(Box::new(call.clone())));
}

fn keep_looks(store: &Store, looks: &[TapeEntry]) {
    looks.iter().for_each(|look| store.keep(Recording::Tape(Box::new(look.clone()))));
}

#[tokio::test]
async fn calls_come_back_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("heald.db"));
    let calls: Vec<PluginCall> =
        (0..300).map(|n| if n % 3 == 0 { detector_call(n) } else { policy_call(n, "rules", Some(n % 4)) }).collect();
    calls.iter().for_each(|call| keep_call(&store, call));
    store.flush().await.unwrap();
    let read = store.calls(every(1_000)).await.unwrap();
    assert!(read.unreadable.is_empty());
    let read: Vec<PluginCall> = read.calls.into_iter().map(|numbered| numbered.call).collect();
    assert_eq!(bits(&read), bits(&calls));
    assert_eq!(store.dropped(), 0);
}

#[tokio::test]
async fn calls_are_asked_for_by_what_they_are_about() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("heald.db"));
    for n in 0..100 {
        keep_call(&store, &policy_call(n, if n % 2 == 0 { "rules" } else { "careful" }, Some(n % 4)));
    }
    store.flush().await.unwrap();
    let count = async |query: CallQuery| store.calls(query).await.unwrap().calls.len();
    assert_eq!(count(CallQuery { plugin: Some("rules".into()), ..every(1_000) }).await, 50);
    assert_eq!(count(CallQuery { incident: Some(incident_id(1)), ..every(1_000) }).await, 25);
    assert_eq!(count(CallQuery { since: Some(at(90)), ..every(1_000) }).await, 10);
    assert_eq!(count(CallQuery { service: Some("db".into()), ..every(1_000) }).await, 0);
    let newest = store.calls(CallQuery { newest: true, ..every(3) }).await.unwrap();
    assert_eq!(newest.calls.iter().map(|numbered| numbered.seq).collect::<Vec<_>>(), [100, 99, 98]);
    let rules = || CallQuery { plugin: Some("rules".into()), incident: Some(incident_id(2)), ..every(10) };
    let first = store.calls(rules()).await.unwrap();
    assert_eq!(first.calls.len(), 10);
    let rest = store.calls(CallQuery { after: first.next().unwrap(), limit: 100, ..rules() }).await.unwrap();
    assert_eq!(rest.calls.len(), 15);
    assert!(rest.calls.iter().all(|numbered| numbered.seq > first.next().unwrap()));
}

#[tokio::test]
async fn a_tape_comes_back_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    // Past one chunk, over two checkpoints, among those of another service.
    let mut web = looks("web", 0, 900);
    web.extend(looks("web", 900, 250));
    let db = looks("db", 0, 40);
    for (n, look) in web.iter().enumerate() {
        keep_looks(&store, std::slice::from_ref(look));
        keep_looks(&store, &db[n.min(db.len())..(n + 1).min(db.len())]);
        if n % 200 == 0 {
            store.flush().await.unwrap();
        }
    }
    store.flush().await.unwrap();
    let (read, gaps) = tape(&store, "web", Moment::EPOCH).await;
    assert_eq!(gaps, Vec::<String>::new());
    assert_eq!(bits(&read), bits(&web));
    assert_eq!(bits(&tape(&store, "db", Moment::EPOCH).await.0), bits(&db));
    assert_eq!(store.taped().await.unwrap(), [ServiceName::from("db"), "web".into()]);

    // From the middle it begins at the checkpoint before.
    let (late, _) = tape(&store, "web", at(1_000_000)).await;
    assert_eq!(bits(&late), bits(&web[900..].to_vec()));

    // What was not yet a chunk when heald ended is there as well, and the next life goes on.
    keep_looks(&store, &looks("web", 2_000, 5));
    drop(store);
    let store = open(&path);
    keep_looks(&store, &looks("web", 3_000, 5));
    store.flush().await.unwrap();
    let (read, gaps) = tape(&store, "web", Moment::EPOCH).await;
    assert_eq!((read.len(), gaps.len()), (web.len() + 10, 0));
}

#[tokio::test]
async fn a_gap_is_not_stepped_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    let all: Vec<TapeEntry> = (0..4).flat_map(|n| looks("web", n * 100, 100)).collect();
    for ten in all.chunks(10) {
        keep_looks(&store, ten);
        store.flush().await.unwrap();
    }
    drop(store);
    let outside = Connection::open(&path).unwrap();
    // A piece in the middle of the second hundred is gone; the beginning of the last cannot be read.
    assert_eq!(outside.execute("DELETE FROM tape WHERE begins = 131", []).unwrap(), 1);
    assert_eq!(outside.execute("UPDATE tape SET chunk = x'01ff' WHERE begins = 301", []).unwrap(), 1);
    drop(outside);
    let store = open(&path);
    let (read, gaps) = tape(&store, "web", Moment::EPOCH).await;
    let expected: Vec<TapeEntry> = all[..130].iter().chain(&all[200..300]).cloned().collect();
    assert_eq!(bits(&read), bits(&expected));
    assert!(
        gaps[0].contains("are missing") && gaps.iter().any(|gap| gap.contains("cannot be read: it is damaged")),
        "{gaps:?}"
    );
}

#[tokio::test]
async fn a_call_that_cannot_be_read_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    (0..5).for_each(|n| keep_call(&store, &policy_call(n, "rules", None)));
    store.flush().await.unwrap();
    let outside = Connection::open(&path).unwrap();
    outside.execute("UPDATE calls SET input = substr(input, 1, 40) WHERE seq = 2", []).unwrap();
    outside.execute("UPDATE calls SET output = x'07' WHERE seq = 5", []).unwrap();
    let read = store.calls(every(100)).await.unwrap();
    assert_eq!(read.calls.iter().map(|numbered| numbered.seq).collect::<Vec<_>>(), [1, 3, 4]);
    let said: Vec<(u64, &str)> = read.unreadable.iter().map(|call| (call.seq, call.why.as_str())).collect();
    assert!(said[0].0 == 2 && said[0].1.contains("damaged"), "{said:?}");
    assert!(said[1].0 == 5 && said[1].1.contains("a newer heald wrote it"), "{said:?}");
    assert_eq!(read.next(), Some(5));
}

#[tokio::test]
async fn an_archive_reads_beside_a_running_heald_and_in_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    store.write(healed(1, "web", 0));
    (0..20).for_each(|n| keep_call(&store, &policy_call(n, "rules", Some(1))));
    keep_looks(&store, &looks("web", 0, 30));
    store.flush().await.unwrap();
    let check = |archive: &Archive| {
        assert_eq!(archive.calls(&every(100)).unwrap().calls.len(), 20);
        assert_eq!(archive.taped().unwrap(), [ServiceName::from("web")]);
        let looks: usize = archive.looks("web".into(), Moment::EPOCH).unwrap().map(|s| s.unwrap().looks.len()).sum();
        assert_eq!(looks, 30);
        let id = incident_id(1);
        assert_eq!(archive.incidents(&id.to_string()[..30], 5).unwrap(), [id]);
        assert_eq!(archive.incidents("ffff", 5).unwrap(), []);
        assert_eq!(archive.incident(id).unwrap().unwrap().stage, Stage::Resolved);
        let settings = archive.calls(&every(1)).unwrap().calls.remove(0).call.settings;
        assert_eq!(archive.settings(&settings.digest).unwrap(), Some(settings));
    };
    let beside = Archive::open(&path).unwrap();
    check(&beside);
    // What heald writes meanwhile is seen by the next look.
    keep_call(&store, &policy_call(99, "rules", None));
    store.flush().await.unwrap();
    assert_eq!(beside.calls(&every(100)).unwrap().calls.len(), 21);
    drop((beside, store));

    Connection::open(&path).unwrap().execute("DELETE FROM calls WHERE at = ?", [at(99).nanos()]).unwrap();
    let shelf = dir.path().join("a shelf?");
    std::fs::create_dir(&shelf).unwrap();
    let copy = shelf.join("copy of it.db");
    std::fs::copy(&path, &copy).unwrap();
    check(&Archive::open(&copy).unwrap());
    // Where nothing may be put beside it. (Root may anyway, and then it is as before.)
    std::fs::set_permissions(&shelf, std::fs::Permissions::from_mode(0o500)).unwrap();
    check(&Archive::open(&copy).unwrap());
    std::fs::set_permissions(&shelf, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn an_archive_that_is_none_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    assert!(matches!(Archive::open(path("none.db")), Err(StoreError::Io { .. })));
    assert!(!path("none.db").exists(), "nothing is made where nothing is");
    Connection::open(path("other.db")).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    assert!(matches!(Archive::open(path("other.db")), Err(StoreError::Foreign { .. })));
    std::fs::write(path("text.db"), "this is no database, and long enough to be told apart from an empty file")
        .unwrap();
    assert!(matches!(Archive::open(path("text.db")), Err(StoreError::Database { .. })));
    drop(open(&path("heald.db")));
    let version =
        |version: i64| Connection::open(path("heald.db")).unwrap().pragma_update(None, "user_version", version);
    version(99).unwrap();
    assert!(matches!(Archive::open(path("heald.db")), Err(StoreError::Newer { found: 99, .. })));
    version(1).unwrap();
    let said = Archive::open(path("heald.db")).unwrap_err().to_string();
    assert!(said.contains("let this heald run on it once"), "{said}");
}

#[tokio::test]
async fn a_database_of_before_gets_its_tables() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../src/migrations/0001_journal.sql")).unwrap();
    old.pragma_update(None, "application_id", 0x6865_616c).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let store = open(&path);
    keep_call(&store, &policy_call(1, "rules", None));
    store.flush().await.unwrap();
    assert_eq!(store.calls(every(10)).await.unwrap().calls.len(), 1);
}

#[tokio::test]
async fn what_is_old_goes_and_so_do_settings_that_nobody_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    // Even numbers have one configuration, odd ones the other; only even ones are young.
    (0..200)
        .map(|n| if n < 120 { n } else { n - n % 2 })
        .for_each(|n| keep_call(&store, &policy_call(n, "rules", None)));
    for n in 0..3 {
        keep_looks(&store, &looks("web", n * 100, 100));
    }
    store.flush().await.unwrap();
    let trimmed = store.trim(at(150)).await.unwrap();
    assert_eq!((trimmed.calls, trimmed.chunks), (150, 0));
    assert_eq!(store.calls(every(1_000)).await.unwrap().calls.len(), 50);
    let settings = || -> u32 {
        Connection::open(&path).unwrap().query_row("SELECT count(*) FROM settings", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(settings(), 1);
    let trimmed = store.trim(at(200_000)).await.unwrap();
    assert_eq!((trimmed.calls, trimmed.chunks), (50, 2));
    let (read, gaps) = tape(&store, "web", Moment::EPOCH).await;
    assert_eq!((read.len(), gaps.len()), (100, 0));
    assert_eq!(settings(), 0);
}

#[tokio::test]
async fn nothing_is_kept_that_is_not_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let config = StoreConfig { tape: Duration::ZERO, calls: Duration::ZERO, ..StoreConfig::at(&path) };
    let store = Store::open(&config, NodeIdentity::alone("test")).unwrap().store;
    keep_call(&store, &policy_call(1, "rules", None));
    keep_looks(&store, &looks("web", 0, 10));
    store.flush().await.unwrap();
    assert!(store.calls(every(10)).await.unwrap().calls.is_empty());
    assert!(store.taped().await.unwrap().is_empty());
    assert_eq!(store.dropped(), 0, "that is no loss");
}

#[tokio::test]
async fn a_flood_is_dropped_and_no_entry_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    let call = policy_call(1, "rules", None);
    let looks = looks("web", 0, 20_000);
    let mut entries = 0;
    for (n, look) in looks.iter().enumerate() {
        keep_call(&store, &call);
        keep_looks(&store, std::slice::from_ref(look));
        if n % 100 == 0 {
            store.write(vec![note(n as u64)]);
            entries += 1;
        }
    }
    store.commit(Vec::new(), Durability::Process).await.unwrap();
    assert_eq!(heald_control::History::newest(&store).await.unwrap(), entries, "every entry is there");
    assert!(store.dropped() > 1_000, "{}", store.dropped());
    store.flush().await.unwrap();
    // What is on tape has no gap: it ends where the first look was lost.
    let (read, _) = tape(&store, "web", Moment::EPOCH).await;
    assert!(!read.is_empty() && read.len() < looks.len());
    assert_eq!(bits(&read), bits(&looks[..read.len()].to_vec()));
    // And it goes on at the next checkpoint.
    keep_looks(&store, &support::kept::looks("web", 90_000, 10));
    store.flush().await.unwrap();
    let (more, gaps) = tape(&store, "web", Moment::EPOCH).await;
    assert_eq!((more.len(), gaps.len()), (read.len() + 10, 1));
}

#[tokio::test]
async fn while_the_database_refuses_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    let outside = Connection::open(&path).unwrap();
    outside.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.commit(vec![note(1)], Durability::Process).await.unwrap_err();
    (0..10).for_each(|n| keep_call(&store, &policy_call(n, "rules", None)));
    assert_eq!(store.dropped(), 10);
    outside.execute_batch("ROLLBACK").unwrap();
    eventually("it can be written again", || store.degraded().is_none());
    keep_call(&store, &policy_call(11, "rules", None));
    store.flush().await.unwrap();
    assert_eq!(store.calls(every(100)).await.unwrap().calls.len(), 1);
}
