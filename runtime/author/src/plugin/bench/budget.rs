//! A budget: figures that must not be exceeded, as `p99=50us,memory=8MiB`.

use std::time::Duration;

use heald_model::time;

use super::measure::Measured;

/// What can be bounded.
const TIMES: [&str; 7] = ["p50", "p99", "max", "instantiate_p99", "fresh_p99", "guest", "load"];
const SIZES: [&str; 3] = ["memory", "in", "out"];

/// One bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Time(Duration),
    Size(u64),
}

/// Every bound, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BenchBudget(Vec<(String, Bound)>);

impl BenchBudget {
    /// From the command line.
    ///
    /// # Errors
    /// A sentence that says what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bound = |item: &str| {
            let (name, value) =
                item.split_once('=').ok_or_else(|| format!("`{item}`: write NAME=VALUE, such as p99=50us"))?;
            let (name, value) = (name.trim(), value.trim());
            let bound = match name {
                name if TIMES.contains(&name) => Bound::Time(time::text::parse(&value.replace('µ', "u"))?),
                name if SIZES.contains(&name) => Bound::Size(bytes(value)?),
                _ => return Err(format!("`{name}` is not measured; {}, {} are", TIMES.join(", "), SIZES.join(", "))),
            };
            Ok((name.to_owned(), bound))
        };
        text.split(',').filter(|item| !item.trim().is_empty()).map(bound).collect::<Result<_, _>>().map(Self)
    }

    /// What is past it, in sentences.
    pub(super) fn exceeded(&self, measured: &Measured) -> Vec<String> {
        let past = |(name, bound): &(String, Bound)| match bound {
            Bound::Time(allowed) => {
                let spent = match name.as_str() {
                    "p50" => measured.warm.p50,
                    "p99" => measured.warm.p99,
                    "max" => measured.warm.max,
                    "instantiate_p99" => measured.instantiate.p99,
                    "fresh_p99" => measured.fresh.p99,
                    "guest" => measured.guest,
                    _ => measured.load,
                };
                (spent > *allowed).then(|| (name.clone(), super::time(spent), super::time(*allowed)))
            }
            Bound::Size(allowed) => {
                let spent = match name.as_str() {
                    "memory" => measured.memory,
                    "in" => measured.bytes_in,
                    _ => measured.bytes_out,
                };
                (spent > *allowed).then(|| (name.clone(), super::size(spent), super::size(*allowed)))
            }
        };
        let told = self.0.iter().filter_map(past);
        told.map(|(name, spent, allowed)| format!("{name} is {spent}, {allowed} is allowed ({})", measured.role))
            .collect()
    }
}

/// A number of bytes: `4096`, `64KiB`, `8MiB`; the thousands as well.
fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("", 1),
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
    ];
    let split = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim())).map(|(_, factor)| *factor);
    let number: Option<u64> = number.trim().parse().ok();
    let bytes = number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.ok_or_else(|| format!("`{text}` is no size; write a whole number and a unit, such as 64KiB or 8MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read() {
        let budget = BenchBudget::parse("p99=50us, memory=8MiB,guest=5µs").unwrap();
        let expected = [
            ("p99".to_owned(), Bound::Time(Duration::from_micros(50))),
            ("memory".to_owned(), Bound::Size(8 << 20)),
            ("guest".to_owned(), Bound::Time(Duration::from_micros(5))),
        ];
        assert_eq!(budget.0, expected);
        assert_eq!(BenchBudget::parse("out=10"), Ok(BenchBudget(vec![("out".into(), Bound::Size(10))])));
    }

    #[test]
    fn what_is_no_budget_says_what_is() {
        for (text, words) in [
            ("p99", "NAME=VALUE"),
            ("p95=1ms", "`p95` is not measured; p50, p99"),
            ("p99=fast", "not a duration"),
            ("memory=8ms", "`8ms` is no size"),
            ("memory=1.5MiB", "whole number"),
            ("memory=99999999999999GiB", "no size"),
        ] {
            let error = BenchBudget::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
