//! The desired states survive everything, and a file that cannot be read is never overwritten silently.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]

use std::fs;

use heald_engine::ports::DesiredStates;
use heald_model::{Desired, ServiceName};
use heald_store::DesiredStateFile;

fn name(text: &str) -> ServiceName {
    text.into()
}

#[tokio::test]
async fn desired_states_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.desired.json");
    let opened = DesiredStateFile::open(&path);
    assert!(!opened.unreadable && opened.notes.is_empty());
    let file = opened.file;
    assert_eq!(file.desired(&name("web")), Desired::Running);
    file.set_desired(&name("web"), Desired::Stopped).await.unwrap();
    file.set_desired(&name("db"), Desired::Paused).await.unwrap();
    file.set_desired(&name("mq"), Desired::Paused).await.unwrap();
    file.set_desired(&name("mq"), Desired::Running).await.unwrap();
    assert_eq!(file.desired(&name("web")), Desired::Stopped);
    drop(file);
    let again = DesiredStateFile::open(&path);
    assert!(!again.unreadable);
    assert_eq!(again.file.desired(&name("web")), Desired::Stopped);
    assert_eq!(again.file.all().len(), 2);
    let text = fs::read_to_string(&path).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document, serde_json::json!({"version": 1, "services": {"db": "paused", "web": "stopped"}}));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no leftovers");
}

#[tokio::test]
async fn an_unreadable_file_is_told_at_every_start_until_somebody_speaks() {
    let texts = ["", "{", "[]", r#"{"version":2,"services":{}}"#, r#"{"version":1,"services":{"web":"upside-down"}}"#];
    for text in texts {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heald.desired.json");
        fs::write(&path, text).unwrap();
        for _ in 0..2 {
            let opened = DesiredStateFile::open(&path);
            assert!(opened.unreadable, "{text}");
            assert!(opened.notes[0].contains("all healing is halted"), "{:?}", opened.notes);
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "looking changes nothing");
        }
        let file = DesiredStateFile::open(&path).file;
        file.set_desired(&name("web"), Desired::Stopped).await.unwrap();
        file.set_desired(&name("db"), Desired::Stopped).await.unwrap();
        let aside: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().contains(".unreadable-"))
            .collect();
        assert_eq!(aside.len(), 1);
        assert_eq!(fs::read_to_string(&aside[0]).unwrap(), text, "set aside as it was");
        let again = DesiredStateFile::open(&path);
        assert!(!again.unreadable);
        assert_eq!(again.file.all().len(), 2);
    }
}

#[tokio::test]
async fn a_wish_that_cannot_be_kept_is_not_half_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone").join("heald.desired.json");
    let file = DesiredStateFile::open(&path).file;
    let refusal = file.set_desired(&name("web"), Desired::Stopped).await.unwrap_err();
    assert!(refusal.to_string().contains("heald.desired.json"), "{refusal}");
    assert_eq!(file.desired(&name("web")), Desired::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_the_same_time_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.desired.json");
    let file = std::sync::Arc::new(DesiredStateFile::open(&path).file);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let file = std::sync::Arc::clone(&file);
            tokio::spawn(async move { file.set_desired(&name(&format!("s{n}")), Desired::Paused).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(DesiredStateFile::open(&path).file.all().len(), 20);
}

#[tokio::test]
async fn a_fifo_in_place_of_the_file_is_unreadable_and_holds_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heald.desired.json");
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
    let opened = DesiredStateFile::open(&path);
    assert!(opened.unreadable && opened.file.halted());
    assert!(opened.notes[0].contains("it is a FIFO"), "{:?}", opened.notes);
    opened.file.set_desired(&name("web"), Desired::Stopped).await.unwrap();
    assert_eq!(DesiredStateFile::open(&path).file.desired(&name("web")), Desired::Stopped);
}
