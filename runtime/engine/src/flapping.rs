//! Flapping: checks that pass and fail in turn. Pure.
//!
//! As Nagios defines it ("Detection and Handling of State Flapping", Nagios Core documentation): the share of changes among the
//! last 21 verdicts, newer changes weighing more (from 0.8 to 1.2); it starts at one share and ends at a lower one.

use std::collections::VecDeque;

/// Verdicts that are kept: twenty changes.
const VERDICTS: usize = 21;
/// The share of changes at which it starts.
const STARTS: f64 = 0.5;
/// The share of changes below which it ends.
const ENDS: f64 = 0.25;

/// Whether a service flaps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flapping {
    verdicts: VecDeque<bool>,
    on: bool,
}

impl Flapping {
    /// Takes in what the checks of the service say together.
    pub(crate) fn hear(&mut self, ok: bool) {
        self.verdicts.push_back(ok);
        if self.verdicts.len() > VERDICTS {
            self.verdicts.pop_front();
        }
        let share = self.share();
        self.on = if self.on { share >= ENDS } else { share >= STARTS };
    }

    /// True while it flaps.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// The weighted share of changes, 0..1.
    fn share(&self) -> f64 {
        const CHANGES: f64 = (VERDICTS - 1) as f64;
        let missing = VERDICTS - self.verdicts.len();
        let pairs = self.verdicts.iter().zip(self.verdicts.iter().skip(1)).enumerate();
        let weight = |place: usize| 0.8 + 0.4 * (place + missing) as f64 / (CHANGES - 1.0);
        pairs.filter(|(_, (a, b))| a != b).map(|(place, _)| weight(place)).sum::<f64>() / CHANGES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(verdicts: impl IntoIterator<Item = bool>) -> Flapping {
        let mut flapping = Flapping::default();
        verdicts.into_iter().for_each(|ok| flapping.hear(ok));
        flapping
    }

    #[test]
    fn what_changes_every_time_flaps_and_what_has_settled_does_not() {
        let alternating = (0..21).map(|n| n % 2 == 0);
        assert!((after(alternating.clone()).share() - 1.0).abs() < 1e-9, "the weights are 1 in the mean");
        assert!(after(alternating.clone()).is_on());
        assert!(!after([true; 21]).is_on());
        let settling = |calm: usize| after(alternating.clone().chain(std::iter::repeat_n(true, calm))).is_on();
        assert!(settling(10), "it ends later than it starts");
        assert!(!settling(18));
    }

    #[test]
    fn one_failure_in_five_and_a_single_outage_are_no_flapping() {
        assert!(!after((0..100).map(|n| n % 5 != 0)).is_on());
        assert!(!after((0..21).map(|n| !(8..14).contains(&n))).is_on());
    }
}
