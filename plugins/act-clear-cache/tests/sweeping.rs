//! Real directories, real links.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::Path;

use act_clear_cache::ClearCache;
use heald_plugin::testing::{problems, task};
use heald_plugin::{Action, Error, Scalar};

fn put(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn clearing(directory: &Path) -> ClearCache {
    ClearCache { directory: directory.to_owned() }
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn everything_within_goes_and_the_directory_stays() {
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("cache");
    put(&cache.join("a"), "12345");
    put(&cache.join("deep/er/b"), "123");
    fs::create_dir(cache.join("hollow")).unwrap();
    put(&place.path().join("beside"), "stays");

    let plan = clearing(&cache).check(&task("clear-cache", "{}")).unwrap();
    assert!(plan.summary.starts_with("would delete 2 files (8 bytes) and 3 directories"), "{}", plan.summary);
    assert!(cache.join("deep/er/b").exists(), "a check has no effect");

    let receipt = clearing(&cache).perform(&task("clear-cache", "{}")).unwrap();
    assert!(receipt.changed);
    assert!(receipt.facts.iter().any(|fact| fact.name == "bytes" && fact.value == Scalar::Number(8.0)));
    assert!(is_empty(&cache));
    assert_eq!(fs::read_to_string(place.path().join("beside")).unwrap(), "stays");

    let again = clearing(&cache).perform(&task("clear-cache", "{}")).unwrap();
    assert!(!again.changed, "nothing left to do");
}

#[test]
fn a_sub_directory_can_be_meant() {
    let cache = tempfile::tempdir().unwrap();
    put(&cache.path().join("pages/a"), "1");
    put(&cache.path().join("images/b"), "1");
    clearing(cache.path()).perform(&task("clear-cache", r#"{"path": "pages"}"#)).unwrap();
    assert!(is_empty(&cache.path().join("pages")));
    assert!(cache.path().join("images/b").exists());
}

#[cfg(unix)]
#[test]
fn links_are_deleted_and_never_followed() {
    let place = tempfile::tempdir().unwrap();
    let (cache, outside) = (place.path().join("cache"), place.path().join("outside"));
    put(&outside.join("precious"), "stays");
    put(&cache.join("a"), "1");
    std::os::unix::fs::symlink(&outside, cache.join("to-directory")).unwrap();
    std::os::unix::fs::symlink(outside.join("precious"), cache.join("to-file")).unwrap();
    std::os::unix::fs::symlink("nowhere", cache.join("dangling")).unwrap();

    let through = clearing(&cache).perform(&task("clear-cache", r#"{"path": "to-directory"}"#));
    assert!(matches!(through, Err(Error::Denied(_))), "{through:?}");

    clearing(&cache).perform(&task("clear-cache", "{}")).unwrap();
    assert!(is_empty(&cache));
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "stays");

    std::os::unix::fs::symlink(&outside, place.path().join("linked-cache")).unwrap();
    let linked = clearing(&place.path().join("linked-cache")).perform(&task("clear-cache", "{}"));
    assert!(matches!(linked, Err(Error::Denied(_))), "{linked:?}");
    assert!(outside.join("precious").exists());
}

#[test]
fn paths_that_lead_out_are_refused() {
    let cache = tempfile::tempdir().unwrap();
    put(&cache.path().join("a"), "1");
    for path in ["..", "../x", "/etc", "x/../..", "./a"] {
        let parameters = format!(r#"{{"path": "{path}"}}"#);
        let refused = clearing(cache.path()).perform(&task("clear-cache", &parameters));
        assert!(matches!(refused, Err(Error::BadInput(_) | Error::NotFound(_))), "{path}: {refused:?}");
    }
    assert!(cache.path().join("a").exists());
}

#[test]
fn what_is_missing_or_unknown_is_said_so() {
    let place = tempfile::tempdir().unwrap();
    let gone = clearing(&place.path().join("gone"));
    assert!(matches!(gone.check(&task("clear-cache", "{}")), Err(Error::NotFound(_))));
    let here = clearing(place.path());
    assert!(matches!(here.perform(&task("restart", "{}")), Err(Error::Unsupported(_))));
    assert!(matches!(here.perform(&task("clear-cache", r#"{"paht": "a"}"#)), Err(Error::BadInput(_))));
    assert!(matches!(here.undo(&task("clear-cache", "{}"), b""), Err(Error::Unsupported(_))));
}

#[test]
fn a_deep_tree_does_not_overflow_the_stack() {
    let place = tempfile::tempdir().unwrap();
    let mut deep = place.path().to_owned();
    // Hundreds of levels; PATH_MAX, 4096, is the most there can be.
    while deep.as_os_str().len() < 1_500 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    clearing(place.path()).perform(&task("clear-cache", "{}")).unwrap();
    assert!(is_empty(place.path()));
}

#[test]
fn a_configuration_that_leads_out_is_refused() {
    for config in [r#"{"directory": "cache"}"#, r#"{"directory": "/cache/../etc"}"#] {
        assert_eq!(problems(ClearCache::new, config)[0].at, "/directory");
    }
    assert!(problems(ClearCache::new, "{}").is_empty());
}
