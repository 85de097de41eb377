//! Turns what a guest answered into heald's records. An answer that breaks the contract anywhere is refused as a whole:
//! a guest that got one number wrong may have got others wrong.
//!
//! Text for people is cleaned. Names are refused if they are not clean, because they are compared and stored.

use std::time::Duration;

use heald_model::{self as model, Fault, FaultCause, Moment};
use serde_json::Value;

use crate::bindings::heald::plugin::types::{
    ActionInfoResult, FactResult, FindingResult, Metric, ScalarResult, Severity,
};
use crate::bindings::heald::plugin::types::{Window, WindowMode};
use crate::text;

/// The bounds of an answer: how many items, and how many bytes.
const FINDINGS: usize = 64;
const GAUGES: usize = 64;
const FACTS: usize = 32;
const NAME: usize = 128;
const SUBJECT: usize = 256;
const MESSAGE: usize = 2_048;
const JSON: usize = 64 << 10;
const ACTIONS: usize = 64;
/// How deep JSON may nest. The reader of the journal gives up at 128, and there the JSON lies within other records.
const NESTED: usize = 32;
/// Bytes of a state blob, or of an undo token.
pub(crate) const STATE: usize = 64 << 10;

fn bad(detail: impl Into<String>) -> Fault {
    Fault::new(FaultCause::BadOutput, detail)
}

pub(crate) fn at_most<T>(what: &str, items: Vec<T>, most: usize) -> Result<Vec<T>, Fault> {
    if items.len() > most { Err(bad(format!("{} {what}, at most {most} are allowed", items.len()))) } else { Ok(items) }
}

/// A word that is compared and stored.
pub(crate) fn name(what: &str, name: String) -> Result<String, Fault> {
    let fits = (1..=NAME).contains(&name.len()) && !name.chars().any(|c| text::is_obeyed(c) || c.is_whitespace());
    if fits { Ok(name) } else { Err(bad(format!("`{}` is no {what}", text::clean(&name, 64)))) }
}

/// Text for a person.
pub(crate) fn message(message: &str) -> String {
    text::clean(message, MESSAGE)
}

pub(crate) fn finite(what: &str, number: f64) -> Result<f64, Fault> {
    if number.is_finite() { Ok(number) } else { Err(bad(format!("{what} is {number}"))) }
}

/// A number from 0 to 1.
pub(crate) fn ratio(what: &str, number: f64) -> Result<f64, Fault> {
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err(bad(format!("{what} is {number}, not within 0 and 1"))) }
}

pub(crate) fn state(state: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Fault> {
    match state {
        Some(blob) if blob.len() > STATE => {
            Err(bad(format!("a blob of {} bytes, at most {STATE} are kept", blob.len())))
        }
        state => Ok(state),
    }
}

pub(crate) fn json(what: &str, text: &str) -> Result<Value, Fault> {
    if text.len() > JSON {
        return Err(bad(format!("{what} have {} bytes, at most {JSON} are allowed", text.len())));
    }
    let value = serde_json::from_str(text).map_err(|error| bad(format!("{what} are not JSON: {error}")))?;
    if nested(&value) > NESTED {
        return Err(bad(format!("{what} are nested more than {NESTED} deep")));
    }
    Ok(value)
}

/// How deep a value nests. The parser bounds the depth, so this recursion is safe.
fn nested(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nested).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(nested).max().unwrap_or(0),
        _ => 0,
    }
}

pub(crate) fn optional(nanos: Option<u64>) -> Option<Duration> {
    nanos.map(Duration::from_nanos)
}

pub(crate) fn facts(facts: Vec<FactResult>) -> Result<Vec<model::Fact>, Fault> {
    let one = |fact: FactResult| {
        // The name is checked first: errors about the value contain it.
        let name = name("fact's name", fact.name)?;
        let value = match fact.value {
            ScalarResult::Truth(truth) => model::Scalar::Truth(truth),
            ScalarResult::Number(number) => model::Scalar::Number(finite(&name, number)?),
            ScalarResult::Text(text) => model::Scalar::Text(message(&text)),
        };
        Ok(model::Fact { name, value })
    };
    at_most("facts", facts, FACTS)?.into_iter().map(one).collect()
}

pub(crate) fn findings(findings: Vec<FindingResult>) -> Result<Vec<model::Finding>, Fault> {
    at_most("findings", findings, FINDINGS)?.into_iter().map(finding).collect()
}

fn finding(finding: FindingResult) -> Result<model::Finding, Fault> {
    let subject = match finding.subject {
        Some(subject) if subject.is_empty() || subject.len() > SUBJECT || subject.chars().any(text::is_obeyed) => {
            return Err(bad(format!("`{}` is no subject of a finding", text::clean(&subject, 64))));
        }
        subject => subject,
    };
    Ok(model::Finding {
        condition: name("condition", finding.condition)?,
        subject,
        severity: match finding.severity {
            Severity::Info => model::Severity::Info,
            Severity::Warning => model::Severity::Warning,
            Severity::Error => model::Severity::Error,
            Severity::Critical => model::Severity::Critical,
        },
        score: ratio("a score", finding.score)?,
        predicted: finding.predicted.map(Moment::from_nanos),
        message: message(&finding.message),
        evidence: facts(finding.evidence)?,
    })
}

