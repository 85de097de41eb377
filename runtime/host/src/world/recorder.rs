//! Records what the host answers during a call; in a replay, gives the recorded answers again.
//!
//! A detector or policy is a function of its input and of these answers. So a replay asks nobody: the first question
//! gets the first recorded answer, and so on. A question that differs from the recorded one ends the call. Answers that
//! no record can hold (a real clock, real randomness, files, the network) are not replayed at all.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heald_model::HostCall;
use serde_json::{Value, json};

use crate::bindings::heald::plugin::types::Error;
use crate::text;

/// Answers that are recorded of one call, and their bytes. A plug-in that uses `kv` asks a handful of times. One that
/// asks more than this still gets its answers, and the record says where it ends.
const CALLS: usize = 256;
const BYTES: usize = 256 << 10;
/// The `call` of the last entry of a record that is not complete.
const CUT: &str = "...";
/// Bytes of a question in a fault.
const QUOTED: usize = 256;

/// What happens to the answers of one call.
#[derive(Debug, Default)]
pub(crate) enum Recorder {
    /// They are not recorded: an action's call is never repeated, and nothing is asked during set-up.
    #[default]
    Off,
    /// They are recorded.
    Recording(RecordedCalls),
    /// They come from a record.
    Replaying(ReplayedCalls),
}

/// The recorded answers of a call so far.
#[derive(Debug, Default)]
pub(crate) struct RecordedCalls {
    calls: Vec<HostCall>,
    bytes: usize,
    left_out: u64,
}

/// The answers of an earlier call, and how far this call has come in them.
#[derive(Debug)]
pub(crate) struct ReplayedCalls {
    ahead: VecDeque<HostCall>,
    replayed: Vec<HostCall>,
}

/// A replayed call asked for something else than the record has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Diverged(String);

impl Recorder {
    pub(crate) fn recording() -> Self {
        Self::Recording(RecordedCalls::default())
    }

    pub(crate) fn replaying(calls: &[HostCall]) -> Self {
        Self::Replaying(ReplayedCalls { ahead: calls.iter().cloned().collect(), replayed: Vec::new() })
    }

    /// Whether this is a replay: nothing of the world is asked or changed.
    pub(crate) fn is_replaying(&self) -> bool {
        matches!(self, Self::Replaying(_))
    }

    /// The answers of the call.
    pub(crate) fn into_calls(self) -> Vec<HostCall> {
        match self {
            Self::Off => Vec::new(),
            Self::Recording(calls) => calls.finish(),
            Self::Replaying(record) => record.replayed,
        }
    }
}

impl RecordedCalls {
    pub(crate) fn record<T: Recordable>(&mut self, call: &str, asked: Value, answer: &Result<T, Error>) {
        let answer = match answer {
            Ok(answer) => json!({ "ok": answer.to_record() }),
            Err(error) => json!({ "error": error_to_record(error) }),
        };
        let bytes = call.len() + weight(&asked) + weight(&answer);
        // An answer that does not fit ends the record, because a replay needs the answers in their order.
        if self.left_out > 0 || self.calls.len() >= CALLS || self.bytes + bytes > BYTES {
            self.left_out += 1;
            return;
        }
        self.bytes += bytes;
        self.calls.push(HostCall { call: call.to_owned(), asked, answer });
    }

    fn finish(mut self) -> Vec<HostCall> {
        if self.left_out > 0 {
            let answer = json!({ "left_out": self.left_out });
            self.calls.push(HostCall { call: CUT.to_owned(), asked: Value::Null, answer });
        }
        self.calls
    }
}

