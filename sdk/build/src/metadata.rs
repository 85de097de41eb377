//! What a plug-in says of itself: the custom section [`SECTION`], at component level.
//!
//! In a core module it is one JSON object per role, a line each, as the SDK's macros write it. In a component it is one
//! object. It is a claim: nothing here checks it against the imports or the exports.

use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};

use crate::Error;

/// The custom section's name.
pub const SECTION: &str = "heald:plugin";

/// A plug-in's word about itself. Fields that are unknown are kept out, not refused: a newer SDK may say more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Its name, usually the crate's.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One line on what it does.
    #[serde(default)]
    pub summary: String,
    /// `detector`, `policy`, `action`; usually one.
    pub roles: Vec<String>,
    /// The JSON Schema of its configuration; `{}` allows anything.
    #[serde(default)]
    pub config: serde_json::Value,
    /// What it asks to be granted: `log`, `kv`, `wasi:filesystem`, ...
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// The limits it suggests.
    #[serde(default)]
    pub limits: Limits,
}

/// Suggested limits; 0 suggests nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Guest time for one call, in milliseconds.
    #[serde(default)]
    pub cpu_ms: u64,
    /// Memory, in MiB.
    #[serde(default)]
    pub memory_mib: u64,
}

/// What this component says of itself, read without running it.
pub fn metadata(component: &[u8]) -> Result<Metadata, Error> {
    parse(&section(component, Level::Component)?)?.ok_or(Error::NoMetadata)
}

/// Where a section may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Of the outermost component or module.
    Component,
    /// Of any core module within.
    Nested,
}

/// The bytes of the section at that level; empty if there is none.
pub(crate) fn section(wasm: &[u8], level: Level) -> Result<Vec<u8>, Error> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(Error::Wasm)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            // The outermost ends too; nothing follows it.
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(custom) if custom.name() == SECTION && (depth > 0) == (level == Level::Nested) => {
                found.extend_from_slice(custom.data());
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Joins the roles of one plug-in. None if nothing was said.
pub(crate) fn parse(said: &[u8]) -> Result<Option<Metadata>, Error> {
    let mut joined: Option<Metadata> = None;
    for line in serde_json::Deserializer::from_slice(said).into_iter::<Metadata>() {
        let line = line.map_err(Error::Metadata)?;
        match &mut joined {
            None => joined = Some(line),
            Some(joined) => join(joined, line)?,
        }
    }
    Ok(joined)
}

fn join(joined: &mut Metadata, line: Metadata) -> Result<(), Error> {
    for (same, what) in [
        (joined.name == line.name, "name"),
        (joined.version == line.version, "version"),
        (joined.config == line.config, "configuration"),
    ] {
        if !same {
            return Err(Error::Disagree(what));
        }
    }
    let join_words = |into: &mut Vec<String>, from: Vec<String>| {
        for word in from {
            if !into.contains(&word) {
                into.push(word);
            }
        }
    };
    join_words(&mut joined.roles, line.roles);
    join_words(&mut joined.capabilities, line.capabilities);
    joined.limits.cpu_ms = joined.limits.cpu_ms.max(line.limits.cpu_ms);
    joined.limits.memory_mib = joined.limits.memory_mib.max(line.limits.memory_mib);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETECTOR: &str = r#"{"name":"a","version":"1","roles":["detector"],"capabilities":["log"]}"#;

    #[test]
    fn roles_of_one_plugin_are_joined() {
        let policy = DETECTOR.replace("detector", "policy").replace("[\"log\"]", "[\"log\",\"kv\"]");
        let joined = parse(format!("{DETECTOR}\n{policy}\n").as_bytes()).unwrap().unwrap();
        assert_eq!(joined.roles, ["detector", "policy"]);
        assert_eq!(joined.capabilities, ["log", "kv"]);
        assert_eq!(joined.limits, Limits::default());
    }

    #[test]
    fn roles_that_disagree_are_refused() {
        let other = DETECTOR.replace("\"1\"", "\"2\"");
        assert!(matches!(parse(format!("{DETECTOR}{other}").as_bytes()), Err(Error::Disagree("version"))));
    }

    #[test]
    fn what_is_no_wasm_or_says_nothing_is_told_apart() {
        assert!(matches!(metadata(b"hello"), Err(Error::Wasm(_))));
        assert!(matches!(metadata(b"\0asm\x0d\0\x01\0"), Err(Error::NoMetadata)));
    }
}
