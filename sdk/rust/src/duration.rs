//! Durations as the operator writes them: `"500ms"`, `"1.5s"`, `"2m"`, `"1h"`, `"1d"`.
//!
//! For a field: `#[serde(deserialize_with = "heald_plugin::duration::read")]`, or `read_option`.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// As the contract counts: nanoseconds, at most 584 years of them.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads the text form.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim_start() {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// For `#[serde(deserialize_with)]`.
pub fn read<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(source)?;
    parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no duration such as 500ms, 1.5s, 2m")))
}

/// For `#[serde(default, deserialize_with)]` on a field that may be missing.
pub fn read_option<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    read(source).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_read() {
        for (text, milliseconds) in [("500ms", 500), ("1.5s", 1_500), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1 week", "1e3s", "..s", "99999999999999999999d"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
