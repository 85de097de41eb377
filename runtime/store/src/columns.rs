//! Columns of numbers, texts and presence, encoded small and decoded to the same bits.
//!
//! Values of one kind lie side by side. They are stored as differences where neighbours resemble each other, divided by
//! their common divisor, in as few bits as their usual size needs ([`rice`]). The deflate around the whole does the
//! rest. Input is never trusted: a column that does not fit is an error, and neither a panic nor a large allocation.

mod rice;

use std::collections::HashMap;

/// How many decimals are tried before a column of floats is written bit by bit.
const DECIMALS: u8 = 9;
/// The mark of a column of floats that is written bit by bit.
const BITS: u8 = 255;

/// Why a column cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it ends too early or is malformed")]
pub(crate) struct InvalidColumns;

/// Writes columns.
#[derive(Debug, Default)]
pub(crate) struct ColumnWriter {
    bytes: Vec<u8>,
    words: Vec<String>,
    places: HashMap<String, u64>,
}

impl ColumnWriter {
    /// Everything that was written, with the words first.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut head = Self::default();
        head.number(self.words.len() as u64);
        for word in &self.words {
            head.bytes(word.as_bytes());
        }
        head.bytes.extend(self.bytes);
        head.bytes
    }

    /// One number: seven bits a byte, the lowest first.
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// Bytes, after their count.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// The index of a text among the words. The column stores the index.
    pub(crate) fn word(&mut self, text: &str) -> u64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.words.len() as u64;
        self.words.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }

    /// A column of whole numbers; signed numbers are given as two's complement.
    pub(crate) fn numbers(&mut self, values: &[u64]) {
        let cheapest = ENCODINGS
            .into_iter()
            .map(|form| {
                let (head, rest) = form.apart(values);
                let divisor = common(rest.iter().copied());
                let rest: Vec<u64> = rest.into_iter().map(|value| zigzag(divided(value, divisor))).collect();
                let (width, bits) = rice::width(&rest);
                (bits, form, divisor, head, rest, width)
            })
            .min_by_key(|(bits, ..)| *bits);
        let Some((_, form, divisor, head, rest, width)) = cheapest else { return };
        self.bytes.extend([form as u8, width]);
        self.number(divisor);
        head.iter().for_each(|value| self.number(*value));
        rice::write(&mut self.bytes, &rest, width);
    }

    /// A column of floats.
    pub(crate) fn floats(&mut self, values: &[f64]) {
        let scaled = (0..=DECIMALS).find_map(|decimals| Some((decimals, scaled(values, decimals)?)));
        if let Some((decimals, steps)) = scaled {
            self.bytes.push(decimals);
            return self.numbers(&steps);
        }
        self.bytes.push(BITS);
        let mut before = 0;
        let changes: Vec<u64> =
            values.iter().map(|value| value.to_bits() ^ std::mem::replace(&mut before, value.to_bits())).collect();
        self.planes(&changes);
    }

    /// A column of numbers that have no pattern, except perhaps in some of their bytes.
    pub(crate) fn planes(&mut self, values: &[u64]) {
        for plane in 0..8 {
            self.bytes.extend(values.iter().map(|value| (value >> (8 * plane)) as u8));
        }
    }

    /// Which values are present, as the lengths of runs, beginning with a run of present values.
    pub(crate) fn presence(&mut self, there: impl Iterator<Item = bool>) {
        let mut runs = vec![0_u64];
        let mut now = true;
        for there in there {
            if there != now {
                runs.push(0);
                now = there;
            }
            if let Some(run) = runs.last_mut() {
                *run += 1;
            }
        }
        runs.into_iter().for_each(|run| self.number(run));
    }

    /// A column of optional numbers.
    pub(crate) fn optional(&mut self, values: &[Option<u64>]) {
        self.presence(values.iter().map(Option::is_some));
        self.numbers(&values.iter().flatten().copied().collect::<Vec<_>>());
    }

    /// A column of optional floats.
    pub(crate) fn optional_floats(&mut self, values: &[Option<f64>]) {
        self.presence(values.iter().map(Option::is_some));
        self.floats(&values.iter().flatten().copied().collect::<Vec<_>>());
    }

    /// A column of optional words.
    pub(crate) fn optional_words<'a>(&mut self, values: impl Iterator<Item = Option<&'a str>>) {
        let places: Vec<Option<u64>> = values.map(|value| value.map(|text| self.word(text))).collect();
        self.optional(&places);
    }
}

/// Reads columns, in the order in which they were written.
#[derive(Debug)]
pub(crate) struct ColumnReader<'a> {
    bytes: &'a [u8],
    words: Vec<&'a str>,
}

