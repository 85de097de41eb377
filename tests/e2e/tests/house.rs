//! The crate graph: README.md lists every crate with its floor and the crates it uses, and the list is what the code says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Heald's own crates are called `heald-NAME`, the daemon `heald`.
const PREFIX: &str = "heald-";

/// A crate of this floor or a higher one may use crates of its own floor that stand below it.
const TOP_FLOOR: u32 = 3;

/// One line of the list.
struct ListedCrate {
    floor: u32,
    name: String,
    uses: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The list in README.md, from the top to the bottom.
fn listed() -> Vec<ListedCrate> {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let chapter = text.split("\n## ").find(|chapter| chapter.starts_with("The house")).expect("the chapter");
    let block = chapter.split("```").find_map(|block| block.strip_prefix("text\n")).expect("the list");
    let line = |line: &str| {
        let (named, uses) = line.split_once("->").unwrap_or_else(|| panic!("no arrow in `{line}`"));
        let (floor, name) = named.trim().split_once(' ').unwrap_or_else(|| panic!("no floor in `{line}`"));
        let floor = floor.strip_prefix('L').and_then(|floor| floor.parse().ok());
        ListedCrate {
            floor: floor.unwrap_or_else(|| panic!("no floor in `{line}`")),
            name: name.trim().to_owned(),
            uses: uses.split_whitespace().map(str::to_owned).collect(),
        }
    };
    block.lines().filter(|text| !text.trim().is_empty()).map(line).collect()
}

/// The crates of `runtime/`, each with the crates of this workspace among its normal dependencies.
fn coded() -> BTreeMap<String, BTreeSet<String>> {
    let folders = std::fs::read_dir(root().join("runtime")).unwrap();
    let manifests = folders.map(|folder| folder.unwrap().path().join("Cargo.toml")).filter(|path| path.is_file());
    manifests.map(|path| used(&std::fs::read_to_string(path).unwrap())).collect()
}

/// The name of a manifest's crate, and the crates of this workspace that it uses.
fn used(manifest: &str) -> (String, BTreeSet<String>) {
    let manifest: toml::Table = manifest.parse().unwrap();
    let name = manifest["package"]["name"].as_str().unwrap();
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let names = dependencies.into_iter().flat_map(toml::Table::keys);
    let uses = names.filter_map(|name| name.strip_prefix(PREFIX)).map(str::to_owned).collect();
    (name.strip_prefix(PREFIX).unwrap_or("daemon").to_owned(), uses)
}

#[test]
fn the_readme_lists_every_crate_and_what_it_uses() {
    let (listed, coded) = (listed(), coded());
    let names: BTreeSet<&String> = listed.iter().map(|each| &each.name).collect();
    assert_eq!(names, coded.keys().collect(), "README.md lists each crate of runtime/, and no other");
    assert_eq!(names.len(), listed.len(), "README.md lists each crate once");
    for each in &listed {
        assert_eq!(
            each.uses, coded[&each.name],
            "the line of {} in README.md is not what its Cargo.toml says",
            each.name
        );
    }
}

#[test]
fn a_crate_uses_only_crates_below_it() {
    let listed = listed();
    for (place, user) in listed.iter().enumerate() {
        for name in &user.uses {
            // What stands outside runtime/ is for builds, and stands on nothing of it.
            let Some(below) = listed.iter().position(|each| each.name == *name) else { continue };
            let used = &listed[below];
            let lower = used.floor < user.floor;
            let beneath = used.floor == user.floor && user.floor >= TOP_FLOOR && below > place;
            assert!(lower || beneath, "{} (L{}) uses {name} (L{})", user.name, user.floor, used.floor);
        }
    }
}
