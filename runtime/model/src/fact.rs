//! Open data: named values for what has no field of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// Yes or no.
    Truth(bool),
    /// A finite number.
    Number(f64),
    /// Text.
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth(truth) => truth.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A named value. A limit that was crossed is the fact `<name>.limit` beside `<name>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Lower-case kebab, or a metric's name.
    pub name: String,
    /// What it is.
    pub value: Scalar,
}

impl Fact {
    /// A fact that is a number.
    pub fn number(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value: Scalar::Number(value) }
    }

    /// A fact that is text.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Scalar::Text(value.into()) }
    }

    /// The text of the fact `name` among `facts`.
    pub fn find_text<'a>(facts: &'a [Self], name: &str) -> Option<&'a str> {
        facts.iter().find(|fact| fact.name == name).and_then(|fact| match &fact.value {
            Scalar::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The number of the fact `name` among `facts`.
    pub fn find_number(facts: &[Self], name: &str) -> Option<f64> {
        facts.iter().find(|fact| fact.name == name).and_then(|fact| match fact.value {
            Scalar::Number(number) => Some(number),
            _ => None,
        })
    }
}