impl<'a> ColumnReader<'a> {
    /// Reads the words, which come first.
    pub(crate) fn begin(bytes: &'a [u8]) -> Result<Self, InvalidColumns> {
        let mut reader = Self { bytes, words: Vec::new() };
        let count = reader.count()?;
        reader.words = (0..count)
            .map(|_| std::str::from_utf8(reader.bytes()?).map_err(|_| InvalidColumns))
            .collect::<Result<_, InvalidColumns>>()?;
        Ok(reader)
    }

    /// Ends reading. Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), InvalidColumns> {
        if self.bytes.is_empty() { Ok(()) } else { Err(InvalidColumns) }
    }

    pub(crate) fn number(&mut self) -> Result<u64, InvalidColumns> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits.checked_shl(shift).is_none_or(|shifted| shifted >> shift != bits) {
                return Err(InvalidColumns);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(InvalidColumns)
    }

    /// A count of items that take at least one byte each, so that no count allocates more than the input has.
    pub(crate) fn count(&mut self) -> Result<usize, InvalidColumns> {
        let count = usize::try_from(self.number()?).map_err(|_| InvalidColumns)?;
        if count <= self.bytes.len() { Ok(count) } else { Err(InvalidColumns) }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], InvalidColumns> {
        let count = self.count()?;
        self.take(count)
    }

    pub(crate) fn text(&self, place: u64) -> Result<&'a str, InvalidColumns> {
        usize::try_from(place).ok().and_then(|place| self.words.get(place)).copied().ok_or(InvalidColumns)
    }

    pub(crate) fn numbers(&mut self, count: usize) -> Result<Vec<u64>, InvalidColumns> {
        let form = ColumnEncoding::of(self.byte()?)?;
        let width = self.byte()?;
        let divisor = self.number()?;
        let head = (0..form.heads().min(count)).map(|_| self.number()).collect::<Result<Vec<_>, _>>()?;
        let rest = rice::read(&mut self.bytes, count - head.len().min(1), width)?;
        let rest: Vec<i64> = rest.into_iter().map(|value| unzigzag(value).wrapping_mul(divisor as i64)).collect();
        Ok(form.together(&head, &rest))
    }

    pub(crate) fn floats(&mut self, count: usize) -> Result<Vec<f64>, InvalidColumns> {
        match self.byte()? {
            decimals @ 0..=DECIMALS => {
                let steps = self.numbers(count)?.into_iter();
                // Steps have at most 53 bits.
                Ok(steps.map(|step| step as i64 as f64 / 10_f64.powi(i32::from(decimals))).collect())
            }
            BITS => {
                let mut before = 0;
                let changes = self.planes(count)?.into_iter();
                Ok(changes
                    .map(|change| {
                        before ^= change;
                        f64::from_bits(before)
                    })
                    .collect())
            }
            _ => Err(InvalidColumns),
        }
    }

    pub(crate) fn planes(&mut self, count: usize) -> Result<Vec<u64>, InvalidColumns> {
        if count > self.bytes.len() {
            return Err(InvalidColumns);
        }
        let mut values = vec![0_u64; count];
        for plane in 0..8 {
            for (value, byte) in values.iter_mut().zip(self.take(count)?) {
                *value |= u64::from(*byte) << (8 * plane);
            }
        }
        Ok(values)
    }

    /// Which of `count` values are present.
    pub(crate) fn presence(&mut self, count: usize) -> Result<Vec<bool>, InvalidColumns> {
        let mut there = Vec::with_capacity(count);
        let mut now = true;
        loop {
            let run = usize::try_from(self.number()?).map_err(|_| InvalidColumns)?;
            if run > count - there.len() || (run == 0 && !there.is_empty()) {
                return Err(InvalidColumns);
            }
            there.resize(there.len() + run, now);
            if there.len() == count {
                return Ok(there);
            }
            now = !now;
        }
    }

    pub(crate) fn optional(&mut self, count: usize) -> Result<Vec<Option<u64>>, InvalidColumns> {
        let there = self.presence(count)?;
        let values = self.numbers(there.iter().filter(|there| **there).count())?;
        Ok(spread(&there, values))
    }

    pub(crate) fn optional_floats(&mut self, count: usize) -> Result<Vec<Option<f64>>, InvalidColumns> {
        let there = self.presence(count)?;
        let values = self.floats(there.iter().filter(|there| **there).count())?;
        Ok(spread(&there, values))
    }

    pub(crate) fn optional_words(&mut self, count: usize) -> Result<Vec<Option<&'a str>>, InvalidColumns> {
        let places = self.optional(count)?;
        places.into_iter().map(|place| place.map(|place| self.text(place)).transpose()).collect()
    }

    fn byte(&mut self) -> Result<u8, InvalidColumns> {
        let (first, rest) = self.bytes.split_first().ok_or(InvalidColumns)?;
        self.bytes = rest;
        Ok(*first)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], InvalidColumns> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(InvalidColumns)?;
        self.bytes = rest;
        Ok(taken)
    }
}

