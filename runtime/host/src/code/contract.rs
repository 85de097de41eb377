//! Compares what a component imports and exports with what heald offers and calls, and says the difference.
//!
//! wasmtime would find most of it, later and in other words: it names the first missing function, not the capability, and
//! links an empty interface of another version without a murmur.

use std::collections::BTreeSet;
use std::fmt;

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::code::metadata::Metadata;
use crate::config::Grant;
use crate::versions::{Adapter, Spoken};

/// How the names of the contract's interfaces begin.
const PACKAGE: &str = "heald:plugin/";

/// What a plug-in can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// From samples to findings.
    Detector,
    /// From an incident to a decision.
    Policy,
    /// From a permit to a deed.
    Action,
}

impl Role {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Policy => "policy",
            Self::Action => "action",
        }
    }

    /// The interface that makes a component one, whatever its version.
    const fn interface(self) -> &'static str {
        match self {
            Self::Detector => "heald:plugin/detect",
            Self::Policy => "heald:plugin/decide",
            Self::Action => "heald:plugin/act",
        }
    }
}

/// What one version of the contract has, by name.
#[derive(Debug)]
pub(crate) struct Contract {
    pub(crate) version: &'static str,
    /// The interfaces that a component may import.
    pub(crate) imports: &'static [&'static str],
    /// The roles that a component may have, and the functions that it then must export.
    pub(crate) exports: &'static [(Role, &'static [&'static str])],
}

impl Contract {
    /// The whole name of the interface that makes a component a detector, a policy or actions.
    pub(crate) fn interface(&self, role: Role) -> String {
        format!("{}@{}", role.interface(), self.version)
    }

    /// The roles that a component has in this version; empty: it does not speak it.
    fn roles(&self, shape: &Shape) -> Result<Vec<Role>, String> {
        let mut roles = Vec::new();
        for Export { name, functions } in &shape.exports {
            let Some((role, wanted)) = self.exports.iter().find(|(role, _)| self.interface(*role) == *name) else {
                continue;
            };
            let functions = functions.as_ref().ok_or_else(|| format!("{name} is exported, but is no interface"))?;
            let missing: Vec<_> =
                wanted.iter().filter(|wanted| !functions.iter().any(|known| known == *wanted)).collect();
            if !missing.is_empty() {
                let missing: Vec<_> = missing.into_iter().map(|name| format!("`{name}`")).collect();
                return Err(format!("{name} is exported without {}; {}", missing.join(", "), rebuild(self.version)));
            }
            roles.push(*role);
        }
        Ok(roles)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a component imports and exports, by name: all that the contract is judged by before a type is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<Export>,
}

/// One export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Export {
    pub(crate) name: String,
    /// The functions of an interface; None: it is something else.
    pub(crate) functions: Option<Vec<String>>,
}

impl Shape {
    /// Of what was compiled.
    pub(crate) fn of(engine: &Engine, component: &Component) -> Self {
        let ty = component.component_type();
        let export = |(name, export): (&str, wasmtime::component::types::ComponentExtern)| {
            let functions = match export.ty {
                ComponentItem::ComponentInstance(instance) => {
                    Some(instance.exports(engine).map(|(function, _)| function.to_owned()).collect())
                }
                _ => None,
            };
            Export { name: name.to_owned(), functions }
        };
        Self {
            imports: ty.imports(engine).map(|(name, _)| name.to_owned()).collect(),
            exports: ty.exports(engine).map(export).collect(),
        }
    }
}

/// The adapter of the version that a component speaks, and the roles it has in it, by its exports; should it speak several, the
/// newest counts. The error compares what is wanted with what is there, and says what to do.
pub(crate) fn spoken(shape: &Shape, spoken: Spoken) -> Result<(&'static dyn Adapter, Vec<Role>), String> {
    for adapter in spoken {
        let roles = adapter.contract().roles(shape)?;
        if !roles.is_empty() {
            return Ok((*adapter, roles));
        }
    }
    let newest = spoken.first().map(|adapter| adapter.contract());
    let version = newest.map_or("", |newest| newest.version);
    let exports: Vec<_> = shape.exports.iter().map(|export| export.name.as_str()).collect();
    let there = match exports.iter().find(|name| name.starts_with(PACKAGE)) {
        Some(other) => {
            let (_, theirs) = other.split_once('@').unwrap_or((other, ""));
            format!("it exports {other}, which is not spoken here: {}", another(theirs, version))
        }
        None if exports.is_empty() => format!("it exports nothing: it is no plug-in; {}", rebuild(version)),
        None => {
            let exports = exports.join(", ");
            format!("it exports {exports}: it is no plug-in, or one for something else; {}", rebuild(version))
        }
    };
    let contracts = spoken.iter().map(|adapter| adapter.contract());
    let wanted: Vec<_> =
        contracts.flat_map(|contract| contract.exports.iter().map(|(role, _)| contract.interface(*role))).collect();
    Err(format!("{there}; wanted is one of {}", wanted.join(", ")))
}

