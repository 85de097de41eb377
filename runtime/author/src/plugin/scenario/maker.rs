//! Values that change from sample to sample: constants, ramps, cycles, noise, flapping. Pure: the same place and the same dice
//! give the same value.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

/// A point or a length of virtual time, as text: `"3s"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Time(#[serde(with = "heald_model::time::text")] pub Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&heald_model::time::text::format(self.0))
    }
}

/// What a value of this kind can be made of.
pub trait MadeValue: Clone {
    /// Between two of them: 0 is the first, 1 the second; None: there is nothing between.
    fn between(_: &Self, _: &Self, _: f64) -> Option<Self> {
        None
    }
    /// The other one of two, for what flaps.
    fn swinging(_: bool) -> Option<Self> {
        None
    }
}

impl MadeValue for f64 {
    fn between(from: &Self, to: &Self, share: f64) -> Option<Self> {
        Some((to - from).mul_add(share, *from))
    }
}

impl MadeValue for Time {
    fn between(from: &Self, to: &Self, share: f64) -> Option<Self> {
        let seconds = f64::between(&from.0.as_secs_f64(), &to.0.as_secs_f64(), share)?;
        Duration::try_from_secs_f64(seconds).ok().map(Self)
    }
}

impl MadeValue for bool {
    fn swinging(first: bool) -> Option<Self> {
        Some(first)
    }
}

impl MadeValue for String {}

/// How a value is made for each sample of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Maker<T> {
    /// Always this: `memory = 40`.
    Constant(T),
    /// Evenly from the first sample to the last: `memory = { ramp = [40, 99] }`.
    Ramp(T, T),
    /// One after the other, and again from the beginning: `status = { cycle = [200, 200, 503] }`.
    Cycle(Vec<T>),
    /// Anything between, as the dice fall: `cpu = { noise = [10, 30] }`.
    Noise(T, T),
    /// So many samples one way, as many the other: `ok = { flap = 2 }` is yes, yes, no, no, yes, ...
    Flap(u32),
}

impl<T: MadeValue> Maker<T> {
    /// The value of the sample at `place` of `count`, with these dice.
    pub fn make(&self, place: u32, count: u32, dice: u64) -> Option<T> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Ramp(from, to) => {
                let last = count.saturating_sub(1);
                let share = if last == 0 { 0.0 } else { f64::from(place) / f64::from(last) };
                T::between(from, to, share)
            }
            Self::Cycle(values) => values.get(usize::try_from(place).ok()? % values.len().max(1)).cloned(),
            Self::Noise(low, high) => T::between(low, high, ratio(dice)),
            Self::Flap(run) => T::swinging((place / (*run).max(1)).is_multiple_of(2)),
        }
    }
}

/// 0..1 of 64 bits.
fn ratio(dice: u64) -> f64 {
    // 53 bits fill a double exactly.
    #[allow(clippy::cast_precision_loss)]
    let ratio = (dice >> 11) as f64 / (1_u64 << 53) as f64;
    ratio
}

/// Dice for one place, from the scenario's seed (splitmix64).
pub(super) fn dice(seed: u64, step: usize, place: u32) -> u64 {
    let mut bits = seed ^ (step as u64).rotate_left(32) ^ u64::from(place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// How a maker may be written.
const FORMS: &str =
    "a value, { ramp = [from, to] }, { noise = [low, high] }, { cycle = [one, another] } or, for ok, { flap = 2 }";

#[derive(Deserialize)]
#[serde(untagged)]
enum MakerForm<T> {
    Table(MakerTable<T>),
    Plain(T),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MakerTable<T> {
    ramp: Option<[T; 2]>,
    noise: Option<[T; 2]>,
    cycle: Option<Vec<T>>,
    flap: Option<u32>,
}

impl<'de, T: MadeValue + Deserialize<'de>> Deserialize<'de> for Maker<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let wanted = || D::Error::custom(format!("wanted is {FORMS}"));
        let form = MakerForm::deserialize(from).map_err(|_| wanted())?;
        let maker = match form {
            MakerForm::Plain(value) => Self::Constant(value),
            MakerForm::Table(MakerTable { ramp: Some([a, b]), noise: None, cycle: None, flap: None }) => {
                Self::Ramp(a, b)
            }
            MakerForm::Table(MakerTable { ramp: None, noise: Some([a, b]), cycle: None, flap: None }) => {
                Self::Noise(a, b)
            }
            MakerForm::Table(MakerTable { ramp: None, noise: None, cycle: Some(all), flap: None }) => Self::Cycle(all),
            MakerForm::Table(MakerTable { ramp: None, noise: None, cycle: None, flap: Some(run) }) => Self::Flap(run),
            MakerForm::Table(_) => return Err(wanted()),
        };
        // A ramp of words makes nothing, an empty cycle neither.
        if maker.make(0, 1, 0).is_none() { Err(wanted()) } else { Ok(maker) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct MakerLine<T: MadeValue> {
        #[serde(bound(deserialize = "T: Deserialize<'de>"))]
        v: Maker<T>,
    }

    fn numbers(text: &str, count: u32) -> Vec<f64> {
        let line: MakerLine<f64> = toml::from_str(text).unwrap();
        (0..count).map(|place| line.v.make(place, count, dice(7, 0, place)).unwrap()).collect()
    }

    #[test]
    fn values_are_made_by_place() {
        assert_eq!(numbers("v = 3", 2), [3.0, 3.0]);
        assert_eq!(numbers("v = { ramp = [10, 20.0] }", 5), [10.0, 12.5, 15.0, 17.5, 20.0]);
        assert_eq!(numbers("v = { ramp = [10, 20] }", 1), [10.0]);
        assert_eq!(numbers("v = { cycle = [1, 2, 3] }", 5), [1.0, 2.0, 3.0, 1.0, 2.0]);
        let flap: MakerLine<bool> = toml::from_str("v = { flap = 2 }").unwrap();
        let made: Vec<_> = (0..5).map(|place| flap.v.make(place, 5, 0).unwrap()).collect();
        assert_eq!(made, [true, true, false, false, true]);
        let time: MakerLine<Time> = toml::from_str("v = { ramp = [\"20ms\", \"40ms\"] }").unwrap();
        assert_eq!(time.v.make(1, 3, 0), Some(Time(Duration::from_millis(30))));
    }

    #[test]
    fn noise_stays_within_and_repeats() {
        let first = numbers("v = { noise = [10, 20] }", 200);
        assert!(first.iter().all(|value| (10.0..20.0).contains(value)));
        assert!(first.iter().any(|value| *value < 12.0) && first.iter().any(|value| *value > 18.0));
        assert_eq!(first, numbers("v = { noise = [10, 20] }", 200));
    }

    #[test]
    fn what_makes_nothing_is_refused() {
        for wrong in [
            "v = \"x\"",
            "v = { rmap = [1, 2] }",
            "v = { ramp = [1] }",
            "v = { cycle = [] }",
            "v = { flap = 1 }",
            "v = { ramp = [1, 2], cycle = [1] }",
        ] {
            let error = toml::from_str::<MakerLine<f64>>(wrong).err().unwrap().to_string();
            assert!(error.contains("{ ramp = [from, to] }") && error.contains("line 1"), "{wrong}: {error}");
        }
        assert!(toml::from_str::<MakerLine<String>>("v = { ramp = [\"a\", \"b\"] }").is_err());
    }
}
