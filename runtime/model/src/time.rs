//! Points in time. A [`Moment`] is an argument everywhere; nothing in this crate asks a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch, UTC. The clock behind it never runs backwards within one life of heald.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// Later than any real time; stands for "never".
    pub const NEVER: Self = Self(u64::MAX);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long after `earlier` this is; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(rhs)))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1_000)
    }
}

/// A duration in nanoseconds, saturating (584 years are enough).
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Durations as people write them in configuration: `"500ms"`, `"1s"`, `"1.5s"`, `"2m"`, `"1h"`, `"7d"`; a bare number or
/// numeric text is seconds, as the predecessors' environment variables mean it.
///
/// Use with `#[serde(with = "heald_model::time::text")]`, or [`text::optional`] for an `Option<Duration>`.
pub mod text {
    use std::time::Duration;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    /// The units, and how many nanoseconds each is.
    const UNITS: [(&str, u64); 7] = [
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", SECOND),
        ("m", 60 * SECOND),
        ("h", 3_600 * SECOND),
        ("d", 86_400 * SECOND),
    ];
    const SECOND: u64 = 1_000_000_000;

    /// Reads one duration; at most 584 years, which is what nanoseconds in 64 bits come to.
    ///
    /// # Errors
    /// A sentence that says what is accepted.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let text = text.trim();
        let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let (number, unit) = (number.trim(), unit.trim());
        let unit = if unit.is_empty() { "s" } else { unit };
        let duration = UNITS.iter().find(|(name, _)| *name == unit).and_then(|(_, size)| {
            // Whole numbers are counted exactly: what was written is read back the same.
            let whole = number.parse::<u64>().ok().map(|number| number.checked_mul(*size));
            whole.or_else(|| Some(rounded(number.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0)?, *size)))
        });
        match duration {
            Some(Some(nanos)) => Ok(Duration::from_nanos(nanos)),
            Some(None) => Err(too_long(text)),
            None => {
                Err(format!("`{text}` is not a duration; write a number and a unit, such as 500ms, 1s, 2m, 1h or 7d"))
            }
        }
    }

    /// So many units as whole nanoseconds; None: too many.
    fn rounded(number: f64, unit: u64) -> Option<u64> {
        let nanos = (number * unit as f64).round();
        // The first number that does not fit is a power of two, and so exact.
        (0.0..u64::MAX as f64).contains(&nanos).then_some(nanos as u64)
    }

    fn too_long(text: impl std::fmt::Display) -> String {
        format!("`{text}` is longer than heald can count")
    }

    /// Writes a duration the way [`parse`] reads it, in the largest unit that keeps it whole.
    pub fn format(duration: Duration) -> String {
        let nanos = super::nanos(duration);
        let units = [("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000)];
        let small = [("ms", 1_000_000), ("us", 1_000)];
        units.into_iter().chain(small).find(|(_, size)| nanos >= *size && nanos.is_multiple_of(*size)).map_or_else(
            || if nanos == 0 { "0s".into() } else { format!("{nanos}ns") },
            |(unit, size)| format!("{}{unit}", nanos / size),
        )
    }

    struct Text;

    impl Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a duration such as \"500ms\", \"1s\" or \"2m\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }

        fn visit_u64<E: Error>(self, seconds: u64) -> Result<Duration, E> {
            let nanos = seconds.checked_mul(SECOND);
            nanos.map(Duration::from_nanos).ok_or_else(|| E::custom(too_long(seconds)))
        }

        fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
            let seconds = u64::try_from(seconds).map_err(|_| E::custom("a duration cannot be negative"))?;
            self.visit_u64(seconds)
        }

        fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
            if seconds.is_nan() || seconds < 0.0 {
                return Err(E::custom("a duration cannot be negative"));
            }
            rounded(seconds, SECOND).map(Duration::from_nanos).ok_or_else(|| E::custom(too_long(seconds)))
        }
    }

    /// Reads a duration from text or a number of seconds.
    ///
    /// # Errors
    /// When it is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(Text)
    }

    /// Writes a duration as text.
    ///
    /// # Errors
    /// Only the serializer's own.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*duration))
    }

    /// The same for an optional duration.
    pub mod optional {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer, Serializer};

        #[derive(Deserialize)]
        struct Wrapped(#[serde(with = "super")] Duration);

        /// Reads a duration that may be absent.
        ///
        /// # Errors
        /// When something is there that is no duration.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
        }

        /// Writes a duration that may be absent.
        ///
        /// # Errors
        /// Only the serializer's own.
        pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, serializer),
                None => serializer.serialize_none(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("1s", 1_000),
            ("1.5s", 1_500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("30", 30_000),
            (" 2 s", 2_000),
        ] {
            assert_eq!(text::parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "fast", "1 fortnight", "-1s", "NaNs", "1e400s"] {
            assert!(text::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_survive_the_round_trip() {
        for millis in [0, 1, 999, 1_000, 60_000, 61_000, 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(text::parse(&text::format(duration)), Ok(duration));
        }
        // More digits than a float has.
        for nanos in [1, 9_007_199_254_740_993, 1_000_000_000_100_000_001, u64::MAX] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(text::parse(&text::format(duration)), Ok(duration));
        }
    }

    #[test]
    fn durations_that_cannot_be_counted_are_refused_wherever_they_stand() {
        #[derive(Debug, Deserialize)]
        struct Table {
            #[serde(rename = "for", with = "text")]
            _for: Duration,
        }
        for json in [r#""99999999999s""#, r#""213504d""#, "1e11", "18446744073709551615", "9223372036854775807"] {
            let error = serde_json::from_str::<Table>(&format!(r#"{{"for":{json}}}"#)).unwrap_err().to_string();
            assert!(error.contains("longer than heald can count"), "{json}: {error}");
        }
        for json in ["-1", "-0.5", r#""-1s""#] {
            assert!(serde_json::from_str::<Table>(&format!(r#"{{"for":{json}}}"#)).is_err(), "{json}");
        }
    }

    #[test]
    fn moments_saturate_instead_of_wrapping() {
        assert_eq!(Moment::EPOCH - Duration::from_secs(1), Moment::EPOCH);
        assert_eq!(Moment::NEVER + Duration::from_secs(1), Moment::NEVER);
        assert_eq!(Moment::EPOCH.since(Moment::from_millis(5)), Duration::ZERO);
    }
}