/// What helps a component whose exports are not the contract's.
fn rebuild(version: &str) -> String {
    format!(
        "build it for the world `detector`, `policy` or `action` of heald:plugin@{version} (`heald plugin new` shows how)"
    )
}

/// What helps a component of another version of the contract.
fn another(theirs: &str, ours: &str) -> String {
    let order = |version: &str| {
        let mut numbers = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or_default());
        [(); 3].map(|()| numbers.next().unwrap_or_default())
    };
    if order(theirs) > order(ours) {
        format!("it was built for a newer heald; update heald, or build it with an SDK for heald:plugin@{ours}")
    } else {
        format!("it was built for an older contract; build it again with an SDK for heald:plugin@{ours}")
    }
}

/// The word by which something is granted that stands behind an import; None: it needs no grant, or none would help.
fn capability(import: &str) -> Option<&'static str> {
    let (interface, _) = import.split_once('@').unwrap_or((import, ""));
    let (package, _) = interface.split_once('/').unwrap_or((interface, ""));
    match (interface, package) {
        ("heald:plugin/kv", _) => Some("kv"),
        ("heald:plugin/process", _) => Some("process"),
        ("heald:plugin/process-control", _) => Some("process-control"),
        (_, "wasi:http") => Some("http"),
        (_, "wasi:filesystem") => Some("files"),
        (_, "wasi:clocks") => Some("clock"),
        (_, "wasi:random") => Some("random"),
        _ => None,
    }
}

/// What a plug-in asks to be granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requested {
    /// In the words of [`Grant`]: `http`, `files`, `kv`, `process`, `process-control`, `clock`, `random`.
    pub(crate) words: Vec<&'static str>,
    /// It imports wasi:filesystem and says that it does not want any file.
    sealed_files: bool,
}

/// What a component asks for: what it imports. If it says what it wants, that has to be the same, in both directions, and so do the
/// roles it says it has: an operator reads the one and gets the other.
///
/// There are two exceptions, both for what every program built for WASI imports whether it uses it or not. Clocks and randomness are
/// there without a grant (they stand still and are loaded), so they need not be said. And a component that does not say it wants
/// files gets wasi:filesystem with no directory in it, whatever is granted.
pub(crate) fn requested(metadata: Option<&Metadata>, shape: &Shape) -> Result<Requested, String> {
    let mut words: Vec<_> = shape.imports.iter().filter_map(|import| capability(import)).collect();
    words.sort_unstable();
    words.dedup();
    let Some(metadata) = metadata else { return Ok(Requested { words, sealed_files: false }) };
    let said: BTreeSet<&str> = metadata
        .capabilities
        .iter()
        .map(|word| capability(word).unwrap_or(word))
        .filter(|word| *word != "log")
        .collect();
    let unsaid: Vec<_> = words
        .iter()
        .copied()
        .filter(|word| !said.contains(word) && !["files", "clock", "random"].contains(word))
        .collect();
    let imported = |word: &str| words.contains(&word) || shape.imports.iter().any(|import| import.starts_with(word));
    let unmeant: Vec<_> = said.iter().copied().filter(|word| !imported(word)).collect();
    let mut problems = Vec::new();
    if !unsaid.is_empty() {
        problems.push(format!("it imports {} and does not say so", unsaid.join(", ")));
    }
    if !unmeant.is_empty() {
        problems.push(format!("it says it wants {} and does not import it", unmeant.join(", ")));
    }
    if !problems.is_empty() {
        let right: Vec<_> = std::iter::once("log")
            .chain(words.iter().copied().filter(|word| said.contains(word) || unsaid.contains(word)))
            .map(|word| format!("\"{word}\""))
            .collect();
        return Err(format!(
            "what it says of itself and what it imports disagree: {}; build it with `capabilities` [{}]",
            problems.join(", and "),
            right.join(", ")
        ));
    }
    let sealed_files = words.contains(&"files") && !said.contains("files");
    words.retain(|word| !sealed_files || *word != "files");
    Ok(Requested { words, sealed_files })
}

/// Whether the roles that a component says it has are those it has.
pub(crate) fn agree(metadata: &Metadata, roles: &[Role]) -> Result<(), String> {
    let said: BTreeSet<_> = metadata.roles.iter().map(String::as_str).collect();
    let are: BTreeSet<_> = roles.iter().map(|role| role.as_str()).collect();
    if said.is_empty() || said == are {
        return Ok(());
    }
    let list = |roles: BTreeSet<&str>| roles.into_iter().collect::<Vec<_>>().join(" and ");
    Err(format!("it says it is a {} and exports a {}; build it again", list(said), list(are)))
}

