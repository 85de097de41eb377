//! Actions: what a grant opens, and that nothing else is open.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use heald_host::{ActionFailure, Directory, Grant, PluginActions, PluginConfig, Task};
use heald_model::{FaultCause, IntentId, Moment, Receipt, ServiceView};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::guests::{component, host, incident, object, service, table};

fn task<'a>(service: &'a ServiceView, action: &'a str, parameters: &'a Value) -> Task<'a> {
    Task {
        now: Moment::from_millis(1_700_000_000_000),
        seed: 7,
        attempt: IntentId(Uuid::from_u128(5)),
        service,
        incident: None,
        action,
        parameters,
    }
}

async fn reaching(table: &PluginConfig) -> std::sync::Arc<PluginActions> {
    let plugin = host().load_bytes(table, component("action-reach")).unwrap();
    plugin.actions(&object(json!({}))).await.unwrap()
}

async fn reach(actions: &PluginActions, parameters: Value) -> Result<Receipt, ActionFailure> {
    actions.perform(&task(&service("web"), "reach", &parameters)).await
}

fn granted(files: Vec<Directory>) -> PluginConfig {
    let mut table = table("action-reach");
    table.grant = Grant { files: Some(files), ..Grant::default() };
    table
}

fn directory(host: &Path, write: bool) -> Directory {
    Directory { host: host.to_owned(), guest: "/cache".into(), write }
}

#[tokio::test]
async fn files_within_the_grant_are_reached_and_nothing_outside() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "the secret").unwrap();
    let inside = outside.path().join("cache");
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("a"), "an entry").unwrap();
    symlink("../secret", inside.join("relative")).unwrap();
    symlink(outside.path().join("secret"), inside.join("absolute")).unwrap();
    symlink("..", inside.join("up")).unwrap();
    let actions = reaching(&granted(vec![directory(&inside, true)])).await;

    assert_eq!(reach(&actions, json!({"deed": "read", "path": "/cache/a"})).await.unwrap().summary, "an entry");
    assert_eq!(reach(&actions, json!({"deed": "write", "path": "/cache/b"})).await.unwrap().summary, "written");
    assert_eq!(fs::read_to_string(inside.join("b")).unwrap(), "written by a guest");

    let absolute = outside.path().join("secret").display().to_string();
    for path in [
        "/cache/../secret",
        "/cache/./../secret",
        "/cache/relative",
        "/cache/absolute",
        "/cache/up/secret",
        "/secret",
        "secret",
        "/etc/hostname",
        "/proc/self/environ",
        absolute.as_str(),
    ] {
        for deed in ["read", "write"] {
            let failure = reach(&actions, json!({"deed": deed, "path": path})).await.unwrap_err();
            let ActionFailure::Fault(fault) = &failure else { panic!("{deed} {path}: {failure:?}") };
            assert_eq!(fault.cause, FaultCause::Refused, "{deed} {path}: {fault}");
        }
    }
    for deed in [
        json!({"deed": "list", "path": "/cache/up"}),
        json!({"deed": "list", "path": "/cache/.."}),
        json!({"deed": "rename", "path": "/cache/a", "target": "/cache/../stolen"}),
        json!({"deed": "rename", "path": "/cache/../secret", "target": "/cache/stolen"}),
        json!({"deed": "hard-link", "path": "/cache/stolen", "target": "/cache/../secret"}),
        json!({"deed": "remove", "path": "/cache/../secret"}),
    ] {
        assert!(reach(&actions, deed.clone()).await.is_err(), "{deed}");
    }
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "the secret");
    let mut names: Vec<_> = fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "absolute", "b", "relative", "up"]);
}

#[tokio::test]
async fn a_grant_to_read_is_none_to_write() {
    let cache = tempfile::tempdir().unwrap();
    fs::write(cache.path().join("a"), "an entry").unwrap();
    let actions = reaching(&granted(vec![directory(cache.path(), false)])).await;
    assert_eq!(reach(&actions, json!({"deed": "read", "path": "/cache/a"})).await.unwrap().summary, "an entry");
    for deed in ["write", "remove"] {
        assert!(reach(&actions, json!({"deed": deed, "path": "/cache/a"})).await.is_err());
    }
    assert!(reach(&actions, json!({"deed": "write", "path": "/cache/b"})).await.is_err());
    assert_eq!(fs::read_to_string(cache.path().join("a")).unwrap(), "an entry");
}

