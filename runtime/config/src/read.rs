//! Reads a tree into types, and names every problem instead of the first: what cannot be read is taken out, and the rest is
//! read again.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::document::{Node, NodeValue, Step};
use super::problem::{ConfigProblem, SourceSpan};

/// Reads what can be read of `node`, which stands under the key `at`. Without problems there is always a value.
pub(super) fn read<T: DeserializeOwned>(node: &mut Node, at: &str, problems: &mut Vec<ConfigProblem>) -> Option<T> {
    // Taken out because it was wrong: that it is now missing is no problem of its own.
    let mut taken: BTreeSet<(usize, String)> = BTreeSet::new();
    loop {
        let error = match T::deserialize(Reader(node)) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let place = error.place.clone().unwrap_or_else(|| node.place.clone());
        let known =
            error.missing.as_ref().is_some_and(|field| taken.contains(&(place.span.start, (*field).to_owned())));
        if !known {
            problems.push(ConfigProblem::at(place, dotted(node, at, &error), error.message));
        }
        if let (Some(Step::Key(key)), Some(parent)) = (error.path.last(), &error.parent) {
            taken.insert((parent.span.start, key.clone()));
        }
        node.remove(&error.path)?;
    }
}

/// The path as people write it: named tables by their names.
fn dotted(node: &Node, at: &str, error: &Error) -> String {
    let mut text = at.to_owned();
    let mut node = Some(node);
    for step in &error.path {
        let (word, next) = match step {
            Step::Key(key) => (key.clone(), node.and_then(|node| node.member(key))),
            Step::Index(index) => {
                let next = node.and_then(|node| node.list().get(*index));
                (next.and_then(Node::name).map_or_else(|| index.to_string(), str::to_owned), next)
            }
        };
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&word);
        node = next;
    }
    text
}

/// What serde says, and where.
#[derive(Debug)]
struct Error {
    message: String,
    missing: Option<&'static str>,
    place: Option<SourceSpan>,
    /// The table that holds the key at the path's end.
    parent: Option<SourceSpan>,
    path: Vec<Step>,
}

impl Error {
    fn new(message: String) -> Self {
        Self { message, missing: None, place: None, parent: None, path: Vec::new() }
    }

    /// It came from this step within `parent`.
    fn below(mut self, step: Step, place: &SourceSpan, parent: &SourceSpan) -> Self {
        if self.path.is_empty() {
            self.parent = Some(parent.clone());
        }
        self.place.get_or_insert_with(|| place.clone());
        self.path.insert(0, step);
        self
    }
}

impl Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::new(format!("must be {}, and this is {}", plainly(wanted), name_of(found)))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::invalid_type(found, wanted)
    }

    fn unknown_variant(variant: &str, allowed: &'static [&'static str]) -> Self {
        Self::new(format!("`{variant}` is not allowed here{}", alternatives(variant, allowed)))
    }

    fn unknown_field(field: &str, allowed: &'static [&'static str]) -> Self {
        Self::new(format!("there is no key `{field}` here{}", alternatives(field, allowed)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new(format!("the key `{field}` is missing")) }
    }
}

/// Rust's words for types mean nothing to an operator.
fn plainly(wanted: &dyn Expected) -> String {
    let text = wanted.to_string();
    match text.as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 up".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        text if text.starts_with("struct ") => "a table".to_owned(),
        text if text.starts_with("enum ") => "one of its words".to_owned(),
        text => text.to_owned(),
    }
}