impl Requested {
    /// What of a grant the plug-in gets: nothing that it did not ask for.
    pub(crate) fn of(&self, grant: &Grant) -> Grant {
        let wants = |word: &str| self.words.contains(&word);
        Grant {
            http: grant.http.clone().filter(|_| wants("http")),
            kv: grant.kv && wants("kv"),
            process: grant.process && wants("process"),
            process_control: grant.process_control && wants("process-control"),
            files: if self.sealed_files { Some(Vec::new()) } else { grant.files.clone().filter(|_| wants("files")) },
            clock: grant.clock && wants("clock"),
            random: grant.random && wants("random"),
        }
    }
}

/// The words for what is in a grant.
pub(crate) fn words(grant: &Grant) -> Vec<&'static str> {
    let Grant { http, kv, process, process_control, files, clock, random } = grant;
    let each = [
        (*clock, "clock"),
        (files.as_ref().is_some_and(|files| !files.is_empty()), "files"),
        (http.is_some(), "http"),
        (*kv, "kv"),
        (*process, "process"),
        (*process_control, "process-control"),
        (*random, "random"),
    ];
    each.into_iter().filter(|(granted, _)| *granted).map(|(_, word)| word).collect()
}

/// Whether any of WASI has to be linked; the error names every import that is refused, and what would allow it.
pub(crate) fn imports(shape: &Shape, contract: &Contract, grant: &Grant) -> Result<bool, Vec<String>> {
    let mut wasi = false;
    let mut refused = Vec::new();
    for name in &shape.imports {
        match judge(name, contract, grant) {
            Ok(is_wasi) => wasi |= is_wasi,
            Err(why) => refused.push(format!("{name} ({why})")),
        }
    }
    if refused.is_empty() { Ok(wasi) } else { Err(refused) }
}

/// The imports that no grant would allow.
pub(crate) fn ungrantable(shape: &Shape, contract: &Contract) -> Vec<String> {
    let everything = Grant {
        http: Some(Vec::new()),
        kv: true,
        process: true,
        process_control: true,
        files: Some(Vec::new()),
        clock: true,
        random: true,
    };
    imports(shape, contract, &everything).err().unwrap_or_default()
}

