//! Words in braces, in the texts of a JSON value or in an address. They are put in after the JSON was parsed and into addresses in
//! percent form, so that no word can become anything but a word.

use heald_plugin::{Problem, Task};
use serde_json::Value;

/// All there are. `{{` and `}}` are braces.
const NAMES: [&str; 9] =
    ["action", "attempt", "condition", "incident", "message", "service", "severity", "signature", "stage"];

/// What the names stand for, in one task.
pub(crate) struct Words([(&'static str, Option<String>); 9]);

impl Words {
    /// `message`: instead of the incident's.
    pub(crate) fn of(task: &Task, message: Option<String>) -> Self {
        let incident = task.incident.as_ref();
        let leading = incident.and_then(|incident| incident.concerns.first()).map(|concern| &concern.finding);
        let message = message
            .or_else(|| leading.map(|finding| finding.message.clone()))
            .unwrap_or_else(|| format!("{} for {}", task.action, task.service.name));
        Self(NAMES.map(|name| {
            let word = match name {
                "action" => Some(task.action.clone()),
                "attempt" => Some(task.attempt.clone()),
                "condition" => leading.map(|finding| finding.condition.clone()),
                "incident" => incident.map(|incident| incident.id.clone()),
                "message" => Some(message.clone()),
                "service" => Some(task.service.name.clone()),
                "severity" => incident.map(|incident| incident.severity.name().to_owned()),
                "signature" => incident.map(|incident| incident.signature.clone()),
                "stage" => incident.map(|incident| incident.stage.clone()),
                _ => None,
            };
            (name, word)
        }))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        self.0.iter().map(|(name, word)| (*name, word.as_deref()))
    }

    /// A copy of this JSON with the words in it. What there is no word for is left empty.
    pub(crate) fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.put(text, str::to_owned)),
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Value::Object(fields) => {
                Value::Object(fields.iter().map(|(name, value)| (name.clone(), self.fill(value))).collect())
            }
            other => other.clone(),
        }
    }

    pub(crate) fn fill_url(&self, url: &str) -> String {
        self.put(url, percent)
    }

    fn put(&self, text: &str, write: impl Fn(&str) -> String) -> String {
        let mut made = String::with_capacity(text.len());
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => made.push_str(text),
                Piece::Name(name) => {
                    let word = self.all().find(|(known, _)| *known == name).and_then(|(_, word)| word);
                    made.push_str(&write(word.unwrap_or_default()));
                }
            }
        }
        made
    }
}

/// Every name in these texts that stands for nothing, at its place.
pub(crate) fn unknown(value: &Value, at: &str) -> Vec<Problem> {
    match value {
        Value::String(text) => pieces(text)
            .into_iter()
            .filter_map(|piece| match piece {
                Piece::Name(name) if !NAMES.contains(&name) => {
                    let known = NAMES.join("}, {");
                    Some(Problem::at(
                        at,
                        format!("{{{name}}} stands for nothing; there are {{{known}}}, and {{{{ is a brace"),
                    ))
                }
                _ => None,
            })
            .collect(),
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(nth, item)| unknown(item, &format!("{at}/{nth}"))).collect()
        }
        Value::Object(fields) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            fields.iter().flat_map(|(name, value)| unknown(value, &format!("{at}/{}", escaped(name)))).collect()
        }
        _ => Vec::new(),
    }
}

enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        pieces.push(Piece::Text(before));
        rest = if let Some(after) = from.strip_prefix("{{") {
            pieces.push(Piece::Text("{"));
            after
        } else if let Some(after) = from.strip_prefix("}}") {
            pieces.push(Piece::Text("}"));
            after
        } else if let Some((name, after)) = from.strip_prefix('{').and_then(|from| from.split_once('}')) {
            pieces.push(Piece::Name(name));
            after
        } else {
            // A brace that nobody closes, or opened, is a name that stands for nothing.
            pieces.push(Piece::Name(from));
            ""
        };
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Everything but what RFC 3986 calls unreserved.
fn percent(word: &str) -> String {
    word.bytes().fold(String::with_capacity(word.len()), |mut made, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            made.push(char::from(byte));
        } else {
            made.push_str(&format!("%{byte:02X}"));
        }
        made
    })
}
