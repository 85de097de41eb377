//! Retention forgets what is over and old, as a whole, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]

mod support;

use heald_control::History;
use heald_engine::ports::{Durability, Journal};
use heald_model::*;
use heald_store::Trimmed;
use support::*;

#[tokio::test]
async fn what_is_over_and_old_goes_and_what_is_open_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    let entries = history(200);
    store.write(entries.clone());
    store.write(notes(0..2000));
    store.commit(notes(2_000_000..2_000_001), Durability::Process).await.unwrap();
    let learned = store.learned().await.unwrap();
    let open_before = store.open_incidents().await.unwrap();
    let services = services(&path);

    // Everything before millisecond 5 000: the first hundred incidents.
    let trimmed = store.trim(at(5_000)).await.unwrap();
    // Two of four in each hundred are resolved, one of four also has an action of its own.
    assert!((48..=50).contains(&trimmed.incidents), "{trimmed:?}");
    assert!((72..=75).contains(&trimmed.attempts), "{trimmed:?}");
    assert!(trimmed.rows > 2_000, "{trimmed:?}");
    assert_eq!(store.trim(at(5_000)).await.unwrap(), Trimmed::default(), "nothing is left to do");

    assert_eq!(store.open_incidents().await.unwrap(), open_before);
    assert_eq!(store.learned().await.unwrap(), learned, "what was learned stays");
    assert_eq!(support::services(&path), services);
    assert_eq!(store.incident(incident_id(0)).await.unwrap(), None);
    assert!(store.incident(incident_id(196)).await.unwrap().is_some());

    let before = projections(&path);
    let store = rebuilt(store, &path);
    assert_eq!(projections(&path), before, "a rebuild gives the same after retention");
    assert_eq!(store.learned().await.unwrap(), learned);
}

#[tokio::test]
async fn a_sequence_number_is_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    store.commit(notes(0..10), Durability::Process).await.unwrap();
    assert_eq!(store.trim(Moment::NEVER).await.unwrap().rows, 9);
    drop(store);
    let store = open(&path);
    store.commit(notes(10..11), Durability::Process).await.unwrap();
    assert_eq!(store.newest().await.unwrap(), 11);
}

#[tokio::test]
async fn writing_goes_on_while_retention_works() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("heald.db"));
    for n in 0..40 {
        store.write(notes(n * 1000..(n + 1) * 1000));
    }
    store.commit(Vec::new(), Durability::Process).await.unwrap();
    let trim = store.trim(at(100_000));
    let commits = async {
        for n in 0..20 {
            store.commit(vec![note(200_000 + n)], Durability::Process).await.unwrap();
        }
        store.newest().await.unwrap()
    };
    let (trimmed, newest) = tokio::join!(trim, commits);
    assert_eq!(newest, 40_020);
    assert!(trimmed.unwrap().rows >= 39_999);
    assert_eq!(store.rows(0, 100).await.unwrap().len(), 20);
}
