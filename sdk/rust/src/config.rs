//! From the operator's JSON to the author's type. What does not fit is refused with a JSON Pointer to the place.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_path_to_error::{Path, Segment};

use crate::{Problem, Severity};

/// Written as its name.
impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        const NAMES: [&str; 4] = ["info", "warning", "error", "critical"];
        let name = String::deserialize(source)?;
        let all = [Self::Info, Self::Warning, Self::Error, Self::Critical];
        all.into_iter().find(|each| each.name() == name).ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
    }
}

/// Reads one JSON value into `T`.
pub(crate) fn read<T: DeserializeOwned>(json: &str) -> Result<T, Vec<Problem>> {
    let mut source = serde_json::Deserializer::from_str(json);
    let value = serde_path_to_error::deserialize(&mut source).map_err(|error| {
        let at = pointer(error.path());
        vec![Problem { at, message: bare(&error.into_inner()) }]
    })?;
    source.end().map_err(|error| vec![Problem::at("", error.to_string())])?;
    Ok(value)
}

/// RFC 6901. A field that is unknown ends the path with its own name, which is where the operator should look.
fn pointer(path: &Path) -> String {
    let mut at = String::new();
    for segment in path {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        at.push('/');
        at.push_str(&part);
    }
    at
}

/// The message without serde_json's line and column: the host re-serialised the operator's file, so they would mislead.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if error.classify() != serde_json::error::Category::Data {
        return text;
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        #[allow(dead_code)]
        limit: f64,
    }
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[allow(dead_code)]
        rules: BTreeMap<String, Vec<Rule>>,
    }

    fn refused(json: &str) -> (String, String) {
        let problems = read::<Config>(json).unwrap_err();
        (problems[0].at.clone(), problems[0].message.clone())
    }

    #[test]
    fn what_fits_is_read() {
        assert!(read::<Config>(r#"{"rules":{"a":[{"limit":1}]}}"#).is_ok());
    }

    #[test]
    fn the_pointer_leads_to_the_place() {
        let (at, message) = refused(r#"{"rules":{"a/b~":[{"limit":1},{"limit":"much"}]}}"#);
        assert_eq!(at, "/rules/a~1b~0/1/limit");
        assert_eq!(message, "invalid type: string \"much\", expected f64");
        assert_eq!(refused(r#"{"rules":{"x":[{"limit":1,"lmit":2}]}}"#).0, "/rules/x/0/lmit");
        assert_eq!(refused(r#"{"rules":{"x":[{}]}}"#), ("/rules/x/0".into(), "missing field `limit`".into()));
    }

    #[test]
    fn what_is_no_json_says_where_it_breaks() {
        assert!(refused("{").1.contains("line 1"));
        assert!(refused("{\"rules\":{}} tail").1.contains("trailing"));
    }
}