/// True if it may be linked and is of WASI.
fn judge(import: &str, contract: &Contract, grant: &Grant) -> Result<bool, String> {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    if let Some(interface) = interface.strip_prefix(PACKAGE) {
        return match interface {
            _ if version != contract.version => Err(format!(
                "wanted is {PACKAGE}{interface}@{}: {}",
                contract.version,
                another(version, contract.version)
            )),
            _ if !contract.imports.contains(&interface) => {
                Err(format!("heald:plugin@{version} has no such interface to import"))
            }
            "log" | "types" => Ok(false),
            "kv" if grant.kv => Ok(false),
            "process" if grant.process => Ok(false),
            "process-control" if grant.process_control => Ok(false),
            "kv" => Err("not granted; `grant.kv = true` in its [[plugin]] table grants it".to_owned()),
            "process" => Err("not granted; `grant.process = true` in its [[plugin]] table grants it".to_owned()),
            "process-control" => {
                Err("not granted; `grant.process_control = true` in its [[plugin]] table grants it".to_owned())
            }
            _ => Err("this heald does not offer it".to_owned()),
        };
    }
    let Some(interface) = interface.strip_prefix("wasi:") else {
        return Err("this heald does not know it".to_owned());
    };
    if version != "0.2" && !version.starts_with("0.2.") {
        return Err("this heald offers WASI 0.2".to_owned());
    }
    match interface.split_once('/').unwrap_or((interface, "")) {
        ("io" | "cli" | "random", _) | ("clocks", "wall-clock" | "monotonic-clock") => Ok(true),
        ("filesystem", _) if grant.files.is_some() => Ok(true),
        ("filesystem", _) => Err("not granted; `grant.files = [\"/a/directory\"]` in its [[plugin]] table grants a \
                                  directory, `grant.files = []` the interface without any"
            .to_owned()),
        ("http", "types" | "outgoing-handler") if grant.http.is_some() => Ok(true),
        ("http", "types" | "outgoing-handler") => Err("not granted; `grant.http = [\"host.example.com\"]` in its \
                                                       [[plugin]] table grants a host, `grant.http = []` the interface \
                                                       without any"
            .to_owned()),
        _ => Err("this heald does not offer it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versions::SPOKEN;

    fn newest() -> &'static Contract {
        SPOKEN[0].contract()
    }

    #[test]
    fn only_what_is_granted_may_be_imported() {
        let (contract, none) = (newest(), Grant::default());
        let files = Grant { files: Some(Vec::new()), ..Grant::default() };
        for free in ["heald:plugin/log@0.1.0", "heald:plugin/types@0.1.0"] {
            assert_eq!(judge(free, contract, &none), Ok(false));
        }
        for sealed in
            ["wasi:io/poll@0.2.6", "wasi:cli/stdout@0.2.0", "wasi:clocks/wall-clock@0.2.9", "wasi:random/random@0.2.3"]
        {
            assert_eq!(judge(sealed, contract, &none), Ok(true), "{sealed}");
        }
        assert_eq!(judge("wasi:filesystem/types@0.2.6", contract, &files), Ok(true));
        for refused in [
            "wasi:filesystem/types@0.2.6",
            "wasi:sockets/tcp@0.2.6",
            "wasi:http/outgoing-handler@0.2.6",
            "wasi:io/poll@0.3.0",
            "heald:plugin/kv@0.1.0",
            "heald:plugin/log@0.2.0",
            "heald:plugin/log",
            "env",
        ] {
            assert!(judge(refused, contract, &none).is_err(), "{refused}");
        }
    }

    fn shape(imports: &[&str], exports: &[(&str, &[&str])]) -> Shape {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let export = |(name, functions): &(&str, &[&str])| Export {
            name: (*name).to_owned(),
            functions: Some(owned(functions)),
        };
        Shape { imports: owned(imports), exports: exports.iter().map(export).collect() }
    }

    #[test]
    fn another_world_and_another_version_are_told_apart_with_what_to_do() {
        let judged = |exports: &[(&str, &[&str])]| spoken(&shape(&[], exports), SPOKEN).map(|(_, roles)| roles);
        let whole: &[&str] = &["configure", "describe", "decide"];
        assert_eq!(judged(&[("heald:plugin/decide@0.1.0", whole)]), Ok(vec![Role::Policy]));
        for (exports, words) in [
            (vec![("heald:plugin/detect@0.9.0", whole)], ["heald:plugin/detect@0.9.0", "update heald"]),
            (vec![("heald:plugin/detect@0.0.3", whole)], ["heald:plugin/detect@0.0.3", "build it again"]),
            (vec![("a:b/c@1.0.0", whole), ("run", whole)], ["a:b/c@1.0.0, run", "heald plugin new"]),
            (vec![], ["exports nothing", "heald plugin new"]),
            (vec![("heald:plugin/detect@0.1.0", whole)], ["without `evaluate`", "heald:plugin@0.1.0"]),
        ] {
            let problem = judged(&exports).unwrap_err();
            assert!(words.iter().all(|word| problem.contains(word)), "{problem}");
        }
    }

    #[test]
    fn what_is_said_and_what_is_imported_must_be_the_same() {
        let all = [
            "heald:plugin/log@0.1.0",
            "heald:plugin/kv@0.1.0",
            "wasi:filesystem/types@0.2.6",
            "wasi:clocks/wall-clock@0.2.6",
        ];
        let ask = |said: &[&str], imports: &[&str]| {
            let capabilities = said.iter().map(|&word| word.to_owned()).collect();
            requested(Some(&Metadata { capabilities, ..Metadata::default() }), &shape(imports, &[]))
        };
        assert_eq!(ask(&["log", "kv", "wasi:filesystem"], &all).unwrap().words, ["clock", "files", "kv"]);
        assert_eq!(requested(None, &shape(&all, &[])).unwrap().words, ["clock", "files", "kv"]);
        let undeclared = ask(&["log"], &all).unwrap_err();
        assert!(undeclared.contains("it imports kv and does not say so"), "{undeclared}");
        assert!(undeclared.contains("[\"log\", \"kv\"]"), "{undeclared}");
        let unused = ask(&["process", "kv", "telepathy"], &all).unwrap_err();
        assert!(unused.contains("it says it wants process, telepathy and does not import it"), "{unused}");
    }

    #[test]
    fn who_does_not_ask_for_files_gets_an_interface_with_none_in_it() {
        let imports = ["wasi:filesystem/types@0.2.6", "wasi:random/random@0.2.6"];
        let sealed = requested(Some(&Metadata::default()), &shape(&imports, &[])).unwrap();
        assert_eq!(sealed.words, ["random"]);
        let grant: Grant =
            serde_json::from_value(serde_json::json!({"files": ["/etc"], "kv": true, "random": true})).unwrap();
        let given = sealed.of(&grant);
        assert_eq!(given, Grant { files: Some(Vec::new()), random: true, ..Grant::default() });
        assert_eq!(words(&given), ["random"]);
        assert!(super::imports(&shape(&imports, &[]), newest(), &sealed.of(&Grant::default())).is_ok());
        // One that says nothing at all might want them.
        let silent = requested(None, &shape(&imports, &[])).unwrap();
        assert_eq!(words(&silent.of(&grant)), ["files", "random"]);
        assert!(super::imports(&shape(&imports, &[]), newest(), &silent.of(&Grant::default())).is_err());
    }
}