pub(crate) fn gauges(gauges: Vec<Metric>) -> Result<Vec<(String, f64)>, Fault> {
    let one = |gauge: Metric| {
        let name = name("gauge's name", gauge.name)?;
        let value = finite(&name, gauge.value)?;
        Ok((name, value))
    };
    at_most("gauges", gauges, GAUGES)?.into_iter().map(one).collect()
}

pub(crate) fn window(window: Window) -> heald_model::Window {
    heald_model::Window {
        samples: window.samples,
        span: Duration::from_nanos(window.span),
        sliding: window.mode == WindowMode::Sliding,
    }
}

/// The actions of a plug-in: each name occurs once, and each schema is one.
pub(crate) fn actions(infos: Vec<ActionInfoResult>) -> Result<Vec<model::ActionInfo>, Fault> {
    let mut actions: Vec<model::ActionInfo> = Vec::with_capacity(infos.len());
    for info in at_most("actions", infos, ACTIONS)? {
        if actions.iter().any(|known| known.name == info.name) {
            return Err(bad(format!("the action `{}` twice", text::clean(&info.name, 64))));
        }
        let parameters = json("the parameters of an action", &info.parameters)?;
        if !parameters.is_object() && !parameters.is_boolean() {
            return Err(bad(format!("the parameters of `{}` are no JSON Schema", text::clean(&info.name, 64))));
        }
        actions.push(model::ActionInfo {
            name: name("action's name", info.name)?,
            summary: message(&info.summary),
            parameters,
            disruptive: info.disruptive,
            undoable: info.undoable,
            facts: facts(info.facts)?,
        });
    }
    Ok(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> FindingResult {
        FindingResult {
            condition: "high-cpu".into(),
            subject: Some("http".into()),
            severity: Severity::Error,
            score: 1.0,
            predicted: None,
            message: "busy".into(),
            evidence: Vec::new(),
        }
    }

    fn fact(value: ScalarResult) -> FactResult {
        FactResult { name: "cpu".into(), value }
    }

    #[test]
    fn one_wrong_number_voids_the_whole_answer() {
        assert_eq!(findings(vec![finding(), finding()]).map(|all| all.len()), Ok(2));
        for score in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
            let fault = findings(vec![finding(), FindingResult { score, ..finding() }]).unwrap_err();
            assert_eq!(fault.cause, FaultCause::BadOutput);
        }
        let evidence = vec![fact(ScalarResult::Number(f64::NEG_INFINITY))];
        assert!(findings(vec![FindingResult { evidence, ..finding() }]).is_err());
        assert!(gauges(vec![Metric { name: "x".into(), value: f64::NAN }]).is_err());
    }

    #[test]
    fn words_about_a_number_have_no_name_in_them_that_is_none() {
        let long = "\u{1b}[2J".repeat(100_000);
        let number = ScalarResult::Number(f64::NAN);
        let evidence = facts(vec![FactResult { name: long.clone(), value: number }]).unwrap_err();
        let gauge = gauges(vec![Metric { name: long, value: f64::NAN }]).unwrap_err();
        for fault in [evidence, gauge] {
            assert!(fault.detail.len() < 128 && !fault.detail.chars().any(char::is_control), "{}", fault.detail);
        }
    }

    #[test]
    fn names_and_subjects_do_not_turn_what_is_around_them() {
        for word in ["\u{202e}evil", "a\u{2066}b"] {
            assert!(findings(vec![FindingResult { condition: word.into(), ..finding() }]).is_err());
            assert!(findings(vec![FindingResult { subject: Some(word.into()), ..finding() }]).is_err());
        }
    }

    #[test]
    fn every_list_and_text_has_an_end() {
        assert!(findings((0..=FINDINGS).map(|_| finding()).collect()).is_err());
        let evidence = (0..=FACTS).map(|_| fact(ScalarResult::Truth(true))).collect();
        assert!(findings(vec![FindingResult { evidence, ..finding() }]).is_err());
        for condition in [String::new(), "x".repeat(NAME + 1), "a b".into(), "a\n".into()] {
            assert!(findings(vec![FindingResult { condition, ..finding() }]).is_err());
        }
        assert!(state(Some(vec![0; STATE + 1])).is_err());
        assert!(state(Some(vec![0; STATE])).is_ok());
        assert!(json("parameters", &format!("\"{}\"", "x".repeat(JSON))).is_err());
        assert!(json("parameters", "{").is_err());
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(json("parameters", &nested(NESTED)).is_ok());
        for depth in [NESTED + 1, 127, 10_000] {
            assert!(json("parameters", &nested(depth)).is_err(), "{depth}");
        }
    }

    #[test]
    fn text_for_people_is_cleaned_not_refused() {
        let all = findings(vec![FindingResult { message: "a\u{1b}[31m\nb".repeat(1_000), ..finding() }]).unwrap();
        assert!(all[0].message.len() <= MESSAGE + '…'.len_utf8());
        assert!(!all[0].message.chars().any(char::is_control));
    }
}
