//! What a later version may do to an earlier one that it claims to be compatible with.
//!
//! Nothing is removed and nothing is changed. An interface that guests import may gain functions and types, one that they export
//! gains nothing; a world that exports something gains nothing, and no world gains an export. New interfaces and worlds are free.
//! Everything that is new says since when.

use crate::items::{Item, Package, Version, text};

/// What is wrong with a contract, given what was released before it, and with what was released; empty: nothing.
pub(crate) fn broken(released: &[Package], current: &Package) -> Vec<String> {
    let mut broken = Vec::new();
    let all: Vec<_> = released.iter().chain([current]).collect();
    for package in &all {
        broken.extend(undated(package));
    }
    for earlier in &all {
        for later in &all {
            let same = std::ptr::eq(*earlier, *later);
            if !same && earlier.version <= later.version && track(earlier.version) == track(later.version) {
                // Of two with the same number, one was released: the other may not differ, seen from either.
                broken.extend(changes(earlier, later));
            }
        }
    }
    if let Some(newest) = released.iter().map(|package| package.version).max().filter(|v| *v > current.version) {
        broken.push(format!("wit/plugin.wit is {}, and {} is released", text(current.version), text(newest)));
    }
    broken
}

/// What versions that claim to be compatible have in common.
const fn track(version: Version) -> Version {
    match version {
        (0, 0, patch) => (0, 0, patch),
        (0, minor, _) => (0, minor, 0),
        (major, _, _) => (major, 0, 0),
    }
}

/// Every interface and every world has a `@since`.
fn undated(package: &Package) -> Vec<String> {
    let undated = package.items.iter().filter(|(_, item)| item.within.is_none() && item.since.is_none());
    undated.map(|(name, _)| format!("{} {}: {name}: has no @since", package.name, text(package.version))).collect()
}

fn changes(earlier: &Package, later: &Package) -> Vec<String> {
    let mut changes = Vec::new();
    let mut say = |name: &str, was: &str, is: &str| {
        let (name, package) = (name.to_owned(), &earlier.name);
        let versions = format!("{} to {}", text(earlier.version), text(later.version));
        changes.push(format!("{package} {versions}: {name}: was {was}, is {is}"));
    };
    let dated =
        |since: Option<Version>| since.map_or("no @since".to_owned(), |since| format!("@since {}", text(since)));
    for (name, was) in &earlier.items {
        match later.items.get(name) {
            // It goes with what it was in.
            None if was.within.as_ref().is_some_and(|place| !later.items.contains_key(place)) => {}
            None => say(name, &was.text, "gone"),
            Some(is) if is.text != was.text => say(name, &was.text, &is.text),
            Some(is) if is.since != was.since => say(name, &dated(was.since), &dated(is.since)),
            Some(_) => {}
        }
    }
    for (name, is) in later.items.iter().filter(|(name, _)| !earlier.items.contains_key(*name)) {
        let why = match &is.within {
            // What is in something new is new with it; a new field was told of with its record.
            Some(place) if !is_place(place) || !earlier.items.contains_key(place) => continue,
            _ if earlier.version == later.version => Some("a later version is needed for it"),
            place => refusal(earlier, later, name, is, place.as_deref()),
        };
        if let Some(why) = why {
            say(name, "not there", &format!("{} ({why})", is.text));
        }
    }
    changes
}

fn is_place(name: &str) -> bool {
    let parts = name.split(' ').count();
    parts == 2 && (name.starts_with("interface ") || name.starts_with("world "))
}

/// Why something may not be added in this place; None: it may.
fn refusal(earlier: &Package, later: &Package, name: &str, is: &Item, place: Option<&str>) -> Option<&'static str> {
    if let Some(place) = place {
        if earlier.exported.contains(place) || later.exported.contains(place) {
            return Some("guests export this interface: what comes later is an interface of its own");
        }
        if earlier.exporting.contains(place) {
            return Some("plug-ins are built for this world: what comes later is a world of its own");
        }
        if name.starts_with(&format!("{place} export ")) {
            return Some("a world never gains an export");
        }
    }
    match is.since {
        Some(since) if since > earlier.version => None,
        Some(_) => Some("its @since is that of a version that does not have it"),
        None => Some("it has no @since"),
    }
}