fn spread<T>(there: &[bool], values: Vec<T>) -> Vec<Option<T>> {
    let mut values = values.into_iter();
    there.iter().map(|there| if *there { values.next() } else { None }).collect()
}

/// How a column of numbers is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ColumnEncoding {
    /// Each number as it is.
    Plain = 0,
    /// The first number, then the difference of each to the previous one.
    Steps = 1,
    /// The first number, the mean step, and the distances to the line that these two draw. It suits a steady pace with
    /// small delays.
    Line = 2,
}

const ENCODINGS: [ColumnEncoding; 3] = [ColumnEncoding::Plain, ColumnEncoding::Steps, ColumnEncoding::Line];

impl ColumnEncoding {
    fn of(byte: u8) -> Result<Self, InvalidColumns> {
        ENCODINGS.into_iter().find(|form| *form as u8 == byte).ok_or(InvalidColumns)
    }

    /// How many numbers stand before the encoded ones: the first of the column, where it is not encoded itself, and the
    /// step.
    fn heads(self) -> usize {
        self as usize
    }

    fn apart(self, values: &[u64]) -> (Vec<u64>, Vec<i64>) {
        let Some((first, others)) = values.split_first() else { return (Vec::new(), Vec::new()) };
        match self {
            Self::Plain => (Vec::new(), values.iter().map(|value| *value as i64).collect()),
            Self::Steps => {
                let steps = values.iter().zip(others).map(|(a, b)| b.wrapping_sub(*a) as i64);
                (vec![*first], steps.collect())
            }
            Self::Line if others.is_empty() => (vec![*first], Vec::new()),
            Self::Line => {
                let last = others.last().copied().unwrap_or_default();
                let mean = last.wrapping_sub(*first) as i64 / others.len() as i64;
                // The common divisor of the differences must also divide the distances to the line.
                let unit = common(values.iter().zip(others).map(|(a, b)| b.wrapping_sub(*a) as i64));
                let unit = i64::try_from(unit).unwrap_or(1);
                let step = (mean - mean % unit) as u64;
                let line = (0_u64..).map(|n| first.wrapping_add(step.wrapping_mul(n)));
                let away = values.iter().zip(line).skip(1).map(|(value, line)| value.wrapping_sub(line) as i64);
                (vec![*first, step], away.collect())
            }
        }
    }

    fn together(self, head: &[u64], rest: &[i64]) -> Vec<u64> {
        let rest = rest.iter().map(|value| *value as u64);
        match (self, head) {
            (Self::Plain, _) => rest.collect(),
            (Self::Line, [first, step]) => {
                let line = (1_u64..).map(|n| first.wrapping_add(step.wrapping_mul(n)));
                std::iter::once(*first).chain(rest.zip(line).map(|(away, line)| line.wrapping_add(away))).collect()
            }
            (_, head) => {
                let mut value = head.first().copied().unwrap_or_default();
                let others = rest.map(|step| {
                    value = value.wrapping_add(step);
                    value
                });
                head.iter().take(1).copied().chain(others.collect::<Vec<_>>()).collect()
            }
        }
    }
}

/// Divides exactly. A divisor beyond i64 can only come from `i64::MIN`, whose own divisor it is.
fn divided(value: i64, divisor: u64) -> i64 {
    match i64::try_from(divisor) {
        Ok(divisor) => value / divisor,
        Err(_) if value == 0 => 0,
        Err(_) => -1,
    }
}

/// The values as whole steps of ten to the minus `decimals`, if that is exact.
fn scaled(values: &[f64], decimals: u8) -> Option<Vec<u64>> {
    /// Beyond this, not every whole number is a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let scale = 10_f64.powi(i32::from(decimals));
    let step = |value: &f64| {
        let steps = (value * scale).round();
        let exact = steps.abs() < EXACT
            && (steps / scale).to_bits() == value.to_bits()
            && steps.to_bits() != (-0.0_f64).to_bits();
        exact.then_some(steps as i64 as u64)
    };
    values.iter().map(step).collect()
}

