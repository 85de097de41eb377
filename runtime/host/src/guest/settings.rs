//! A plug-in's effective configuration as one text, with the digest of that text. `configure` gets the text, and the
//! record of a call holds both. Equal configurations are the same text, whatever order they were written in. It checks
//! nothing: `schema` does.

use std::fmt::Write as _;

use heald_model::PluginSettings;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The text with its keys sorted, and its SHA-256.
pub(crate) fn settle(config: &Map<String, Value>) -> PluginSettings {
    let mut text = String::new();
    object(config, &mut text);
    let mut digest = String::with_capacity(64);
    for byte in Sha256::digest(&text) {
        // Writing to a string does not fail.
        let _ = write!(digest, "{byte:02x}");
    }
    PluginSettings { digest: digest.into(), text: text.into() }
}

fn object(fields: &Map<String, Value>, text: &mut String) {
    let mut sorted: Vec<_> = fields.iter().collect();
    // A map of serde_json may keep the order of the file: any crate of the program can turn that on.
    sorted.sort_unstable_by_key(|(name, _)| name.as_str());
    text.push('{');
    for (index, (name, field)) in sorted.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let _ = write!(text, "{}:", Value::from(name.as_str()));
        value(field, text);
    }
    text.push('}');
}

fn value(said: &Value, text: &mut String) {
    match said {
        Value::Object(fields) => object(fields, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                value(item, text);
            }
            text.push(']');
        }
        plain => {
            let _ = write!(text, "{plain}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settled(value: &Value) -> PluginSettings {
        settle(value.as_object().unwrap())
    }

    #[test]
    fn the_order_of_a_file_does_not_matter() {
        let one = settled(&json!({"b": [1, {"z": null, "y": 0.1}], "a": "x\n\"y\""}));
        let other = settled(&json!({"a": "x\n\"y\"", "b": [1, {"y": 0.1, "z": null}]}));
        assert_eq!(one, other);
        assert_eq!(&*one.text, r#"{"a":"x\n\"y\"","b":[1,{"y":0.1,"z":null}]}"#);
        assert_ne!(one.digest, settled(&json!({"b": [{"z": null, "y": 0.1}, 1], "a": "x\n\"y\""})).digest);
    }

    #[test]
    fn the_digest_is_that_of_the_text() {
        let empty = settled(&json!({}));
        assert_eq!(&*empty.text, "{}");
        assert_eq!(&*empty.digest, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    }
}
