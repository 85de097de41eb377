//! Moments as the API writes them: ISO 8601, UTC, with microseconds. It parses none.

use heald_model::Moment;
use jiff::Timestamp;

/// The current time.
pub(crate) fn now() -> Moment {
    Moment::from_nanos(u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default())
}

/// Without an offset, as clients of the health endpoints know it: `2026-11-22T10:00:00.000001`.
pub(crate) fn plain(moment: Moment) -> String {
    // jiff ends at the year 9999.
    let stamp = Timestamp::from_nanosecond(i128::from(moment.nanos())).unwrap_or(Timestamp::MAX);
    stamp.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

/// With the offset: `2026-11-22T10:00:00.000001+00:00`.
pub(crate) fn full(moment: Moment) -> String {
    plain(moment) + "+00:00"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_microseconds() {
        let moment = Moment::from_nanos(1_795_341_600_000_001_999);
        assert_eq!(plain(moment), "2026-11-22T10:00:00.000001");
        assert_eq!(full(Moment::EPOCH), "1970-01-01T00:00:00.000000+00:00");
        assert_eq!(plain(Moment::NEVER).len(), plain(moment).len());
    }
}
