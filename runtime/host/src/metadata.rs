//! What a plug-in's file says of itself, read without running or compiling it: the custom section `heald:plugin`.
//!
//! It is a claim, and so only ever used to say something or to suggest something; a file without it works as well.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The custom section's name.
const SECTION: &[u8] = b"heald:plugin";

/// A plug-in's word about itself. A field that is unknown is skipped: a newer SDK may say more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Its name, usually the crate's.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One line on what it does.
    pub summary: String,
    /// `detector`, `policy`, `action`; usually one.
    pub roles: Vec<String>,
    /// The JSON Schema of its configuration.
    pub config: Value,
    /// What it asks to be granted.
    pub capabilities: Vec<String>,
    /// The limits it suggests.
    pub limits: Suggested,
}

/// Suggested limits; 0 suggests nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Suggested {
    /// Guest time for one call, in milliseconds.
    pub cpu_ms: u64,
    /// Memory, in MiB.
    pub memory_mib: u64,
}

impl Metadata {
    /// From the text of the section; what cannot be read says nothing.
    pub(crate) fn parse(text: &[u8]) -> Self {
        // In a component it is one object; a build that hoisted the lines of a core module as they were may leave several,
        // one per role.
        let mut said = serde_json::Deserializer::from_slice(text).into_iter::<Self>().map_while(Result::ok);
        let mut first = said.next().unwrap_or_default();
        for more in said {
            first.roles.extend(more.roles);
        }
        first
    }

    /// From a component's bytes.
    pub(crate) fn of(component: &[u8]) -> Self {
        section(component).map(Self::parse).unwrap_or_default()
    }
}

/// The contents of the section at the outermost level.
fn section(wasm: &[u8]) -> Option<&[u8]> {
    // A file is a header of eight bytes and then sections: an id, a length, so many bytes. Id 0 is a custom section, which
    // starts with its name.
    let mut rest = wasm.get(8..)?;
    while let Some((id, after)) = rest.split_first() {
        let (contents, after) = sized(after)?;
        if *id == 0 {
            let (name, data) = sized(contents)?;
            if name == SECTION {
                return Some(data);
            }
        }
        rest = after;
    }
    None
}

/// A length in LEB128, so many bytes, and what follows them.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_u64;
    // A u32 takes five bytes at most.
    for (index, byte) in bytes.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..)?.split_at_checked(usize::try_from(length).ok()?);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(name: &[u8], data: &[u8]) -> Vec<u8> {
        let mut section =
            vec![0, u8::try_from(1 + name.len() + data.len()).unwrap(), u8::try_from(name.len()).unwrap()];
        section.extend_from_slice(name);
        section.extend_from_slice(data);
        section
    }

    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn the_section_is_found_behind_others() {
        let json = br#"{"name":"x","version":"1.2.3","roles":["detector"],"limits":{"cpu_ms":5},"later":1}"#;
        let file = [HEADER, &custom(b"other", b"zzz"), &custom(SECTION, json)].concat();
        let said = Metadata::of(&file);
        assert_eq!((said.name.as_str(), said.version.as_str(), said.limits.cpu_ms), ("x", "1.2.3", 5));
    }

    #[test]
    fn a_file_that_says_nothing_or_nonsense_is_no_error() {
        let whole = [HEADER, &custom(SECTION, b"not json")].concat();
        assert_eq!(Metadata::of(&whole), Metadata::default());
        for length in 0..whole.len() {
            assert_eq!(Metadata::of(&whole[..length]), Metadata::default());
        }
        assert_eq!(Metadata::of(&[HEADER, &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 1]].concat()), Metadata::default());
    }

    #[test]
    fn several_lines_are_several_roles() {
        let said =
            Metadata::parse(b"{\"name\":\"x\",\"roles\":[\"detector\"]}\n{\"name\":\"x\",\"roles\":[\"policy\"]}\n");
        assert_eq!(said.roles, ["detector", "policy"]);
    }
}
