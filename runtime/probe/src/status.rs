//! Which HTTP status codes pass: `[200]`, `["200-399"]`, `[200, 204, "300-399"]`.
//!
//! It refuses codes that do not exist and ranges that run backwards.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The status codes that exist.
const CODES: RangeInclusive<u16> = 100..=599;

/// A set of status codes, in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(Vec<RangeInclusive<u16>>);

impl StatusSet {
    /// Whether the set holds a code.
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|range| range.contains(&code))
    }

    /// Whether the set is empty, so that no code passes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for StatusSet {
    /// 200-399, as the kubelet means it.
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

fn code(code: u64) -> Result<RangeInclusive<u16>, String> {
    u16::try_from(code)
        .ok()
        .filter(|code| CODES.contains(code))
        .map(|code| code..=code)
        .ok_or_else(|| format!("{code} is no HTTP status code; allowed are 100 to 599"))
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
        (Ok(low), Ok(high)) if low <= high && CODES.contains(&low) && CODES.contains(&high) => Ok(low..=high),
        _ => Err(format!("`{text}` is no HTTP status code or range; write 200 or \"200-399\", from 100 to 599")),
    }
}

/// Reads one code or range.
struct CodeVisitor;

impl Visitor<'_> for CodeVisitor {
    type Value = RangeInclusive<u16>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status code such as 200 or a range such as \"200-399\"")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        code(value).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        code(u64::try_from(value).unwrap_or(0)).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        range(text).map_err(E::custom)
    }
}

struct CodeRange(RangeInclusive<u16>);

impl<'de> Deserialize<'de> for CodeRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodeVisitor).map(Self)
    }
}

/// Reads a list of codes and ranges, or a single one.
struct CodeListVisitor;

impl<'de> Visitor<'de> for CodeListVisitor {
    type Value = StatusSet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of status codes such as [200] or [\"200-399\"]")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<StatusSet, E> {
        CodeVisitor.visit_u64(value).map(|range| StatusSet(vec![range]))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<StatusSet, E> {
        CodeVisitor.visit_i64(value).map(|range| StatusSet(vec![range]))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<StatusSet, E> {
        CodeVisitor.visit_str(text).map(|range| StatusSet(vec![range]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<StatusSet, A::Error> {
        let mut ranges = Vec::new();
        while let Some(CodeRange(range)) = seq.next_element()? {
            ranges.push(range);
        }
        Ok(StatusSet(ranges))
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodeListVisitor)
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for range in &self.0 {
            let (low, high) = (range.start(), range.end());
            if low == high {
                seq.serialize_element(low)?;
            } else {
                seq.serialize_element(&format!("{low}-{high}"))?;
            }
        }
        seq.end()
    }
}
