//! Real guests, compiled from source: what comes out is a component that says what it is.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use heald_plugin_build::{Error, Guest, SECTION, Workspace, component, imports, metadata};

/// One build for all of these tests, in a place that other crates' tests of the same guests share.
static GUESTS: LazyLock<Vec<Guest>> = LazyLock::new(|| {
    let guests = Workspace::at(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests"))
        .target_dir(Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests"))
        .package("detector-good")
        .package("detector-greedy")
        .package("wrong-world")
        .build();
    guests.unwrap_or_else(|error| panic!("{error}"))
});

fn guest(package: &str) -> &'static Guest {
    GUESTS.iter().find(|guest| guest.package == package).unwrap()
}

/// A workspace of one crate, written for the test.
fn workspace(source: &str, manifest: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("src")).unwrap();
    fs::write(place.path().join("src/lib.rs"), source).unwrap();
    let head =
        "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n";
    fs::write(place.path().join("Cargo.toml"), format!("{head}{manifest}\n[workspace]\n")).unwrap();
    fs::write(place.path().join("Cargo.lock"), "version = 4\n\n[[package]]\nname = \"small\"\nversion = \"0.1.0\"\n")
        .unwrap();
    place
}

fn build(place: &tempfile::TempDir) -> Result<Vec<Guest>, Error> {
    Workspace::at(place.path()).target_dir(place.path().join("target")).build()
}

#[test]
fn only_what_was_asked_for_is_built_and_sorted_by_name() {
    let names: Vec<_> = GUESTS.iter().map(|guest| guest.package.as_str()).collect();
    assert_eq!(names, ["detector-good", "detector-greedy", "wrong-world"]);
}

#[test]
fn a_component_says_what_it_is_at_component_level_and_only_there() {
    let built = guest("detector-good").component().unwrap();
    let said = metadata(&built).unwrap();
    assert_eq!((said.name.as_str(), said.roles.as_slice()), ("detector-good", ["detector".to_owned()].as_slice()));
    assert_eq!(said.limits.cpu_ms, 5);
    let section = SECTION.as_bytes();
    let named = built.windows(section.len() + 1).filter(|window| window[0] == 12 && &window[1..] == section);
    assert_eq!(named.count(), 1, "the core module no longer says it");
}

#[test]
fn making_a_component_of_a_component_changes_nothing() {
    let built = guest("detector-good").component().unwrap();
    assert_eq!(component(&built).unwrap(), built);
}

#[test]
fn a_detector_imports_the_log_and_nothing_that_could_reach_outside() {
    let built = guest("detector-good").component().unwrap();
    assert_eq!(imports(&built).unwrap(), ["heald:plugin/types@0.1.0", "heald:plugin/log@0.1.0"]);
    let greedy = imports(&guest("detector-greedy").component().unwrap()).unwrap();
    assert!(greedy.contains(&"heald:plugin/process-control@0.1.0".to_owned()), "{greedy:?}");
}

#[test]
fn a_component_that_says_nothing_of_itself_is_still_one() {
    let built = guest("wrong-world").component().unwrap();
    assert!(matches!(metadata(&built), Err(Error::NoMetadata)));
    assert!(imports(&built).unwrap().is_empty());
}

#[test]
fn the_inputs_name_the_guests_source_the_sdk_and_the_contract() {
    let inputs: Vec<PathBuf> =
        guest("detector-good").inputs.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    for file in
        ["tests/guests/detector-good/src/lib.rs", "tests/guests/Cargo.lock", "sdk/rust/src/lib.rs", "wit/plugin.wit"]
    {
        assert!(inputs.contains(&root.join(file)), "{file} in {inputs:#?}");
    }
}

#[test]
fn what_the_compiler_says_is_in_the_error() {
    let refused = build(&workspace("fn f() -> u32 { \"text\" }", "")).unwrap_err();
    assert!(matches!(refused, Error::Build { .. }));
    assert!(refused.to_string().contains("mismatched types"), "{refused}");
}

#[test]
fn a_target_that_is_not_installed_is_said_so() {
    let manifest = "[package.metadata.heald]\ntarget = \"wasm32-wasip1\"";
    let refused = build(&workspace("", manifest)).unwrap_err();
    assert!(refused.to_string().contains("rustup target add wasm32-wasip1"), "{refused}");
}

#[test]
fn a_module_of_no_world_is_a_component_without_exports() {
    let place = workspace("", "");
    let built = build(&place).unwrap();
    let made = built[0].component().unwrap();
    assert!(matches!(metadata(&made), Err(Error::NoMetadata)));
    assert!(imports(&made).unwrap().is_empty());
}

#[test]
fn a_module_with_an_import_of_no_world_is_refused() {
    let source = "#[link(wasm_import_module = \"env\")] unsafe extern \"C\" { fn reach(); }\n\
                  #[unsafe(no_mangle)] extern \"C\" fn go() { unsafe { reach() } }";
    let place = workspace(source, "");
    let built = build(&place).unwrap();
    let refused = built[0].component().unwrap_err();
    assert!(matches!(&refused, Error::Encode(_)), "{refused}");
    assert!(refused.to_string().contains("env"), "{refused}");
}

#[test]
fn what_is_no_wasm_is_refused() {
    assert!(matches!(component(b"#!/bin/sh\n"), Err(Error::Wasm(_))));
    let built = guest("detector-good").component().unwrap();
    assert!(matches!(metadata(&built[..built.len() / 2]), Err(Error::Wasm(_))));
}
