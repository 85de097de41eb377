//! Rice codes: the lowest bits of a number as they are, the rest counted in ones.
//!
//! Numbers of about the same size take little more than that size. This suits the noise that is left once a pattern is
//! taken out; deflate alone would take a third more. It refuses input that ends too early.

use super::InvalidColumns;

/// A number whose upper part is this large is written as a whole, after this many ones.
const ESCAPE: u64 = 24;

/// The number of low bits that makes the code about the shortest, and the length of that code.
pub(crate) fn width(values: &[u64]) -> (u8, u64) {
    // This uses only the size of the numbers. Trying each width on each number would take most of the time.
    let mut sizes = [0_u64; 65];
    for value in values {
        if let Some(size) = sizes.get_mut((64 - value.leading_zeros()) as usize) {
            *size += 1;
        }
    }
    let guess = |width: u8| {
        let each = (0_u32..).zip(&sizes).filter(|(_, count)| **count > 0);
        each.map(|(size, count)| {
            // A number of this many bits is about three quarters of the smallest number with one bit more.
            let upper = if size == 0 { 0 } else { (3_u128 << (size - 1)) / 2 } >> width;
            u128::from(*count)
                * if upper < u128::from(ESCAPE) { upper + 1 + u128::from(width) } else { u128::from(ESCAPE) + 64 }
        })
        .sum::<u128>()
    };
    let width = (0..64).min_by_key(|width| guess(*width)).unwrap_or_default();
    let bits = values.iter().map(|value| value >> width);
    (width, bits.map(|upper| if upper < ESCAPE { upper + 1 + u64::from(width) } else { ESCAPE + 64 }).sum())
}

/// Writes the numbers and fills up the last byte.
pub(crate) fn write(bytes: &mut Vec<u8>, values: &[u64], width: u8) {
    let mut bits = Bits { bytes, held: 0, filled: 0 };
    for value in values {
        let upper = value >> width;
        if upper < ESCAPE {
            bits.put((1 << upper) - 1, upper as u8 + 1);
            bits.put(value & ((1 << width) - 1), width);
        } else {
            bits.put((1 << ESCAPE) - 1, ESCAPE as u8);
            bits.put(*value, 64);
        }
    }
    bits.finish();
}

/// Packs bits into bytes.
struct Bits<'a> {
    bytes: &'a mut Vec<u8>,
    held: u128,
    filled: u8,
}

impl Bits<'_> {
    fn put(&mut self, bits: u64, count: u8) {
        self.held |= u128::from(bits) << self.filled;
        self.filled += count;
        while self.filled >= 8 {
            self.bytes.push(self.held as u8);
            self.held >>= 8;
            self.filled -= 8;
        }
    }

    fn finish(self) {
        if self.filled > 0 {
            self.bytes.push(self.held as u8);
        }
    }
}

/// Reads `count` numbers and takes them off the front.
pub(crate) fn read(bytes: &mut &[u8], count: usize, width: u8) -> Result<Vec<u64>, InvalidColumns> {
    // Each number takes at least one bit, so no count allocates more than the input has.
    if width > 63 || count / 8 > bytes.len() {
        return Err(InvalidColumns);
    }
    let mut place = 0_usize;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let upper = u64::from((!peek(bytes, place)).trailing_zeros());
        if upper < ESCAPE {
            place += upper as usize + 1;
            values.push(upper << width | peek(bytes, place) & ((1 << width) - 1));
            place += usize::from(width);
        } else {
            place += ESCAPE as usize;
            values.push(peek(bytes, place));
            place += 64;
        }
    }
    let (_, rest) = bytes.split_at_checked(place.div_ceil(8)).ok_or(InvalidColumns)?;
    *bytes = rest;
    Ok(values)
}

/// The next 64 bits from a position; zeros behind the end.
fn peek(bytes: &[u8], place: usize) -> u64 {
    let from = bytes.get(place / 8..).unwrap_or_default();
    let wide = from.iter().take(9).rev().fold(0_u128, |wide, byte| wide << 8 | u128::from(*byte));
    (wide >> (place % 8)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_come_back() {
        let noise: Vec<u64> = (0..400_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44).collect();
        for values in [vec![], vec![0; 9], vec![u64::MAX, 0, 1, u64::MAX >> 1], noise] {
            let (width, bits) = width(&values);
            let mut bytes = Vec::new();
            write(&mut bytes, &values, width);
            assert_eq!(bytes.len() as u64, bits.div_ceil(8));
            bytes.push(0xaa);
            let mut rest = bytes.as_slice();
            assert_eq!(read(&mut rest, values.len(), width), Ok(values));
            assert_eq!(rest, [0xaa]);
        }
    }

    #[test]
    fn noise_of_twenty_bits_takes_little_more() {
        let noise: Vec<u64> = (0..1_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44).collect();
        let (_, bits) = width(&noise);
        assert!(bits < 22_000, "{bits}");
    }

    #[test]
    fn an_end_too_early_is_an_error() {
        assert_eq!(read(&mut &[0xff; 8][..], 1, 3), Err(InvalidColumns));
        assert_eq!(read(&mut &[][..], 1, 0), Err(InvalidColumns));
        assert_eq!(read(&mut &[0; 8][..], usize::MAX, 0), Err(InvalidColumns));
        assert_eq!(read(&mut &[0; 8][..], 1, 64), Err(InvalidColumns));
    }
}
