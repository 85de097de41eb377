//! Flapping, as Nagios tells it: of the last 21 verdicts, how many differ from the one before, the newer counting more.
//!
//! The oldest of the 20 possible changes weighs 0.75, the newest 1.25, those between evenly spaced; the sum over 20 is the
//! percentage. It begins at a high mark and ends at a lower one, so that the word "flapping" does not flap itself. The marks
//! are not Nagios's 20 and 5: with probes every second, two crashes that were healed at once would pass 20. They are 50 and
//! 25: about ten changes in 21 verdicts, where no restart has helped.

/// How many verdicts are looked at.
pub const VERDICTS: u32 = 21;
/// How many changes there can be between them.
const CHANGES: u32 = VERDICTS - 1;
/// Weight of the oldest change, and of the newest.
const WEIGHTS: (f64, f64) = (0.75, 1.25);

/// The last verdicts, the newest in the lowest bit; 1 is a failure. Those that never were count as passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct History(u32);

impl History {
    /// One verdict later.
    #[must_use]
    pub fn after(self, failed: bool) -> Self {
        Self(((self.0 << 1) | u32::from(failed)) & ((1 << VERDICTS) - 1))
    }

    /// Weighted share of changes, in percent.
    pub fn percent(self) -> f64 {
        let changes = self.0 ^ (self.0 >> 1);
        let step = (WEIGHTS.1 - WEIGHTS.0) / f64::from(CHANGES - 1);
        // Bit 0 of `changes` is the newest change.
        let weight = |age: u32| WEIGHTS.1 - step * f64::from(age);
        let sum: f64 = (0..CHANGES).filter(|age| changes >> age & 1 == 1).map(weight).sum();
        sum / f64::from(CHANGES) * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(verdicts: &str) -> f64 {
        verdicts.chars().fold(History::default(), |history, verdict| history.after(verdict == 'x')).percent()
    }

    #[test]
    fn steady_is_nothing_and_alternating_is_everything() {
        assert_eq!(percent("....................."), 0.0);
        assert_eq!(percent("xxxxxxxxxxxxxxxxxxxxx"), 0.0, "down for long is down, not flapping");
        assert!((percent("x.x.x.x.x.x.x.x.x.x.x") - 100.0).abs() < 1e-9);
    }

    #[test]
    fn newer_changes_weigh_more() {
        assert!((percent("....................x") - 6.25).abs() < 1e-9, "1.25 of 20");
        assert!((percent("xxxxxxxxxxxxxxxxxxxx.") - 6.25).abs() < 1e-9);
        assert!((percent(".xxxxxxxxxxxxxxxxxxxx") - 3.75).abs() < 1e-9, "0.75 of 20");
    }

    #[test]
    fn verdicts_older_than_21_are_gone() {
        assert_eq!(percent("x.x.x.x.x.x.x.x......................"), 0.0);
    }
}
