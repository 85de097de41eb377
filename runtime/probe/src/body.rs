//! What a service reports about itself in a JSON body: its `status`, and metrics under `details`.
//!
//! It never fails: a body or a field that it does not understand is left out.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The most custom metrics that are kept; each becomes a label and journal rows.
const VALUES: usize = 64;
/// The longest name and the longest status.
const WORD: usize = 64;
/// Statuses that fail the check. All others pass: a degraded service still serves.
const DOWN: [&str; 12] = [
    "down",
    "error",
    "unhealthy",
    "offline",
    "out_of_service",
    "not_serving",
    "circuit_open",
    "critical",
    "dead",
    "fail",
    "failed",
    "failing",
];

/// The understood part of a body.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HealthBody {
    /// `status`, in the service's own spelling.
    pub(crate) reported: Option<String>,
    /// `details.cpu_usage`, percent.
    pub(crate) cpu: Option<f64>,
    /// `details.memory_usage`, percent.
    pub(crate) memory: Option<f64>,
    /// `details.error_rate`, a share.
    pub(crate) error_rate: Option<f64>,
    /// `details.response_time` as `response_time_ms`, and `details.custom_metrics.*`.
    pub(crate) values: BTreeMap<String, f64>,
}

impl HealthBody {
    /// Reads a body and leaves out what it does not understand.
    pub(crate) fn read(body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => Self::of(&object),
            _ => Self::default(),
        }
    }

    fn of(object: &Map<String, Value>) -> Self {
        let reported = object.get("status").and_then(word);
        let Some(Value::Object(details)) = object.get("details") else {
            return Self { reported, ..Self::default() };
        };
        let measure = |name: &str| details.get(name).and_then(number);
        let mut values = BTreeMap::new();
        if let Some(Value::Object(custom)) = details.get("custom_metrics") {
            values.extend(custom.iter().filter_map(|(name, value)| Some((metric(name)?, number(value)?))).take(VALUES));
        }
        values.extend(measure("response_time").map(|millis| ("response_time_ms".to_owned(), millis)));
        Self {
            reported,
            cpu: measure("cpu_usage"),
            memory: measure("memory_usage"),
            error_rate: measure("error_rate"),
            values,
        }
    }

    /// Whether the service reports that it is down.
    pub(crate) fn down(&self) -> bool {
        let Some(word) = &self.reported else { return false };
        let word = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        word == "0" || DOWN.contains(&word.as_str())
    }
}

/// A status is a word, or 1 and 0 for up and down. Other numbers are ignored, because many bodies repeat the HTTP code.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(word) => Some(word.chars().filter(|c| !c.is_control()).take(WORD).collect()),
        Value::Number(number) if matches!(number.as_u64(), Some(0 | 1)) => Some(number.to_string()),
        _ => None,
    }
}

/// The name of a custom metric without control characters, which would reach terminals and labels. A name that is too long
/// is left out: cut short, it could be another's.
fn metric(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    (!name.is_empty() && name.len() <= WORD).then_some(name)
}

/// A metric value, quantised so that the stored value is the judged value.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().and_then(quantised)
}

/// Rounds to six decimals, more than any metric here has. `None` if the value is negative or not finite.
pub(crate) fn quantised(value: f64) -> Option<f64> {
    const STEPS: f64 = 1e6;
    if !value.is_finite() || value < 0.0 {
        return None;
    }
    let steps = value * STEPS;
    Some(if steps.is_finite() { steps.round() / STEPS } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_predecessors_word_for_down_is_understood() {
        for (body, down) in [
            (r#"{"status":"DOWN"}"#, true),
            (r#"{"status":"ERROR"}"#, true),
            (r#"{"status":"unhealthy"}"#, true),
            (r#"{"status":"offline"}"#, true),
            (r#"{"status":"circuit_open"}"#, true),
            (r#"{"status":"Out-Of-Service"}"#, true),
            (r#"{"status":0}"#, true),
            (r#"{"status":1}"#, false),
            (r#"{"status":"ok"}"#, false),
            (r#"{"status":"UP"}"#, false),
            (r#"{"status":"DEGRADED"}"#, false),
            (r#"{"status":"UNKNOWN"}"#, false),
            (r#"{"status":500}"#, false),
            (r#"{"state":"DOWN"}"#, false),
            (r#"["DOWN"]"#, false),
            ("DOWN", false),
            ("", false),
        ] {
            assert_eq!(HealthBody::read(body.as_bytes()).down(), down, "{body}");
        }
    }

    #[test]
    fn details_are_read_as_metrics() {
        let answer = HealthBody::read(
            br#"{"status":"UP","details":{"cpu_usage":12.3456789,"memory_usage":50,"error_rate":0.25,"response_time":120,
                 "custom_metrics":{"queue":7,"name":"x","bad":-1,"":1}}}"#,
        );
        assert_eq!(answer.reported.as_deref(), Some("UP"));
        assert_eq!((answer.cpu, answer.memory, answer.error_rate), (Some(12.345_679), Some(50.0), Some(0.25)));
        let values: Vec<_> = answer.values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(values, [("queue", 7.0), ("response_time_ms", 120.0)]);
    }

    #[test]
    fn what_is_not_measured_is_not_zero() {
        let answer = HealthBody::read(br#"{"details":{"cpu_usage":"high","memory_usage":null,"error_rate":-3}}"#);
        assert_eq!(answer, HealthBody::default());
    }

    #[test]
    fn control_characters_in_the_name_of_a_metric_are_left_out() {
        let answer = HealthBody::read(br#"{"details":{"custom_metrics":{"qu\u001b[31meue\n":7,"\u0000":1}}}"#);
        let names: Vec<_> = answer.values.keys().collect();
        assert_eq!(names, ["qu[31meue"]);
    }

    #[test]
    fn a_flood_of_custom_metrics_is_cut() {
        let many: String = (0..1_000).map(|n| format!("\"m{n}\":1,")).collect();
        let body = format!("{{\"details\":{{\"custom_metrics\":{{{many}\"{}\":1}}}}}}", "x".repeat(1_000));
        assert_eq!(HealthBody::read(body.as_bytes()).values.len(), VALUES);
    }
}
