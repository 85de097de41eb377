//! A rule: when it holds, and the rungs to climb when it does.

use std::fmt;
use std::time::Duration;

use heald_plugin::{Question, Scalar};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::test::When;
use crate::value::Known;

/// More attempts at one rung than anyone means.
const MOST_TIMES: u32 = 100;
/// Answers that are no actions.
const WORDS: [&str; 3] = ["no-action", "escalate", "pass"];

/// See the module.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Form")]
pub struct Rule {
    name: Option<String>,
    when: When,
    first: Rung,
    then: Vec<Rung>,
}

/// One thing to try, as often as it says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// An action's name, or `no-action`, `escalate`, `pass`.
    #[serde(rename = "do")]
    pub action: String,
    /// A JSON object.
    #[serde(default = "no_parameters")]
    pub parameters: Value,
    /// Why; made of the incident's condition unless said.
    #[serde(default)]
    pub reason: Option<String>,
    /// 0..1.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// How long the cure may need to show.
    #[serde(default, deserialize_with = "heald_plugin::duration::read_option")]
    pub verify_within: Option<Duration>,
    /// Ask again after so long.
    #[serde(default, deserialize_with = "heald_plugin::duration::read_option")]
    pub again_in: Option<Duration>,
    /// How often it may be tried in vain.
    #[serde(default = "once")]
    pub times: u32,
}

/// How a rule is written: its first rung lies open in it. Not `flatten`, which would let misspelt fields pass.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    when: When,
    #[serde(rename = "do")]
    action: String,
    #[serde(default = "no_parameters")]
    parameters: Value,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    confidence: Option<f64>,
    #[serde(default, deserialize_with = "heald_plugin::duration::read_option")]
    verify_within: Option<Duration>,
    #[serde(default, deserialize_with = "heald_plugin::duration::read_option")]
    again_in: Option<Duration>,
    #[serde(default = "once")]
    times: u32,
    #[serde(default)]
    then: Vec<ShortOrLong>,
}

fn no_parameters() -> Value {
    Value::Object(serde_json::Map::new())
}

fn once() -> u32 {
    1
}

impl From<Form> for Rule {
    fn from(form: Form) -> Self {
        let Form { name, when, action, parameters, reason, confidence, verify_within, again_in, times, then } = form;
        let first = Rung { action, parameters, reason, confidence, verify_within, again_in, times };
        Self { name, when, first, then: then.into_iter().map(|each| each.0).collect() }
    }
}

impl Rule {
    pub(crate) fn first(&self) -> &Rung {
        &self.first
    }

    pub(crate) fn rungs(&self) -> impl Iterator<Item = &Rung> {
        std::iter::once(&self.first).chain(&self.then)
    }

    pub(crate) fn holds(&self, known: &Known) -> bool {
        self.when.holds(known)
    }

    /// Its name, or its number counted from 1.
    pub(crate) fn title(&self, place: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("rule {}", place + 1))
    }

    /// The values that its tests looked at.
    pub(crate) fn weighed(&self, known: &Known) -> Vec<(String, Scalar)> {
        self.when.names().filter_map(|(name, test)| Some((name.clone(), known.value(name, test)?))).collect()
    }

    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        self.when.problems().into_iter().chain(self.rungs().filter_map(Rung::problem))
    }
}

impl Rung {
    /// No answer.
    pub fn pass() -> Self {
        Self {
            action: "pass".to_owned(),
            parameters: no_parameters(),
            reason: Some("no rule holds".to_owned()),
            confidence: None,
            verify_within: None,
            again_in: None,
            times: once(),
        }
    }

    /// An answer that is no action, and so needs no offer.
    pub(crate) fn is_word(&self) -> bool {
        WORDS.contains(&self.action.as_str())
    }

    /// What it says for itself when the operator gave no reason.
    pub(crate) fn own_words(&self, question: &Question, attempt: u32) -> String {
        let condition =
            question.incident.leading().map_or(question.incident.signature.as_str(), |each| &each.condition);
        if self.times > 1 {
            format!("{condition}: {}, attempt {attempt} of {}", self.action, self.times)
        } else {
            format!("{condition}: {}", self.action)
        }
    }

    pub(crate) fn problem(&self) -> Option<String> {
        if self.action.is_empty() {
            return Some("`do` must name an action, or no-action, escalate, pass".to_owned());
        }
        if !self.parameters.is_object() {
            return Some("`parameters` must be an object".to_owned());
        }
        if self.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
            return Some("`confidence` must be 0 to 1".to_owned());
        }
        if !(1..=MOST_TIMES).contains(&self.times) {
            return Some(format!("`times` must be 1 to {MOST_TIMES}"));
        }
        None
    }
}

impl<'de> Deserialize<'de> for ShortOrLong {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(AnyForm)
    }
}

/// A rung: an action's name alone, or the whole of it.
struct ShortOrLong(Rung);

/// Not an untagged enum: that would lose the place of an error within.
struct AnyForm;

impl<'de> Visitor<'de> for AnyForm {
    type Value = ShortOrLong;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("an action's name, or an object with `do`")
    }
    fn visit_str<E: Error>(self, action: &str) -> Result<ShortOrLong, E> {
        Ok(ShortOrLong(Rung { action: action.to_owned(), reason: None, ..Rung::pass() }))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ShortOrLong, A::Error> {
        Rung::deserialize(MapAccessDeserializer::new(map)).map(ShortOrLong)
    }
}