/// The greatest common divisor; 1 if there is nothing to divide.
fn common(values: impl Iterator<Item = i64>) -> u64 {
    let mut divisor = 0;
    for value in values {
        divisor = gcd(divisor, value.unsigned_abs());
        if divisor == 1 {
            break;
        }
    }
    divisor.max(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Maps small numbers of either sign to small unsigned numbers.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[u64]) -> usize {
        let mut sheet = ColumnWriter::default();
        sheet.numbers(values);
        let bytes = sheet.finish();
        let mut reader = ColumnReader::begin(&bytes).unwrap();
        assert_eq!(reader.numbers(values.len()).unwrap(), values);
        reader.finish().unwrap();
        bytes.len()
    }

    fn floats(values: &[f64]) -> usize {
        let mut sheet = ColumnWriter::default();
        sheet.floats(values);
        let bytes = sheet.finish();
        let mut reader = ColumnReader::begin(&bytes).unwrap();
        let read = reader.floats(values.len()).unwrap();
        reader.finish().unwrap();
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read), bits(values));
        bytes.len()
    }

    #[test]
    fn numbers_come_back_whatever_they_are() {
        let steady: Vec<u64> = (0..500).map(|n| 1_790_000_000_000_000_000 + n * 1_000_000_000).collect();
        assert!(numbers(&steady) < 100, "what comes at a steady pace is a bit each before it is deflated");
        for values in [
            &[][..],
            &[0],
            &[u64::MAX],
            &[7, 7],
            &[1, u64::MAX, 0, 1 << 63],
            &[0, 1 << 63],
            &[1 << 63, 0, 1 << 63],
            &[-3_i64 as u64, 5, -9_i64 as u64],
        ] {
            numbers(values);
        }
    }

    #[test]
    fn a_coarse_clock_is_smaller_than_a_fine_one() {
        let mut dice = 1_u64;
        let jitter: Vec<u64> = (0..500_u64)
            .map(|n| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                n * 1_000_000 + (dice >> 33) % 1_000
            })
            .collect();
        let fine: Vec<u64> = jitter.iter().map(|at| at * 1_000 + at % 7).collect();
        let coarse: Vec<u64> = jitter.iter().map(|at| at * 1_000).collect();
        assert!(numbers(&coarse) + 400 < numbers(&fine), "{} {}", numbers(&coarse), numbers(&fine));
    }

    #[test]
    fn floats_come_back_to_the_bit() {
        assert!(floats(&[12.34; 100]) < 30, "decimals are whole numbers");
        for values in [
            &[][..],
            &[0.1 + 0.2],
            &[0.0, -0.0],
            &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY],
            &[f64::from_bits(0x7ff8_0000_dead_beef), f64::MIN_POSITIVE, f64::MAX],
            &[1e300, 1e-300, 123_456.789_012, 9_007_199_254_740_993.0],
            &[-0.000_001, 99.999_999, 4_096.0],
        ] {
            floats(values);
        }
    }

    #[test]
    fn presence_and_words_come_back() {
        for there in [vec![], vec![true], vec![false], vec![false, true, true, false], vec![true; 300]] {
            let mut sheet = ColumnWriter::default();
            sheet.presence(there.iter().copied());
            let bytes = sheet.finish();
            let mut reader = ColumnReader::begin(&bytes).unwrap();
            assert_eq!(reader.presence(there.len()), Ok(there));
            reader.finish().unwrap();
        }
        let words = [Some("refused"), None, Some(""), Some("refused"), Some("größer")];
        let mut sheet = ColumnWriter::default();
        sheet.optional_words(words.into_iter());
        let bytes = sheet.finish();
        let mut reader = ColumnReader::begin(&bytes).unwrap();
        assert_eq!(reader.optional_words(words.len()).unwrap(), words);
        reader.finish().unwrap();
    }

    #[test]
    fn broken_columns_are_errors() {
        let mut sheet = ColumnWriter::default();
        sheet.numbers(&[5, 900, 12]);
        sheet.floats(&[1.5, 0.1 + 0.2]);
        sheet.optional_words([Some("a"), None].into_iter());
        let bytes = sheet.finish();
        let read = |bytes: &[u8]| {
            let mut reader = ColumnReader::begin(bytes)?;
            reader.numbers(3)?;
            reader.floats(2)?;
            reader.optional_words(2)?;
            reader.finish()
        };
        read(&bytes).unwrap();
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Err(InvalidColumns), "cut at {cut}");
        }
        // No byte may cause a panic.
        for place in 0..bytes.len() {
            for byte in 0..=255 {
                let mut wrong = bytes.clone();
                wrong[place] = byte;
                let _ = read(&wrong);
            }
        }
        assert_eq!(ColumnReader::begin(&[0xff; 9]).map(|_| ()), Err(InvalidColumns));
    }
}
