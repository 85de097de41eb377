//! What a death, a full disk or a damaged file leaves behind. The deaths are real: a child process of this test,
//! killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]
#![allow(missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use heald_control::History;
use heald_engine::ports::{Durability, Journal};
use heald_model::JournalError;
use heald_model::*;
use heald_store::{NodeIdentity, Store, StoreConfig, StoreError};
use support::*;

/// How the children of these tests are told what to do and where.
const ROLE: &str = "HEALD_STORE_CHILD";
const PLACE: &str = "HEALD_STORE_PLACE";

/// This test executable again, to play a part on the database at `path`. `shell` is run before it in the same process.
fn child(role: &str, path: &Path, shell: &str) -> Child {
    Command::new("sh")
        .args([
            "-c",
            &format!("{shell}; exec \"$0\" --exact a_child --nocapture"),
            std::env::current_exe().unwrap().to_str().unwrap(),
        ])
        .envs([(ROLE, role.as_ref()), (PLACE, path.as_os_str())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what a child does.
#[tokio::test]
async fn a_child() {
    let (Ok(role), Ok(path)) = (std::env::var(ROLE), std::env::var(PLACE)) else { return };
    match role.as_str() {
        "writer" => write_for_ever(Path::new(&path)).await,
        "full disk" => meet_a_full_disk(Path::new(&path)).await,
        other => panic!("no such part: {other}"),
    }
}

/// Commits whole incidents, and says the number of each once it is safe.
async fn write_for_ever(path: &Path) {
    let store = open(path);
    let first = store.incidents(heald_control::IncidentQuery { limit: 1, ..Default::default() }).await.unwrap().total;
    let mut out = std::io::stdout();
    for n in first.. {
        let mut entries = healed(n, "web", n * 50);
        let rest = entries.split_off(5);
        store.write(entries);
        let durability = if n % 5 == 0 { Durability::Machine } else { Durability::Process };
        store.commit(rest, durability).await.unwrap();
        writeln!(out, "safe {n}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn twenty_five_kills_lose_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let mut dice = 7_u64;
    for round in 0..25 {
        let mut child = child("writer", &path, "true");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Somewhere between the first commits and some dozens, never at the same point of one.
        let until = 1 + (dice >> 33) % 60;
        let mut safe = None;
        let mut read = 0;
        while read < until {
            let line = lines.next().expect("the child ended by itself").unwrap();
            if let Some(number) = line.split("safe ").nth(1) {
                safe = Some(number.parse::<u64>().unwrap());
                read += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died counts as well.
        for line in lines.map_while(Result::ok) {
            // The last line may be cut off in the middle.
            if let Some(number) = line.strip_prefix("safe ").and_then(|number| number.parse::<u64>().ok()) {
                safe = safe.max(Some(number));
            }
        }
        let store = open(&path);
        let safe = safe.unwrap();
        let count = store.newest().await.unwrap();
        assert!(count >= (safe + 1) * 9, "round {round}: {count} rows, incident {safe} was acknowledged");
        let last = store.incident(incident_id(safe)).await.unwrap().unwrap();
        assert_eq!((last.stage, last.timeline.len(), last.attempts.len()), (Stage::Resolved, 9, 1));
        let before = projections(&path);
        let store = rebuilt(store, &path);
        assert_eq!(projections(&path), before, "round {round}: the projections are of the same instant as the journal");
        finish_the_last(&store, safe).await;
    }
}

/// Completes an incident that the kill cut in half, so that the next child can count on.
async fn finish_the_last(store: &Store, safe: u64) {
    let total = store.incidents(heald_control::IncidentQuery { limit: 1, ..Default::default() }).await.unwrap().total;
    for n in safe + 1..total {
        let written = store.newest().await.unwrap() - n * 9;
        let rest = healed(n, "web", n * 50).split_off(usize::try_from(written).unwrap());
        store.commit(rest, Durability::Process).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_what_was_handed_over_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    // Files may grow to 600 KB (the shell counts half KB); a write beyond fails instead of killing.
    let mut child = child("full disk", &path, "trap '' XFSZ; ulimit -S -f 1200");
    let said: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
    assert!(child.wait().unwrap().success(), "{said:?}");
    let store = open(&path);
    let rows = store.rows(0, 100_000).await.unwrap();
    let number = |what: &str| -> u64 {
        said.iter()
            .find_map(|line| line.split(&format!("{what} ")).nth(1)?.trim().parse().ok())
            .expect("the child's word")
    };
    let noted = |n: u64| rows.iter().filter(|row| row.entry == note(n)).count();
    let (committed, kept) = (number("committed"), number("kept"));
    assert!(committed > 10, "{said:?}");
    assert!((0..committed).all(|n| noted(n) == 1), "every acknowledged entry is there once");
    assert_eq!(noted(committed), 1, "what was refused is written later, once");
    assert!((500_000..500_000 + kept).all(|n| noted(n) == 1), "what was only handed over is there once");
    let order: Vec<Moment> = rows.iter().map(|row| row.entry.at).filter(|then| *then >= at(500_000)).collect();
    assert!(order.is_sorted(), "in the order in which it was handed over");
}

async fn meet_a_full_disk(path: &Path) {
    let store = open(path);
    let mut committed = 0;
    let refusal = loop {
        match store.commit(notes(committed..committed + 1), Durability::Process).await {
            Ok(()) => committed += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refusal, JournalError::Unavailable(_)), "{refusal}");
    println!("\ncommitted {committed}");
    let kept = 300;
    for n in 0..kept {
        store.write(vec![note(500_000 + n)]);
    }
    assert!(store.commit(Vec::new(), Durability::Process).await.is_err(), "nothing is safe yet");
    eventually("degraded", || store.degraded().is_some_and(|plight| plight.kept == 301 && plight.lost == 0));
    // Reading goes on.
    assert_eq!(store.newest().await.unwrap(), committed);

    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    let wide = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, wide).unwrap();
    eventually("recovery", || store.degraded().is_none());
    println!("\nkept {kept}");
}

#[tokio::test]
async fn entries_beyond_the_bound_are_counted_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    // Somebody at a prompt holds the write lock.
    let outside = rusqlite::Connection::open(&path).unwrap();
    outside.execute_batch("BEGIN IMMEDIATE").unwrap();
    for n in 0..21 {
        store.write(notes(n * 1000..(n + 1) * 1000));
    }
    assert!(store.commit(notes(90_000..90_001), Durability::Process).await.is_err());
    eventually("the loss is counted", || store.degraded().is_some_and(|p| (p.kept, p.lost) == (20_000, 1_001)));
    outside.execute_batch("COMMIT").unwrap();
    eventually("recovery", || store.degraded().is_none());
    store.commit(Vec::new(), Durability::Process).await.unwrap();
    let rows = store.rows(0, 50_000).await.unwrap();
    assert_eq!(rows.len(), 20_001);
    let last = &rows.last().unwrap().entry.record;
    assert!(matches!(last, Record::Note { text } if text.starts_with("1001 entries were lost")), "{last:?}");
}

fn try_open(path: &Path) -> Result<heald_store::Opened, StoreError> {
    Store::open(&StoreConfig::at(path), NodeIdentity::alone("test"))
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_damaged_database_is_set_aside_and_never_deleted() {
    let junk = b"this is not a database, but it is long enough to look like one if nobody looks".repeat(40);
    let truncated = |whole: &[u8]| whole[..whole.len() / 2].to_vec();
    let scribbled = |whole: &[u8]| {
        let mut bytes = whole.to_vec();
        for page in bytes.chunks_mut(4096).skip(1).step_by(2) {
            page[..64].fill(0xa5);
        }
        bytes
    };
    type Harm<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let harms: [(&str, Harm<'_>); 3] =
        [("junk", &|_| junk.clone()), ("cut in half", &truncated), ("scribbled over", &scribbled)];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heald.db");
        let store = open(&path);
        store.commit(history(100), Durability::Process).await.unwrap();
        drop(store);
        let bytes = harm(&std::fs::read(&path).unwrap());
        std::fs::write(&path, &bytes).unwrap();

        let opened = try_open(&path).unwrap();
        assert_eq!(opened.notes.len(), 1, "{name}");
        let aside = files(dir.path()).into_iter().find(|file| file.contains(".corrupt-")).unwrap();
        assert!(opened.notes[0].contains(&aside), "{name}: {}", opened.notes[0]);
        assert_eq!(std::fs::read(dir.path().join(&aside)).unwrap(), bytes, "{name}: untouched");
        opened.store.commit(notes(0..1), Durability::Process).await.unwrap();
        assert_eq!(opened.store.newest().await.unwrap(), 1, "{name}: a new beginning");
        drop(opened);
        drop(open(&path));
    }
}

/// A database too large to be examined before it is opened. Its damage is found soon after, healing having begun
/// meanwhile.
#[tokio::test]
async fn damage_in_a_large_database_is_told_and_dealt_with_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    for n in 0..160 {
        store.write(notes(n * 1000..(n + 1) * 1000));
    }
    store.commit(Vec::new(), Durability::Process).await.unwrap();
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 17 << 20, "{}", bytes.len());
    let middle = bytes.len() / 8192 * 4096;
    bytes[middle..middle + 8 * 4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();

    let opened = try_open(&path).unwrap();
    assert_eq!(opened.notes, Vec::<String>::new());
    eventually("the damage is found", || opened.store.degraded().is_some());
    let refusal = opened.store.commit(notes(0..1), Durability::Process).await;
    assert!(matches!(refusal, Err(JournalError::Unavailable(_))), "{refusal:?}");
    drop(opened);
    let opened = try_open(&path).unwrap();
    assert!(opened.notes[0].contains("damaged"), "{:?}", opened.notes);
    opened.store.commit(notes(0..1), Durability::Process).await.unwrap();
}

#[tokio::test]
async fn what_is_not_ours_to_touch_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.db");
    let store = open(&path);
    store.commit(history(5), Durability::Process).await.unwrap();

    let said = try_open(&path).unwrap_err().to_string();
    assert!(said.contains("in use by another heald (pid"), "{said}");
    drop(store);

    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let said = try_open(&path).unwrap_err().to_string();
    assert!(said.contains("has schema 99, this heald knows up to 3"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);

    let other = dir.path().join("other.db");
    rusqlite::Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 1")
        .unwrap();
    let said = try_open(&other).unwrap_err().to_string();
    assert!(said.contains("is not a heald database"), "{said}");

    let folder = dir.path().join("folder.db");
    std::fs::create_dir(&folder).unwrap();
    assert!(matches!(try_open(&folder), Err(StoreError::Database { .. })), "an I/O error is not damage");
    assert!(files(dir.path()).iter().all(|file| !file.contains("corrupt")), "{:?}", files(dir.path()));
}