impl ReplayedCalls {
    /// The answer that the record has for this question.
    pub(crate) fn answer<T: Recordable>(&mut self, call: &str, asked: &Value) -> Result<Result<T, Error>, Diverged> {
        let asks = || format!("it asked for {}", quoted(call, asked));
        let Some(next) = self.ahead.pop_front() else {
            return Err(Diverged(format!("{} where the record has nothing more", asks())));
        };
        if next.call == CUT {
            return Err(Diverged(format!("{} where the record ends: it heard more than is kept of a call", asks())));
        }
        if next.call != call || next.asked != *asked {
            return Err(Diverged(format!("{} where the record has {}", asks(), quoted(&next.call, &next.asked))));
        }
        let answer = next.answer.get("ok").and_then(T::from_record).map(Ok);
        let answer = answer.or_else(|| next.answer.get("error").and_then(error_from_record).map(Err));
        let answer = answer.ok_or_else(|| {
            Diverged(format!("{}, and the record's answer cannot be read: {}", asks(), quoted("", &next.answer)))
        })?;
        self.replayed.push(next);
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

/// An answer that can be recorded and given again.
pub(crate) trait Recordable: Sized {
    fn to_record(&self) -> Value;
    fn from_record(recorded: &Value) -> Option<Self>;
}

impl Recordable for () {
    fn to_record(&self) -> Value {
        Value::Null
    }

    fn from_record(recorded: &Value) -> Option<Self> {
        recorded.is_null().then_some(())
    }
}

impl Recordable for bool {
    fn to_record(&self) -> Value {
        Value::Bool(*self)
    }

    fn from_record(recorded: &Value) -> Option<Self> {
        recorded.as_bool()
    }
}

impl Recordable for Option<Vec<u8>> {
    fn to_record(&self) -> Value {
        self.as_deref().map_or(Value::Null, blob)
    }

    fn from_record(recorded: &Value) -> Option<Self> {
        match recorded {
            Value::Null => Some(None),
            Value::String(text) => STANDARD.decode(text).ok().map(Some),
            _ => None,
        }
    }
}

impl Recordable for Vec<String> {
    fn to_record(&self) -> Value {
        self.iter().map(String::as_str).collect()
    }

    fn from_record(recorded: &Value) -> Option<Self> {
        recorded.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
    }
}

/// Bytes in the form of a record.
pub(crate) fn blob(bytes: &[u8]) -> Value {
    Value::String(STANDARD.encode(bytes))
}

fn error_to_record(error: &Error) -> Value {
    let (kind, text) = match error {
        Error::BadInput(text) => ("bad-input", text.as_str()),
        Error::Denied(text) => ("denied", text.as_str()),
        Error::NotFound(text) => ("not-found", text.as_str()),
        Error::OverQuota(text) => ("over-quota", text.as_str()),
        Error::Unavailable(text) => ("unavailable", text.as_str()),
        Error::Unsupported(text) => ("unsupported", text.as_str()),
        Error::Other(text) => ("other", text.as_str()),
        // Only guests return these.
        Error::BadConfig(_) | Error::BadState | Error::TimedOut => ("other", ""),
    };
    json!({ "kind": kind, "text": text })
}

fn error_from_record(recorded: &Value) -> Option<Error> {
    let kind = recorded.get("kind")?.as_str()?;
    let text = recorded.get("text")?.as_str()?.to_owned();
    Some(match kind {
        "bad-input" => Error::BadInput(text),
        "denied" => Error::Denied(text),
        "not-found" => Error::NotFound(text),
        "over-quota" => Error::OverQuota(text),
        "unavailable" => Error::Unavailable(text),
        "unsupported" => Error::Unsupported(text),
        "other" => Error::Other(text),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Asked = (&'static str, Value, Result<Option<Vec<u8>>, Error>);

    fn recorded_calls(answers: &[Asked]) -> Vec<HostCall> {
        let mut calls = RecordedCalls::default();
        for (call, asked, answer) in answers {
            calls.record(call, asked.clone(), answer);
        }
        calls.finish()
    }

    fn record(calls: &[HostCall]) -> ReplayedCalls {
        let Recorder::Replaying(record) = Recorder::replaying(calls) else { panic!("recorded") };
        record
    }

    #[test]
    fn what_was_recorded_is_replayed() {
        let key = json!({"key": "a"});
        let calls = recorded_calls(&[
            ("kv.get", key.clone(), Ok(None)),
            ("kv.get", key.clone(), Ok(Some(vec![0, 255]))),
            ("kv.get", key.clone(), Err(Error::Denied("no".into()))),
        ]);
        // As the journal keeps it.
        let calls: Vec<HostCall> = serde_json::from_str(&serde_json::to_string(&calls).unwrap()).unwrap();
        let mut record = record(&calls);
        assert!(matches!(record.answer::<Option<Vec<u8>>>("kv.get", &key), Ok(Ok(None))));
        assert!(matches!(record.answer::<Option<Vec<u8>>>("kv.get", &key), Ok(Ok(Some(value))) if value == [0, 255]));
        assert!(
            matches!(record.answer::<Option<Vec<u8>>>("kv.get", &key), Ok(Err(Error::Denied(text))) if text == "no")
        );
        assert_eq!(Recorder::Replaying(record).into_calls(), calls);
    }

    #[test]
    fn every_kind_of_answer_survives() {
        let kinds = ["bad-input", "denied", "not-found", "over-quota", "unavailable", "unsupported", "other"];
        for kind in kinds {
            let recorded = json!({"kind": kind, "text": "why"});
            assert_eq!(error_to_record(&error_from_record(&recorded).unwrap()), recorded);
        }
        assert!(error_from_record(&json!({"kind": "else", "text": "why"})).is_none());
        assert_eq!(bool::from_record(&true.to_record()), Some(true));
        assert_eq!(<()>::from_record(&().to_record()), Some(()));
        let keys = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(Vec::<String>::from_record(&keys.to_record()), Some(keys));
        assert_eq!(Vec::<String>::from_record(&json!([1])), None);
    }

    #[test]
    fn another_question_than_that_of_the_record_is_no_answer() {
        let calls = recorded_calls(&[("kv.get", json!({"key": "a"}), Ok(None))]);
        let stray =
            |call, asked: Value| record(&calls).answer::<Option<Vec<u8>>>(call, &asked).unwrap_err().to_string();
        assert_eq!(
            stray("kv.get", json!({"key": "b"})),
            r#"it asked for kv.get {"key":"b"} where the record has kv.get {"key":"a"}"#
        );
        assert!(
            stray("process.children", Value::Null).starts_with("it asked for process.children where the record has")
        );
        let mut emptied = record(&calls);
        emptied.answer::<Option<Vec<u8>>>("kv.get", &json!({"key": "a"})).unwrap().unwrap();
        let stray = emptied.answer::<Option<Vec<u8>>>("kv.get", &json!({"key": "a"})).unwrap_err().to_string();
        assert!(stray.ends_with("where the record has nothing more"), "{stray}");
    }

    #[test]
    fn a_record_is_bounded_and_says_where_it_ends() {
        let small = vec![("kv.get", json!({"key": "a"}), Ok(None)); 300];
        let calls = recorded_calls(&small);
        assert_eq!((calls.len(), &calls[256].answer), (257, &json!({"left_out": 44})));
        let large = vec![("kv.get", json!({"key": "a"}), Ok(Some(vec![7; 60_000]))); 9];
        let calls = recorded_calls(&large);
        assert_eq!((calls.len(), &calls[3].answer), (4, &json!({"left_out": 6})));
        let mut record = record(&calls);
        for _ in 0..3 {
            record.answer::<Option<Vec<u8>>>("kv.get", &json!({"key": "a"})).unwrap().unwrap();
        }
        let stray = record.answer::<Option<Vec<u8>>>("kv.get", &json!({"key": "a"})).unwrap_err().to_string();
        assert!(stray.contains("where the record ends"), "{stray}");
    }
}
