//! Compares what a component imports with what it says it wants and with what it is granted, and says the difference.
//!
//! It says what may be linked, and links nothing.

use std::collections::BTreeSet;

use crate::code::contract::{ComponentShape, Contract, ContractError, PACKAGE, another};
use crate::code::metadata::Metadata;
use crate::config::Grant;

/// The word of a `grant` that an import needs; None: the import needs no grant, or no grant helps.
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
    /// It imports wasi:filesystem and does not say that it wants files.
    sealed_files: bool,
}

/// What a component asks for. It asks for what it imports. If it says what it wants, both must be the same, in both
/// directions: an operator reads the one and gets the other.
///
/// There are two exceptions, both for interfaces that every program built for WASI imports, used or not. Clocks and
/// randomness work without a grant (they are derived from the call), so a component need not ask for them. A component
/// that does not ask for files gets wasi:filesystem without any directory, whatever is granted.
pub(crate) fn requested(metadata: Option<&Metadata>, shape: &ComponentShape) -> Result<Requested, ContractError> {
    let mut words: Vec<_> = shape.imports.iter().filter_map(|import| capability(import)).collect();
    words.sort_unstable();
    words.dedup();
    let Some(metadata) = metadata else { return Ok(Requested { words, sealed_files: false }) };
    let declared: BTreeSet<&str> = metadata
        .capabilities
        .iter()
        .map(|word| capability(word).unwrap_or(word))
        .filter(|word| *word != "log")
        .collect();
    let undeclared: Vec<_> = words
        .iter()
        .copied()
        .filter(|word| !declared.contains(word) && !["files", "clock", "random"].contains(word))
        .collect();
    let imported = |word: &str| words.contains(&word) || shape.imports.iter().any(|import| import.starts_with(word));
    let unused: Vec<_> = declared.iter().copied().filter(|word| !imported(word)).collect();
    let mut problems = Vec::new();
    if !undeclared.is_empty() {
        problems.push(format!("it imports {} and does not say so", undeclared.join(", ")));
    }
    if !unused.is_empty() {
        problems.push(format!("it says it wants {} and does not import it", unused.join(", ")));
    }
    if !problems.is_empty() {
        let right: Vec<_> = std::iter::once("log")
            .chain(words.iter().copied().filter(|word| declared.contains(word) || undeclared.contains(word)))
            .map(|word| format!("\"{word}\""))
            .collect();
        return Err(ContractError::Capabilities { problems, right });
    }
    let sealed_files = words.contains(&"files") && !declared.contains("files");
    words.retain(|word| !sealed_files || *word != "files");
    Ok(Requested { words, sealed_files })
}

impl Requested {
    /// The part of a grant that the plug-in asked for.
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

/// The words for the capabilities in a grant.
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

/// Whether WASI has to be linked. The error names every refused import, and what would allow it.
pub(crate) fn imports(shape: &ComponentShape, contract: &Contract, grant: &Grant) -> Result<bool, Vec<String>> {
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
pub(crate) fn ungrantable(shape: &ComponentShape, contract: &Contract) -> Vec<String> {
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

/// Whether an import that may be linked is part of WASI. The error says why it may not be linked.
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
    use crate::code::contract::EXAMPLE;

    #[test]
    fn only_what_is_granted_may_be_imported() {
        let (contract, none) = (&EXAMPLE, Grant::default());
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

    fn shape(imports: &[&str]) -> ComponentShape {
        ComponentShape { imports: imports.iter().map(|&name| name.to_owned()).collect(), exports: Vec::new() }
    }

    #[test]
    fn what_is_said_and_what_is_imported_must_be_the_same() {
        let all = [
            "heald:plugin/log@0.1.0",
            "heald:plugin/kv@0.1.0",
            "wasi:filesystem/types@0.2.6",
            "wasi:clocks/wall-clock@0.2.6",
        ];
        let ask = |declared: &[&str], imports: &[&str]| {
            let capabilities = declared.iter().map(|&word| word.to_owned()).collect();
            requested(Some(&Metadata { capabilities, ..Metadata::default() }), &shape(imports))
        };
        assert_eq!(ask(&["log", "kv", "wasi:filesystem"], &all).unwrap().words, ["clock", "files", "kv"]);
        assert_eq!(requested(None, &shape(&all)).unwrap().words, ["clock", "files", "kv"]);
        let undeclared = ask(&["log"], &all).unwrap_err().to_string();
        assert!(undeclared.contains("it imports kv and does not say so"), "{undeclared}");
        assert!(undeclared.contains("[\"log\", \"kv\"]"), "{undeclared}");
        let unused = ask(&["process", "kv", "telepathy"], &all).unwrap_err().to_string();
        assert!(unused.contains("it says it wants process, telepathy and does not import it"), "{unused}");
    }

    #[test]
    fn who_does_not_ask_for_files_gets_an_interface_with_none_in_it() {
        let imported = ["wasi:filesystem/types@0.2.6", "wasi:random/random@0.2.6"];
        let sealed = requested(Some(&Metadata::default()), &shape(&imported)).unwrap();
        assert_eq!(sealed.words, ["random"]);
        let grant: Grant =
            serde_json::from_value(serde_json::json!({"files": ["/etc"], "kv": true, "random": true})).unwrap();
        let given = sealed.of(&grant);
        assert_eq!(given, Grant { files: Some(Vec::new()), random: true, ..Grant::default() });
        assert_eq!(words(&given), ["random"]);
        assert!(imports(&shape(&imported), &EXAMPLE, &sealed.of(&Grant::default())).is_ok());
        // One that says nothing at all might want them.
        let silent = requested(None, &shape(&imported)).unwrap();
        assert_eq!(words(&silent.of(&grant)), ["files", "random"]);
        assert!(imports(&shape(&imported), &EXAMPLE, &silent.of(&Grant::default())).is_err());
    }
}
