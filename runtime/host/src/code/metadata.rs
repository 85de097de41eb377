//! Reads what a plug-in's file says of itself: the custom section `heald:plugin`. Nothing is run or compiled.
//!
//! What it says is a claim. Its roles and capabilities are compared with the exports and imports (see `contract` and
//! `imports`). The rest is shown, or taken as a suggestion. A file without the section works as well.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::code::section::sections;

/// The custom section's name.
pub(crate) const SECTION: &str = "heald:plugin";

/// Why the section cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The section is no JSON of the shape of [`Metadata`].
    // The text contains the cause, so the cause is no `source`: it would be printed twice.
    #[error("its section heald:plugin cannot be read: {0}")]
    Json(serde_json::Error),
}

/// What a plug-in says of itself. Unknown fields are skipped: a newer SDK may write more.
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
    /// What a component says of itself; None: it has no such section.
    ///
    /// # Errors
    /// When its section is no JSON of this shape.
    pub fn of(component: &[u8]) -> Result<Option<Self>, MetadataError> {
        let section = sections(component).find_map(|section| section.ok()?.custom(SECTION));
        section.map_or(Ok(None), Self::parse).map_err(MetadataError::Json)
    }

    /// Reads the text of the section.
    fn parse(text: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        // A component has one object here. A build that copied the lines of a core module may leave several, one for
        // each role.
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
        let metadata = Metadata::of(&file).unwrap().unwrap();
        assert_eq!((metadata.name.as_str(), metadata.version.as_str(), metadata.limits.cpu_ms), ("x", "1.2.3", 5));
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
        let metadata =
            Metadata::parse(b"{\"name\":\"x\",\"roles\":[\"detector\"]}\n{\"name\":\"x\",\"roles\":[\"policy\"]}\n");
        assert_eq!(metadata.unwrap().unwrap().roles, ["detector", "policy"]);
    }
}
