//! Tests, as a rule writes them: `"> 85"`, `">= error"`, `"!= UP"`, `"service-down"`, `["a", "b"]`, `503`, `true`.
//!
//! A bare value asks for equality. Text is compared without regard to upper and lower case. What is not known passes no test
//! but `!=`: a service that says nothing is not UP.

use std::collections::BTreeMap;
use std::fmt;

use heald_plugin::{Scalar, Severity};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::value::Known;

/// When a rule holds: all tests of one of these sets. An empty list always holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct When(Vec<BTreeMap<String, Test>>);

/// One test of one value.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// A comparison with something known.
    Is(Comparison, Scalar),
    /// One of these.
    Any(Vec<Test>),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `==`, or nothing said.
    Equal,
    /// `!=`
    Different,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `<`
    Less,
    /// `<=`
    AtMost,
}

/// The longer ones first, or else `>` would be found in `>=`.
const SIGNS: [(&str, Comparison); 7] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("!=", Comparison::Different),
    ("==", Comparison::Equal),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
    ("=", Comparison::Equal),
];

impl When {
    pub(crate) fn holds(&self, known: &Known) -> bool {
        let all = |tests: &BTreeMap<String, Test>| tests.iter().all(|(name, test)| test.holds(known.value(name, test)));
        self.0.is_empty() || self.0.iter().any(all)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = (&String, &Test)> {
        self.0.iter().flatten()
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        self.names().filter_map(|(name, test)| test.problem(name)).collect()
    }
}

impl Test {
    fn holds(&self, value: Option<Scalar>) -> bool {
        match self {
            Self::Any(tests) => tests.iter().any(|test| test.holds(value.clone())),
            Self::Is(comparison, wanted) => match value {
                None => *comparison == Comparison::Different,
                Some(value) => comparison.holds(&value, wanted),
            },
        }
    }

    /// Does it ask for text? `status` is a word or a code, depending on that.
    pub(crate) fn is_about_text(&self) -> bool {
        match self {
            Self::Any(tests) => tests.iter().any(Self::is_about_text),
            Self::Is(_, wanted) => matches!(wanted, Scalar::Text(_)),
        }
    }

    /// Is this word among those it compares with?
    pub(crate) fn mentions(&self, word: &str) -> bool {
        match self {
            Self::Any(tests) => tests.iter().any(|test| test.mentions(word)),
            Self::Is(_, wanted) => wanted.text().is_some_and(|text| text.eq_ignore_ascii_case(word)),
        }
    }

    fn problem(&self, name: &str) -> Option<String> {
        match self {
            Self::Any(tests) if tests.is_empty() => Some(format!("the list for {name:?} is empty, so it never holds")),
            Self::Any(tests) => tests.iter().find_map(|test| test.problem(name)),
            Self::Is(_, Scalar::Text(word)) if name == "severity" => rank(word)
                .is_none()
                .then(|| format!("{word:?} is no severity; there are info, warning, error, critical")),
            Self::Is(comparison, Scalar::Text(word)) if comparison.is_ordering() => {
                Some(format!("{name:?} cannot be compared by size with the text {word:?}"))
            }
            Self::Is(..) => None,
        }
    }
}

impl Comparison {
    fn is_ordering(self) -> bool {
        !matches!(self, Self::Equal | Self::Different)
    }

    fn holds(self, value: &Scalar, wanted: &Scalar) -> bool {
        match (value, wanted) {
            (Scalar::Number(value), Scalar::Number(wanted)) => self.orders(value.partial_cmp(wanted)),
            (Scalar::Truth(value), Scalar::Truth(wanted)) => self.orders(value.partial_cmp(wanted)),
            (Scalar::Text(value), Scalar::Text(wanted)) if self.is_ordering() => self.orders(
                // The only text with an order is a severity.
                rank(value).zip(rank(wanted)).and_then(|(value, wanted)| value.partial_cmp(&wanted)),
            ),
            (Scalar::Text(value), Scalar::Text(wanted)) => value.eq_ignore_ascii_case(wanted) == (self == Self::Equal),
            // Of another kind: different, and nothing else.
            _ => self == Self::Different,
        }
    }

    fn orders(self, order: Option<std::cmp::Ordering>) -> bool {
        let Some(order) = order else { return self == Self::Different };
        match self {
            Self::Equal => order.is_eq(),
            Self::Different => order.is_ne(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
        }
    }
}

fn rank(word: &str) -> Option<Severity> {
    let all = [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];
    all.into_iter().find(|each| each.name() == word)
}

fn parse(text: &str) -> Test {
    let text = text.trim();
    let sign = SIGNS.into_iter().find_map(|(sign, comparison)| Some((text.strip_prefix(sign)?, comparison)));
    let (rest, comparison) = sign.unwrap_or((text, Comparison::Equal));
    let rest = rest.trim();
    let wanted = match (rest.parse::<f64>(), rest) {
        (Ok(number), _) if number.is_finite() => Scalar::Number(number),
        (_, "true") => Scalar::Truth(true),
        (_, "false") => Scalar::Truth(false),
        _ => Scalar::Text(rest.to_owned()),
    };
    Test::Is(comparison, wanted)
}

impl<'de> Deserialize<'de> for Test {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(TestForm)
    }
}

struct TestForm;

impl<'de> Visitor<'de> for TestForm {
    type Value = Test;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("a value, a comparison such as \"> 85\", or a list of these")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Test, E> {
        Ok(parse(text))
    }
    fn visit_bool<E: Error>(self, truth: bool) -> Result<Test, E> {
        Ok(Test::Is(Comparison::Equal, Scalar::Truth(truth)))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Test, E> {
        Ok(Test::Is(Comparison::Equal, Scalar::Number(number)))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Test, E> {
        self.visit_f64(number as f64)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Test, E> {
        self.visit_f64(number as f64)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Test, A::Error> {
        let mut tests = Vec::new();
        while let Some(test) = list.next_element()? {
            tests.push(test);
        }
        Ok(Test::Any(tests))
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(WhenForm)
    }
}

struct WhenForm;

impl<'de> Visitor<'de> for WhenForm {
    type Value = When;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("an object of tests, or a list of such objects of which one must hold")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<When, A::Error> {
        BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(|tests| When(vec![tests]))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<When, A::Error> {
        let mut sets = Vec::new();
        while let Some(tests) = list.next_element()? {
            sets.push(tests);
        }
        Ok(When(sets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(test: &str, value: Option<Scalar>) -> bool {
        parse(test).holds(value)
    }

    #[test]
    fn numbers_are_compared_strictly_where_the_sign_says_so() {
        let value = || Some(Scalar::Number(85.0));
        for (test, expected) in [
            ("> 85", false),
            (">= 85", true),
            ("> 84.9", true),
            ("< 85", false),
            ("<=85", true),
            ("85", true),
            ("== 85.0", true),
            ("!= 85", false),
        ] {
            assert_eq!(holds(test, value()), expected, "{test}");
        }
    }

    #[test]
    fn what_is_not_known_is_only_different() {
        assert!(!holds("> 0", None));
        assert!(!holds("< 0", None));
        assert!(!holds("UP", None));
        assert!(holds("!= UP", None));
    }

    #[test]
    fn text_and_severity() {
        assert!(holds("up", Some("UP".into())));
        assert!(!holds("!= up", Some("UP".into())));
        assert!(holds(">= error", Some("critical".into())));
        assert!(!holds("> error", Some("error".into())));
        assert!(!holds("> 5", Some("text".into())), "of another kind");
        assert!(holds("!= 5", Some("text".into())));
    }
}
