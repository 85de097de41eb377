//! What a call hears of the host while it runs, noted for a replay; and, in a replay, told again from the notes.
//!
//! A detector or policy is a function of its input and of these answers. A replay therefore asks nobody: the first question
//! gets the first answer of the record, and so on, and a question that is not the one of the record ends the call. What no
//! note can hold (a real clock, real dice, files, the network) is not replayed at all.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heald_engine::calls::Heard;
use serde_json::{Value, json};

use crate::bindings::heald::plugin::types::Error as Said;
use crate::text;

/// Answers that are noted of one call, and bytes of them. A plug-in that works with `kv` asks a handful of times; one that asks
/// more than this has its answers, and a record that says where it ends.
const NOTES: usize = 256;
const BYTES: usize = 256 << 10;
/// The `call` of the last note of a record that is not whole.
const CUT: &str = "...";
/// Characters of a question in a fault.
const QUOTED: usize = 256;

/// What is done with the answers of one call.
#[derive(Debug, Default)]
pub(crate) enum Ear {
    /// Nothing: an action's call is not made again, and setting up asks nobody.
    #[default]
    Deaf,
    /// They are noted.
    Noting(Notes),
    /// They come from a record.
    Told(Record),
}

/// The answers of a call so far.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    heard: Vec<Heard>,
    bytes: usize,
    left_out: u64,
}

/// The answers of an earlier call, and how far this one has come in them.
#[derive(Debug)]
pub(crate) struct Record {
    ahead: VecDeque<Heard>,
    told: Vec<Heard>,
}

/// In a replay it asked for something else than the record has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Strayed(String);

impl Ear {
    pub(crate) fn noting() -> Self {
        Self::Noting(Notes::default())
    }

    pub(crate) fn told(heard: &[Heard]) -> Self {
        Self::Told(Record { ahead: heard.iter().cloned().collect(), told: Vec::new() })
    }

    /// Nothing of the world is asked or changed.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::Told(_))
    }

    /// What was heard.
    pub(crate) fn into_heard(self) -> Vec<Heard> {
        match self {
            Self::Deaf => Vec::new(),
            Self::Noting(notes) => notes.finish(),
            Self::Told(record) => record.told,
        }
    }
}

impl Notes {
    pub(crate) fn note<T: Tell>(&mut self, call: &str, asked: Value, answer: &Result<T, Said>) {
        let answer = match answer {
            Ok(answer) => json!({ "ok": answer.tell() }),
            Err(said) => json!({ "error": tell_error(said) }),
        };
        let bytes = call.len() + weight(&asked) + weight(&answer);
        // One that does not fit ends the record: a replay needs them in their order.
        if self.left_out > 0 || self.heard.len() >= NOTES || self.bytes + bytes > BYTES {
            self.left_out += 1;
            return;
        }
        self.bytes += bytes;
        self.heard.push(Heard { call: call.to_owned(), asked, answer });
    }

    fn finish(mut self) -> Vec<Heard> {
        if self.left_out > 0 {
            let answer = json!({ "left_out": self.left_out });
            self.heard.push(Heard { call: CUT.to_owned(), asked: Value::Null, answer });
        }
        self.heard
    }
}

impl Record {
    /// The answer that the record has for this question.
    pub(crate) fn answer<T: Tell>(&mut self, call: &str, asked: &Value) -> Result<Result<T, Said>, Strayed> {
        let asks = || format!("it asked for {}", quoted(call, asked));
        let Some(next) = self.ahead.pop_front() else {
            return Err(Strayed(format!("{} where the record has nothing more", asks())));
        };
        if next.call == CUT {
            return Err(Strayed(format!("{} where the record ends: it heard more than is kept of a call", asks())));
        }
        if next.call != call || next.asked != *asked {
            return Err(Strayed(format!("{} where the record has {}", asks(), quoted(&next.call, &next.asked))));
        }
        let answer = next.answer.get("ok").and_then(T::hear).map(Ok);
        let answer = answer.or_else(|| next.answer.get("error").and_then(hear_error).map(Err));
        let answer = answer.ok_or_else(|| {
            Strayed(format!("{}, and the record's answer cannot be read: {}", asks(), quoted("", &next.answer)))
        })?;
        self.told.push(next);
        Ok(answer)
    }
}

fn quoted(call: &str, asked: &Value) -> String {
    let asked = if asked.is_null() { String::new() } else { asked.to_string() };
    text::clean(format!("{call} {asked}").trim(), QUOTED)
}

/// About how many bytes a value takes.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| weight(item) + 1).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + weight(value) + 4).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// An answer that can be noted and told again.
pub(crate) trait Tell: Sized {
    fn tell(&self) -> Value;
    fn hear(told: &Value) -> Option<Self>;
}

impl Tell for () {
    fn tell(&self) -> Value {
        Value::Null
    }

    fn hear(told: &Value) -> Option<Self> {
        told.is_null().then_some(())
    }
}

impl Tell for bool {
    fn tell(&self) -> Value {
        Value::Bool(*self)
    }

    fn hear(told: &Value) -> Option<Self> {
        told.as_bool()
    }
}

impl Tell for Option<Vec<u8>> {
    fn tell(&self) -> Value {
        self.as_deref().map_or(Value::Null, blob)
    }

    fn hear(told: &Value) -> Option<Self> {
        match told {
            Value::Null => Some(None),
            Value::String(text) => STANDARD.decode(text).ok().map(Some),
            _ => None,
        }
    }
}

impl Tell for Vec<String> {
    fn tell(&self) -> Value {
        self.iter().map(String::as_str).collect()
    }