#[test]
fn each_forbidden_change_is_found_and_named() {
    for (was, is, words) in [
        ("ok: option<bool>", "ok: bool", "types.sample.ok: was option<bool>, is bool"),
        (
            "cpu: f64 }",
            "cpu: f64, memory: f64 }",
            "types.sample: was record { at, ok, cpu }, is record { at, ok, cpu, memory }",
        ),
        (
            "at: instant, ok: option<bool>,",
            "ok: option<bool>, at: instant,",
            "types.sample: was record { at, ok, cpu }, is record { ok, at, cpu }",
        ),
        (
            "enum severity { info, error }",
            "enum severity { info, warning, error }",
            "types.severity: was enum { info, error }, is enum { info, warning, error }",
        ),
        (
            "variant error { bad-state, other(string) }",
            "variant error { bad-state, other(string), late }",
            "types.error: was variant { bad-state, other }, is variant { bad-state, other, late }",
        ),
        ("other(string)", "other(u32)", "types.error.other: was string, is u32"),
        ("bad-state,", "bad-state(string),", "types.error.bad-state: was no payload, is string"),
        ("type instant = u64", "type instant = s64", "types.instant: was type = u64, is type = s64"),
        (
            "flags touch { start, stop }",
            "flags touch { start }",
            "types.touch: was flags { start, stop }, is flags { start }",
        ),
        (
            "enum severity { info, error }",
            "type severity = u32;",
            "types.severity: was enum { info, error }, is type = u32",
        ),
        (
            "get: func(key: string)",
            "get: func(name: string)",
            "kv.get: was func(key: string) -> result<_, types.error>, is func(name: string)",
        ),
        ("get: func(key: string) -> result<_, error>;", "get: func(key: string);", "is func(key: string)"),
        ("get: func", "get: async func", "is async func(key: string)"),
        (
            "get: func(key: string) -> result<_, error>;",
            "use types.{instant};",
            "kv.get: was func(key: string) -> result<_, types.error>, is gone",
        ),
        (
            "  evaluate: func",
            "  again: func();\n  evaluate: func",
            "detect.again: was not there, is func() (guests export this interface",
        ),
        (
            "record verdict",
            "record doubt { text: string }\n  record verdict",
            "detect.doubt: was not there, is record { text } (guests export",
        ),
        (
            "world detector { import log; export detect; }",
            "world detector { export detect; }",
            "world detector import log: was interface, is gone",
        ),
        (
            "world detector { import log; export detect; }",
            "world detector { import log; import kv; export detect; }",
            "world detector import kv: was not there, is interface (plug-ins are built",
        ),
        (
            "world detector { import log; export detect; }",
            "world detector { import log; }",
            "world detector export detect: was interface, is gone",
        ),
        (
            "world all { import log; import kv; }",
            "world all { import log; import kv; @since(version = 0.1.1) export tell: func(); }",
            "world all export tell: was not there, is func() (a world never gains an export)",
        ),
        ("@since(version = 0.1.0)\nworld all { import log; import kv; }", "", "world all: was world, is gone"),
        (
            "@since(version = 0.1.0)\ninterface kv",
            "@since(version = 0.1.1)\ninterface kv",
            "interface kv: was @since 0.1.0, is @since 0.1.1",
        ),
        ("@since(version = 0.1.0)\ninterface kv", "interface kv", "interface kv: has no @since"),
        (
            "get: func",
            "set: func(key: string);\n  get: func",
            "kv.set: was not there, is func(key: string) (it has no @since)",
        ),
        (
            "get: func",
            "@since(version = 0.1.0) set: func(key: string);\n  get: func",
            "kv.set: was not there, is func(key: string) (its @since is that of",
        ),
    ] {
        let found = pair("0.1.1", was, is).join("\n");
        assert!(found.contains(words), "{was} -> {is}:\nwanted {words}\nfound {found}");
    }
    let renamed = pair("0.1.1", "cpu: f64 }", "load: f64 }").join("\n");
    let whole = "was record { at, ok, cpu }, is record { at, ok, load }";
    assert!(renamed.contains(whole) && renamed.contains("types.sample.cpu: was f64, is gone"), "{renamed}");
}

