//! What a plug-in's file says of itself, read without running or compiling it: the custom section `heald:plugin`.
//!
//! It is a claim: roles and capabilities are compared with what the component exports and imports (`contract`), the rest is only ever
//! used to say something or to suggest something. A file without it works as well.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::code::section::sections;

/// The custom section's name.
pub(crate) const SECTION: &str = "heald:plugin";

/// Why a plug-in's word about itself cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The section is no JSON of the shape of [`Metadata`].
    // The cause is in the text: whoever prints the causes too would print it twice.
    #[error("its section heald:plugin cannot be read: {0}")]
    Json(serde_json::Error),
}

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
    /// What a component says of itself; None: nothing. Neither runs nor compiles it.
    ///
    /// # Errors
    /// When its section is no JSON of this shape.
    pub fn of(component: &[u8]) -> Result<Option<Self>, MetadataError> {
        let section = sections(component).find_map(|section| section.ok()?.custom(SECTION));
        section.map_or(Ok(None), Self::parse).map_err(MetadataError::Json)
    }

    /// From the text of the section.
    fn parse(text: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        // In a component it is one object; a build that hoisted the lines of a core module as they were may leave several,
        // one per role.
        let mut joined: Option<Self> = None;
        for line in serde_json::Deserializer::from_slice(text).into_iter::<Self>() {
            let line = line?;
            match &mut joined {
                None => joined = Some(line),
                Some(first) => {
                    first.roles.extend(line.roles);
                    first.capabilities.extend(line.capabilities);
                }
            }
        }
        Ok(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::code::section::encode;

    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn the_section_is_found_behind_others() {
        let json = br#"{"name":"x","version":"1.2.3","roles":["detector"],"limits":{"cpu_ms":5},"later":1}"#;
        let file = [HEADER, &encode("other", b"zzz"), &encode(SECTION, json)].concat();
        let said = Metadata::of(&file).unwrap().unwrap();
        assert_eq!((said.name.as_str(), said.version.as_str(), said.limits.cpu_ms), ("x", "1.2.3", 5));
    }

    #[test]
    fn saying_nothing_is_no_error_and_saying_nonsense_is_one() {
        let whole = [HEADER, &encode(SECTION, b"not json")].concat();
        assert!(Metadata::of(&whole).is_err());
        for length in 0..whole.len() {
            assert_eq!(Metadata::of(&whole[..length]).unwrap(), None);
        }
        assert!(Metadata::of(&[HEADER, &encode(SECTION, br#"{"roles":"detector"}"#)].concat()).is_err());
    }

    #[test]
    fn several_lines_are_several_roles() {
        let said =
            Metadata::parse(b"{\"name\":\"x\",\"roles\":[\"detector\"]}\n{\"name\":\"x\",\"roles\":[\"policy\"]}\n");
        assert_eq!(said.unwrap().unwrap().roles, ["detector", "policy"]);
    }
}