fn name_of(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str(text) => format!("the text {text:?}"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// `; did you mean ...? allowed: ...`
pub(super) fn alternatives(word: &str, allowed: &[&str]) -> String {
    let near = allowed.iter().map(|each| (distance(word, each), each)).min();
    let guess = match near {
        Some((distance, each)) if distance <= 1 + each.len() / 4 => format!("; did you mean `{each}`?"),
        _ => String::new(),
    };
    if allowed.is_empty() { guess } else { format!("{guess}; allowed: {}", allowed.join(", ")) }
}

/// How many letters must be put in, taken out or changed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (j, b) in to.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let cost = if a.eq_ignore_ascii_case(b) { corner } else { 1 + corner.min(left).min(above) };
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            (corner, left) = (above, cost);
        }
        if let Some(cell) = row.get_mut(to.len()) {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

struct Reader<'a>(&'a Node);

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            NodeValue::Text(text) => visitor.visit_str(text),
            NodeValue::Whole(number) => visitor.visit_i64(*number),
            NodeValue::Real(number) => visitor.visit_f64(*number),
            NodeValue::Truth(truth) => visitor.visit_bool(*truth),
            NodeValue::List(list) => visitor.visit_seq(Items { parent: &self.0.place, list, next: 0 }),
            NodeValue::Gone => visitor.visit_unit(),
            NodeValue::Table(members) => {
                let mut rest = members.iter();
                visitor.visit_map(Members { parent: &self.0.place, current: rest.next(), rest })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.0.value {
            NodeValue::Text(text) => {
                let word: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
                word.deserialize_enum(name, variants, visitor)
            }
            NodeValue::Table(members) => {
                let mut rest = members.iter();
                let members = Members { parent: &self.0.place, current: rest.next(), rest };
                MapAccessDeserializer::new(members).deserialize_enum(name, variants, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a> {
    parent: &'a SourceSpan,
    list: &'a [Node],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let mut rest = self.list.iter().enumerate().skip(self.next);
        let Some((index, node)) = rest.find(|(_, node)| !matches!(node.value, NodeValue::Gone)) else {
            return Ok(None);
        };
        let step = Step::Index(index);
        self.next = index + 1;
        seed.deserialize(Reader(node)).map(Some).map_err(|error| error.below(step, &node.place, self.parent))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.list.len().saturating_sub(self.next))
    }
}

struct Members<'a> {
    parent: &'a SourceSpan,
    current: Option<(&'a String, &'a super::document::TableMember)>,
    rest: std::collections::btree_map::Iter<'a, String, super::document::TableMember>,
}

impl<'de> de::MapAccess<'de> for Members<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, member)) = self.current else { return Ok(None) };
        let word: StrDeserializer<'_, Error> = key.as_str().into_deserializer();
        let step = || Step::Key(key.clone());
        seed.deserialize(word).map(Some).map_err(|error| error.below(step(), &member.key, self.parent))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, member) = self.current.ok_or_else(|| Error::new("a value without its key".to_owned()))?;
        self.current = self.rest.next();
        let step = || Step::Key(key.clone());
        seed.deserialize(Reader(&member.node)).map_err(|error| error.below(step(), &member.node.place, self.parent))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use serde::Deserialize;

    use super::super::document::parse;
    use super::super::environment::Environment;
    use super::super::interpolate::interpolate;
    use super::super::problem::File;
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        #[serde(default)]
        port: u16,
        #[serde(default, with = "heald_model::time::text")]
        period: Duration,
        #[serde(default)]
        thing: Vec<Thing>,
        #[serde(default)]
        free: BTreeMap<String, serde_json::Value>,
        #[serde(default)]
        share: Option<f64>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        name: String,
        kind: ThingKind,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum ThingKind {
        Http,
        Tcp,
    }

    fn whole(text: &str) -> (Option<Whole>, Vec<String>) {
        let file = Arc::new(File { name: "t.toml".into(), text: text.into() });
        let mut node = parse(&file, &interpolate(text, &Environment::new())).unwrap();
        let mut problems = Vec::new();
        let value = read(&mut node, "", &mut problems);
        (value, problems.iter().map(ConfigProblem::headline).collect())
    }

    #[test]
    fn what_is_right_is_read() {
        let (value, problems) = whole(
            "port = 80\nperiod = \"2m\"\nshare = 1\n[[thing]]\nname = \"a\"\nkind = \"tcp\"\n[free]\nx = { y = [1, 2.5, true, \"z\"] }\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        let value = value.unwrap();
        assert_eq!((value.port, value.period, value.share), (80, Duration::from_secs(120), Some(1.0)));
        assert_eq!((value.thing[0].name.as_str(), &value.thing[0].kind), ("a", &ThingKind::Tcp));
        assert_eq!(value.free["x"], serde_json::json!({"y": [1, 2.5, true, "z"]}));
    }

    #[test]
    fn every_problem_is_named_with_its_line_and_what_is_allowed() {
        let (value, problems) = whole(
            "prot = 1\nport = \"eighty\"\nperiod = \"fast\"\n[[thing]]\nname = \"a\"\nkind = \"htpp\"\n[[thing]]\nkind = \"tcp\"\nextra = 1\n[[thing]]\nname = \"c\"\nkind = \"tcp\"\n",
        );
        assert_eq!(value.unwrap().thing.len(), 1, "what is right is kept");
        let has = |line: &str, words: &[&str]| {
            let found = problems.iter().find(|p| p.starts_with(&format!("t.toml:{line}: ")));
            assert!(found.is_some_and(|p| words.iter().all(|w| p.contains(w))), "{line} {words:?}: {problems:#?}");
        };
        has("1", &["`prot`", "did you mean `port`?", "allowed: port, period, thing, free, share"]);
        has("2", &["port: must be a whole number from 0 up, and this is the text \"eighty\""]);
        has("3", &["period: `fast` is not a duration", "500ms"]);
        has("6", &["thing.a.kind: `htpp` is not allowed here; did you mean `http`?; allowed: http, tcp"]);
        has("9", &["thing.1.extra: there is no key `extra`"]);
        has("7", &["the key `name` is missing"]);
        assert_eq!(
            problems.len(),
            6,
            "that `kind` is missing once it is taken out is no problem of its own: {problems:#?}"
        );
    }

    #[test]
    fn a_number_out_of_range_is_named() {
        let (_, problems) = whole("port = 70000\nshare = \"x\"\nthing = 5\n");
        assert_eq!(problems.len(), 3, "{problems:#?}");
        assert!(problems.iter().any(|p| p.contains("port: must be a whole number from 0 up, and this is 70000")));
        assert!(problems.iter().any(|p| p.contains("thing: must be a list, and this is 5")));
    }

    #[test]
    fn distances_are_counted() {
        for (a, b, expected) in [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "abc", 0), ("prot", "port", 2)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
