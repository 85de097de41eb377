//! No crate below `runtime/` has a circle of files, other than a module and its own child modules.
//!
//! The imports are found by a scan of the text: `use` statements and inline paths that begin with `crate`, `super` or `self`. It
//! expands no macro and follows no name that comes through another module's re-export. Tests are not scanned.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module by its path; the crate root is the empty path.
type Module = Vec<String>;
/// Files below `src`, with their text.
type Sources = BTreeMap<PathBuf, String>;

#[test]
fn no_crate_has_a_circle_of_files() {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime");
    let mut found = Vec::new();
    for entry in fs::read_dir(runtime).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if folder.join("src").is_dir() {
            let mut sources = Sources::new();
            read(&folder.join("src"), Path::new(""), &mut sources);
            found.extend(circles(&sources).into_iter().map(|files| format!("{name}: {}", files.join(", "))));
        }
    }
    assert!(found.is_empty(), "these files import one another in a circle:\n{}", found.join("\n"));
}

#[test]
fn a_circle_is_found_and_a_module_with_its_children_is_none() {
    let made_up = [
        ("lib.rs", "mod a;\npub use crate::a::A;\n"),
        ("a.rs", "use crate::{\n    b::{self, B},\n    e,\n};\n"),
        ("b.rs", "use super::c::C;\n"),
        ("c.rs", "// crate::e\nfn f() { crate::a::g(); }\n"),
        ("d.rs", "use crate::A;\n"),
        ("e.rs", "fn e() {}\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n"),
        ("p.rs", "use self::q::Q;\n"),
        ("p/q.rs", "use super::P;\nuse super::r::R;\n"),
        ("p/r.rs", "use crate::p::q::Q;\n"),
    ];
    let mut sources: Sources = made_up.map(|(file, text)| (file.into(), text.to_owned())).into();
    assert_eq!(circles(&sources), [["a.rs", "b.rs", "c.rs"]]);
    // The root and a module that uses the root's own items, too.
    sources.insert("lib.rs".into(), "fn run() { d::d(); }\n".to_owned());
    assert_eq!(circles(&sources), [vec!["lib.rs", "d.rs"], vec!["a.rs", "b.rs", "c.rs"]]);
}

fn read(src: &Path, below: &Path, sources: &mut Sources) {
    for entry in fs::read_dir(src.join(below)).unwrap() {
        let file = below.join(entry.unwrap().file_name());
        if src.join(&file).is_dir() {
            read(src, &file, sources);
        } else if file.extension().is_some_and(|ending| ending == "rs") && !file.ends_with("tests.rs") {
            sources.insert(file.clone(), fs::read_to_string(src.join(&file)).unwrap());
        }
    }
}

/// The files of each circle that is not a module with its own child modules.
fn circles(sources: &Sources) -> Vec<Vec<String>> {
    let modules: BTreeMap<Module, &PathBuf> = sources.keys().map(|file| (module(file), file)).collect();
    let imports: BTreeMap<&Module, BTreeSet<Module>> =
        modules.iter().map(|(module, file)| (module, imports(module, &sources[*file], &modules))).collect();
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        modules.keys().map(|module| (module, reachable(module, &imports))).collect();
    let mut circles = BTreeSet::new();
    for (module, reached_from_it) in &reached {
        let circle: Vec<&Module> = reached_from_it.iter().filter(|other| reached[*other].contains(*module)).collect();
        // The first is the shortest of them. Every module is a child of the root, so the root does not count as a parent.
        let family = |first: &Module| !first.is_empty() && circle.iter().all(|member| member.starts_with(first));
        if circle.len() > 1 && !circle.first().is_some_and(|first| family(first)) {
            circles.insert(circle);
        }
    }
    let file = |module: &Module| modules[module].display().to_string();
    circles.into_iter().map(|circle| circle.into_iter().map(file).collect()).collect()
}

fn reachable(from: &Module, imports: &BTreeMap<&Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        next.extend(imports[module].iter().filter(|import| seen.insert((*import).clone())));
    }
    seen
}

/// `a/b.rs` and `a/b/mod.rs` as `a::b`.
fn module(file: &Path) -> Module {
    let mut module: Module = file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module == ["lib"] || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// The modules that a file imports.
fn imports(module: &Module, text: &str, modules: &BTreeMap<Module, &PathBuf>) -> BTreeSet<Module> {
    let mut paths = Vec::new();
    let mut rest = String::new();
    // Statements end with a semicolon; a `use` is expanded, and everything else is searched for inline paths.
    for statement in code(text).split_inclusive(';') {
        match statement.find("use ").filter(|at| is_use(&statement[..*at])) {
            // What the root exports again, it does not use.
            Some(at) if module.is_empty() && statement[..at].trim_end().ends_with("pub") => {}
            Some(at) => {
                rest.push_str(&statement[..at]);
                expand("", statement[at + 4..].trim_end_matches(';'), &mut paths);
            }
            None => rest.push_str(statement),
        }
    }
    let part_of_path = |c: char| !c.is_alphanumeric() && c != '_' && c != ':';
    paths.extend(rest.split(part_of_path).filter(|word| word.contains("::")).map(str::to_owned));
    paths.iter().filter_map(|path| resolve(module, path, modules)).filter(|found| found != module).collect()
}

/// Whether `use` stands at the beginning of a line, perhaps behind a visibility.
fn is_use(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default().trim();
    line.is_empty() || line == "pub" || (line.starts_with("pub(") && line.ends_with(')'))
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..tests]
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .fold(String::new(), |all, line| all + line + "\n")
}

/// `a::{b, c::{self, d}}` as `a::b`, `a::c::self` and `a::c::d`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, list)) = tree.split_once('{') else {
        return paths.push(format!("{prefix}{}", tree.split(" as ").next().unwrap_or_default().trim()));
    };
    let list = list.rsplit_once('}').map_or(list, |(list, _)| list);
    let (mut depth, mut from) = (0, 0);
    for (at, c) in list.char_indices().chain([(list.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&format!("{prefix}{}", head.trim()), list[from..at].trim(), paths);
                from = at + 1;
            }
            _ => {}
        }
    }
}

/// The module with a file that a path in `module` leads into; none for paths into other crates.
fn resolve(module: &Module, path: &str, modules: &BTreeMap<Module, &PathBuf>) -> Option<Module> {
    let mut words = path.split("::").peekable();
    let mut base = module.clone();
    match *words.peek()? {
        "crate" => base.clear(),
        "super" | "self" => {}
        // The root names its modules without a prefix.
        first if module.is_empty() && modules.contains_key([first.to_owned()].as_slice()) => {}
        _ => return None,
    }
    for word in words {
        match word {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            word => {
                base.push(word.to_owned());
                if !modules.contains_key(&base) {
                    base.pop();
                    break;
                }
            }
        }
    }
    modules.contains_key(&base).then_some(base)
}
