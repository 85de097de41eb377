//! Ways out of a granted directory that a guest can make for itself, or find open for a moment. `actions` has those that lie about.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heald_host::{ActionFailure, Directory, Grant, PluginActions, Task};
use heald_model::{FaultCause, IntentId, Moment, Receipt};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::guests::{component, host, object, service, table};

/// `cache`, which is granted, beside a file that is not.
struct Place {
    folder: TempDir,
    actions: Arc<PluginActions>,
}

impl Place {
    async fn granting(write: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        fs::create_dir(&cache).unwrap();
        fs::write(folder.path().join("secret"), "the secret").unwrap();
        fs::write(cache.join("a"), "an entry").unwrap();
        let mut table = table("action-reach");
        let directory = Directory { host: cache, guest: "/cache".into(), write };
        table.grant = Grant { files: Some(vec![directory]), ..Grant::default() };
        let plugin = host().load_bytes(&table, component("action-reach")).unwrap();
        Self { folder, actions: plugin.actions(&object(json!({}))).await.unwrap() }
    }

    async fn reach(&self, parameters: Value) -> Result<Receipt, ActionFailure> {
        let task = Task {
            now: Moment::from_millis(1_000),
            seed: 7,
            attempt: IntentId(Uuid::from_u128(5)),
            service: &service("web"),
            incident: None,
            action: "reach",
            parameters: &parameters,
        };
        self.actions.perform(&task).await
    }

    /// It was refused, in words that the guest could read.
    async fn refuses(&self, parameters: Value) {
        let failure = self.reach(parameters.clone()).await.unwrap_err();
        let ActionFailure::Fault(fault) = &failure else { panic!("{parameters}: {failure:?}") };
        assert_eq!(fault.cause, FaultCause::Refused, "{parameters}: {fault}");
    }

    fn secret(&self) -> std::path::PathBuf {
        self.folder.path().join("secret")
    }

    fn is_untouched(&self) {
        assert_eq!(fs::read_to_string(self.secret()).unwrap(), "the secret");
        let mut names: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["cache", "secret"], "nothing appeared beside the grant");
    }
}

#[tokio::test]
async fn a_link_that_the_guest_made_leads_nowhere() {
    let place = Place::granting(true).await;
    let absolute = place.secret().display().to_string();
    place.refuses(json!({"deed": "symlink", "path": "/cache/absolute", "target": absolute})).await;
    // Whether one that leads up may be made is the file system's business; following it is what counts.
    let _ = place.reach(json!({"deed": "symlink", "path": "/cache/up", "target": ".."})).await;
    let _ = place.reach(json!({"deed": "symlink", "path": "/cache/file", "target": "../secret"})).await;
    let _ = place.reach(json!({"deed": "symlink", "path": "/cache/new", "target": "../planted"})).await;
    for path in ["/cache/absolute", "/cache/up/secret", "/cache/file", "/cache/new", "/cache/up/cache/../secret"] {
        for deed in ["read", "write"] {
            // A link that could not be made is a name like any other, and writing there writes within.
            if deed == "write"
                && fs::symlink_metadata(place.folder.path().join(&path[1..])).is_err()
                && !path.contains("/up/")
            {
                continue;
            }
            place.refuses(json!({"deed": deed, "path": path})).await;
        }
    }
    place.refuses(json!({"deed": "list", "path": "/cache/up"})).await;
    place.refuses(json!({"deed": "remove", "path": "/cache/up/secret"})).await;
    place.is_untouched();
}

#[tokio::test]
async fn nothing_is_moved_or_linked_out_or_in() {
    let place = Place::granting(true).await;
    symlink("..", place.folder.path().join("cache/up")).unwrap();
    for deed in [
        json!({"deed": "rename", "path": "/cache/a", "target": "/cache/up/planted"}),
        json!({"deed": "rename", "path": "/cache/a", "target": "/planted"}),
        json!({"deed": "rename", "path": "/cache/up/secret", "target": "/cache/stolen"}),
        json!({"deed": "hard-link", "path": "/cache/stolen", "target": "/cache/up/secret"}),
        json!({"deed": "hard-link", "path": "/cache/up/planted", "target": "/cache/a"}),
        json!({"deed": "rename", "path": "/cache", "target": "/cache/up/moved"}),
    ] {
        place.refuses(deed).await;
    }
    place.is_untouched();
    assert_eq!(fs::read_to_string(place.folder.path().join("cache/a")).unwrap(), "an entry");
}

#[tokio::test]
async fn what_is_granted_to_read_is_changed_in_no_way() {
    let place = Place::granting(false).await;
    assert_eq!(place.reach(json!({"deed": "read", "path": "/cache/a"})).await.unwrap().summary, "an entry");
    for deed in [
        json!({"deed": "write", "path": "/cache/a"}),
        json!({"deed": "write", "path": "/cache/b"}),
        json!({"deed": "remove", "path": "/cache/a"}),
        json!({"deed": "rename", "path": "/cache/a", "target": "/cache/b"}),
        json!({"deed": "hard-link", "path": "/cache/b", "target": "/cache/a"}),
        json!({"deed": "symlink", "path": "/cache/b", "target": "a"}),
    ] {
        place.refuses(deed).await;
    }
    let names: Vec<_> =
        fs::read_dir(place.folder.path().join("cache")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_becomes_a_link_while_it_is_read_leads_nowhere() {
    let place = Place::granting(true).await;
    let cache = place.folder.path().join("cache");
    fs::create_dir(cache.join("room")).unwrap();
    fs::write(cache.join("room/secret"), "no secret").unwrap();
    symlink("..", cache.join("way-out")).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (stop, folder) = (Arc::clone(&done), cache.clone());
    let flipping = std::thread::spawn(move || {
        let swap = |one: &Path, other: &Path| {
            let aside = folder.join("aside");
            fs::rename(one, &aside)
                .and_then(|()| fs::rename(other, one))
                .and_then(|()| fs::rename(&aside, other))
                .unwrap();
        };
        while !stop.load(Ordering::Relaxed) {
            swap(&folder.join("room"), &folder.join("way-out"));
        }
    });
    let read = place.reach(json!({"deed": "read-often", "path": "/cache/room/secret"})).await;
    done.store(true, Ordering::Relaxed);
    flipping.join().unwrap();
    let read = read.unwrap().summary;
    assert!(!read.contains("the secret"), "{read}");
    assert!(read.contains("no secret"), "it was never even tried: {read}");
    place.is_untouched();
}

#[tokio::test]
async fn a_guest_that_hoards_open_files_is_stopped_long_before_the_process_runs_out_of_them() {
    let place = Place::granting(true).await;
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let failure = place.reach(json!({"deed": "hoard", "path": "/cache/a"})).await.unwrap_err();
    let ActionFailure::Fault(fault) = &failure else { panic!("{failure:?}") };
    assert_eq!((fault.cause, fault.detail.contains("resource table")), (FaultCause::Trap, true), "{fault}");
    assert!(open() < before + 256, "and what it held is closed");
    assert_eq!(place.reach(json!({"deed": "read", "path": "/cache/a"})).await.unwrap().summary, "an entry");
}