    fn hear(told: &Value) -> Option<Self> {
        told.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
    }
}

/// Bytes as they stand in a record.
pub(crate) fn blob(bytes: &[u8]) -> Value {
    Value::String(STANDARD.encode(bytes))
}

fn tell_error(said: &Said) -> Value {
    let (kind, text) = match said {
        Said::BadInput(text) => ("bad-input", text.as_str()),
        Said::Denied(text) => ("denied", text.as_str()),
        Said::NotFound(text) => ("not-found", text.as_str()),
        Said::OverQuota(text) => ("over-quota", text.as_str()),
        Said::Unavailable(text) => ("unavailable", text.as_str()),
        Said::Unsupported(text) => ("unsupported", text.as_str()),
        Said::Other(text) => ("other", text.as_str()),
        // What only a guest says.
        Said::BadConfig(_) | Said::BadState | Said::TimedOut => ("other", ""),
    };
    json!({ "kind": kind, "text": text })
}

fn hear_error(told: &Value) -> Option<Said> {
    let kind = told.get("kind")?.as_str()?;
    let text = told.get("text")?.as_str()?.to_owned();
    Some(match kind {
        "bad-input" => Said::BadInput(text),
        "denied" => Said::Denied(text),
        "not-found" => Said::NotFound(text),
        "over-quota" => Said::OverQuota(text),
        "unavailable" => Said::Unavailable(text),
        "unsupported" => Said::Unsupported(text),
        "other" => Said::Other(text),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Asked = (&'static str, Value, Result<Option<Vec<u8>>, Said>);

    fn noted(answers: &[Asked]) -> Vec<Heard> {
        let mut notes = Notes::default();
        for (call, asked, answer) in answers {
            notes.note(call, asked.clone(), answer);
        }
        notes.finish()
    }

    fn record(heard: &[Heard]) -> Record {
        let Ear::Told(record) = Ear::told(heard) else { panic!("told") };
        record
    }

    #[test]
    fn what_was_noted_is_told_again() {
        let key = json!({"key": "a"});
        let heard = noted(&[
            ("kv.get", key.clone(), Ok(None)),
            ("kv.get", key.clone(), Ok(Some(vec![0, 255]))),
            ("kv.get", key.clone(), Err(Said::Denied("no".into()))),
        ]);
        // As the journal keeps it.
        let heard: Vec<Heard> = serde_json::from_str(&serde_json::to_string(&heard).unwrap()).unwrap();
        let mut record = record(&heard);
        assert!(matches!(record.answer::<Option<Vec<u8>>>("kv.get", &key), Ok(Ok(None))));
        assert!(matches!(record.answer::<Option<Vec<u8>>>("kv.get", &key), Ok(Ok(Some(value))) if value == [0, 255]));
        assert!(
            matches!(record.answer::<Option<Vec<u8>>>("kv.get", &key), Ok(Err(Said::Denied(text))) if text == "no")
        );
        assert_eq!(Ear::Told(record).into_heard(), heard);
    }

    #[test]
    fn every_kind_of_answer_survives() {
        let kinds = ["bad-input", "denied", "not-found", "over-quota", "unavailable", "unsupported", "other"];
        for kind in kinds {
            let told = json!({"kind": kind, "text": "why"});
            assert_eq!(tell_error(&hear_error(&told).unwrap()), told);
        }
        assert!(hear_error(&json!({"kind": "else", "text": "why"})).is_none());
        assert_eq!(bool::hear(&true.tell()), Some(true));
        assert_eq!(<()>::hear(&().tell()), Some(()));
        let keys = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(Vec::<String>::hear(&keys.tell()), Some(keys));
        assert_eq!(Vec::<String>::hear(&json!([1])), None);
    }

    #[test]
    fn another_question_than_that_of_the_record_is_no_answer() {
        let heard = noted(&[("kv.get", json!({"key": "a"}), Ok(None))]);
        let stray =
            |call, asked: Value| record(&heard).answer::<Option<Vec<u8>>>(call, &asked).unwrap_err().to_string();
        assert_eq!(
            stray("kv.get", json!({"key": "b"})),
            r#"it asked for kv.get {"key":"b"} where the record has kv.get {"key":"a"}"#
        );
        assert!(
            stray("process.children", Value::Null).starts_with("it asked for process.children where the record has")
        );
        let mut emptied = record(&heard);
        emptied.answer::<Option<Vec<u8>>>("kv.get", &json!({"key": "a"})).unwrap().unwrap();
        let stray = emptied.answer::<Option<Vec<u8>>>("kv.get", &json!({"key": "a"})).unwrap_err().to_string();
        assert!(stray.ends_with("where the record has nothing more"), "{stray}");
    }

    #[test]
    fn a_record_is_bounded_and_says_where_it_ends() {
        let small = vec![("kv.get", json!({"key": "a"}), Ok(None)); 300];
        let heard = noted(&small);
        assert_eq!((heard.len(), &heard[256].answer), (257, &json!({"left_out": 44})));
        let large = vec![("kv.get", json!({"key": "a"}), Ok(Some(vec![7; 60_000]))); 9];
        let heard = noted(&large);
        assert_eq!((heard.len(), &heard[3].answer), (4, &json!({"left_out": 6})));
        let mut record = record(&heard);
        for _ in 0..3 {
            record.answer::<Option<Vec<u8>>>("kv.get", &json!({"key": "a"})).unwrap().unwrap();
        }
        let stray = record.answer::<Option<Vec<u8>>>("kv.get", &json!({"key": "a"})).unwrap_err().to_string();
        assert!(stray.contains("where the record ends"), "{stray}");
    }
}