#[tokio::test]
async fn the_world_is_sealed_unless_it_is_granted() {
    let sealed = reaching(&granted(Vec::new())).await;
    let ask = |deed: &'static str| reach(&sealed, json!({"deed": deed}));
    assert_eq!(ask("time").await.unwrap().summary, "1700000000000000000", "the `now` of the call");
    assert_eq!(ask("dice").await.unwrap().summary, ask("dice").await.unwrap().summary, "the same seed, the same dice");
    assert_eq!(ask("environment").await.unwrap().summary, "0 0");
    assert!(reach(&sealed, json!({"deed": "list", "path": "/"})).await.is_err());

    let mut table = granted(Vec::new());
    (table.grant.clock, table.grant.random) = (true, true);
    let open = reaching(&table).await;
    let ask = |deed: &'static str| reach(&open, json!({"deed": deed}));
    assert_ne!(ask("time").await.unwrap().summary, "1700000000000000000");
    assert_ne!(ask("dice").await.unwrap().summary, ask("dice").await.unwrap().summary);
}

#[tokio::test]
async fn a_guest_that_sleeps_is_late_and_one_that_ends_itself_has_failed() {
    let mut table = granted(Vec::new());
    table.limits.wall = Some(Duration::from_millis(200));
    let actions = reaching(&table).await;
    let began = Instant::now();
    let failure = reach(&actions, json!({"deed": "sleep"})).await.unwrap_err();
    assert!(matches!(&failure, ActionFailure::Fault(fault) if fault.cause == FaultCause::Deadline), "{failure}");
    assert!(began.elapsed() < Duration::from_secs(5));
    for (deed, words) in [("exit", "exited"), ("stderr", "all is lost")] {
        let failure = reach(&actions, json!({"deed": deed})).await.unwrap_err();
        let ActionFailure::Fault(fault) = &failure else { panic!("{failure:?}") };
        assert_eq!(fault.cause, FaultCause::Trap, "{fault}");
        assert!(fault.detail.contains(words), "{fault}");
    }
    assert_eq!(reach(&actions, json!({"deed": "nothing"})).await.unwrap().summary, "nothing?");
}

#[tokio::test]
async fn parameters_are_checked_before_the_plugin_is_asked() {
    let actions = reaching(&granted(Vec::new())).await;
    let service = service("web");
    let none = json!({});
    let unknown = actions.perform(&task(&service, "reboot", &none)).await.unwrap_err();
    assert_eq!(unknown, ActionFailure::Unknown("reboot".into()));
    for (parameters, word) in [
        (json!({}), "`deed` is missing"),
        (Value::Null, "`deed` is missing"),
        (json!({"deed": 1}), "at /deed: string is wanted"),
        (json!({"deed": "read", "force": true}), "at /force: unknown"),
        (json!([]), "object is wanted"),
    ] {
        let failure = actions.perform(&task(&service, "reach", &parameters)).await.unwrap_err();
        assert!(matches!(&failure, ActionFailure::BadParameters(_)), "{failure:?}");
        assert!(failure.to_string().contains(word), "{failure}");
    }
}

#[tokio::test]
async fn check_perform_and_undo_each_reach_the_plugin() {
    let actions = reaching(&granted(Vec::new())).await;
    let (service, incident) = (service("web"), incident("web"));
    let parameters = json!({"deed": "nothing", "path": "remembered"});
    let task = Task { incident: Some(&incident), ..task(&service, "reach", &parameters) };
    assert_eq!(actions.infos()[0].name, "reach");
    assert_eq!(actions.check(&task).await.unwrap().summary, "would reach");
    let receipt = actions.perform(&task).await.unwrap();
    assert!(receipt.changed && receipt.at >= task.now);
    let undone = actions.undo(&task, &receipt.undo.unwrap()).await.unwrap();
    assert_eq!(undone.summary, "remembered");
}

#[tokio::test]
async fn clear_cache_empties_the_granted_directory_and_nothing_outside() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("keep"), "mine").unwrap();
    let cache = outside.path().join("cache");
    fs::create_dir_all(cache.join("deep/er")).unwrap();
    fs::write(cache.join("deep/er/file"), vec![0; 100_000]).unwrap();
    symlink("../keep", cache.join("link")).unwrap();
    let mut table = table("act-clear-cache");
    table.grant.files = serde_json::from_value(json!([cache])).unwrap();
    let plugin = host().load_bytes(&table, component("act-clear-cache")).unwrap();
    let actions = plugin.actions(&object(json!({}))).await.unwrap();
    let (service, none) = (service("web"), json!({}));
    let task = task(&service, "clear-cache", &none);
    actions.check(&task).await.unwrap();
    assert!(cache.join("deep/er/file").exists(), "a check has no effect");
    let receipt = actions.perform(&task).await.unwrap();
    assert!(receipt.changed, "{receipt:?}");
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(outside.path().join("keep")).unwrap(), "mine");
    assert!(!actions.perform(&task).await.unwrap().changed, "twice deletes once");
}