#[test]
fn what_is_allowed_passes() {
    for (was, is) in [
        ("", ""),
        ("/// Of a service.", "/// Of one service, said better."),
        ("get: func", "@since(version = 0.1.1)\n  set: func(key: string);\n  get: func"),
        ("get: func", "@since(version = 0.1.1)\n  record page { keys: list<string> }\n  get: func"),
        ("interface types {", "interface types {\n  @since(version = 0.1.1)\n  record page { keys: list<string> }"),
        (
            "@since(version = 0.1.0)\nworld all",
            "@since(version = 0.1.1)\ninterface explain { explain: func() -> string; }\n@since(version = 0.1.0)\nworld all",
        ),
        (
            "@since(version = 0.1.0)\nworld all",
            "@since(version = 0.1.1)\nworld explainer { export detect; }\n@since(version = 0.1.0)\nworld all",
        ),
        (
            "world all { import log; import kv; }",
            "world all { import log; import kv; @since(version = 0.1.1) import more; }\n@since(version = 0.1.1) interface more { more: func(); }",
        ),
    ] {
        assert_eq!(pair("0.1.1", was, is), Vec::<String>::new(), "{was} -> {is}");
    }
    // Another track claims nothing; adapters and golden components keep the old one alive.
    assert_eq!(pair("0.2.0", "ok: option<bool>", "ok: bool"), Vec::<String>::new());
    assert!(!pair("0.1.9", "ok: option<bool>", "ok: bool").is_empty());
}

#[test]
fn every_later_version_is_held_to_every_earlier_one() {
    let made = |version: &str, was: &str, is: &str| contract(version, was, is);
    let first = made("0.1.0", "", "");
    let set = |sort| format!("@since(version = 0.1.1)\n  set: func(key: {sort});\n  get: func");
    let second = made("0.1.1", "get: func", &set("string"));
    // What only the second version has is promised as well, and what was released cannot be mended.
    let current = made("0.1.2", "get: func", &set("u32"));
    let found = broken(&[first, second], &current).join("\n");
    assert_eq!(found, "heald:plugin 0.1.1 to 0.1.2: kv.set: was func(key: string), is func(key: u32)");
    let found = broken(&[made("0.1.0", "", ""), made("0.1.1", "ok: option<bool>", "ok: bool")], &made("0.2.0", "", ""));
    assert_eq!(found, ["heald:plugin 0.1.0 to 0.1.1: types.sample.ok: was option<bool>, is bool"]);
    let found = broken(&[made("0.1.3", "", "")], &made("0.1.2", "", ""));
    assert_eq!(found, ["wit/plugin.wit is 0.1.2, and 0.1.3 is released"]);
}

#[test]
fn a_released_version_is_not_worked_on() {
    let set = "@since(version = 0.1.0)\n  set: func();\n  get: func";
    let found = pair("0.1.0", "get: func", set).join("\n");
    assert!(found.contains("kv.set: was not there, is func() (a later version is needed for it)"), "{found}");
    assert_eq!(pair("0.1.0", "/// Of a service.", "/// Of one service."), Vec::<String>::new());
}

/// What is broken when 0.1.0 is followed by this version with one change.
#[cfg(test)]
fn pair(version: &str, was: &str, is: &str) -> Vec<String> {
    broken(&[contract("0.1.0", "", "")], &contract(version, was, is))
}

/// A small contract, with one change.
#[cfg(test)]
fn contract(version: &str, was: &str, is: &str) -> Package {
    let base = "
@since(version = 0.1.0)
interface types {
  type instant = u64;
  /// Of a service.
  record sample { at: instant, ok: option<bool>, cpu: f64 }
  enum severity { info, error }
  flags touch { start, stop }
  variant error { bad-state, other(string) }
}
@since(version = 0.1.0)
interface log { write: func(message: string); }
@since(version = 0.1.0)
interface kv {
  use types.{error};
  get: func(key: string) -> result<_, error>;
}
@since(version = 0.1.0)
interface detect {
  use types.{sample, error};
  record verdict { found: list<string> }
  evaluate: func(input: list<sample>) -> result<verdict, error>;
}
@since(version = 0.1.0)
world detector { import log; export detect; }
@since(version = 0.1.0)
world all { import log; import kv; }
";
    assert!(base.contains(was), "{was}");
    let wit = format!("package heald:plugin@{version};\n{}", base.replacen(was, is, 1));
    Package::parse(&wit).unwrap_or_else(|error| panic!("{error}\n{wit}"))
}
