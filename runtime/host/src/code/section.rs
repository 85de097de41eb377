//! Reads the outermost sections of a WebAssembly file, without a parser. It trusts nothing in the file.
//!
//! A file is a header of eight bytes, and then sections: an id, a length, and that many bytes. Signatures and metadata
//! need no more, and a damaged file is read as far as it goes. It looks into no section but custom ones.

use std::ops::Range;

/// The length of the header: four bytes that say WebAssembly, and four that say which kind.
const HEADER: usize = 8;
/// The id of a custom section, which starts with its name.
const CUSTOM: u8 = 0;

/// Why a file is not read as a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SectionError {
    /// The bytes are something else than a whole component.
    #[error("not a WebAssembly component: {0}")]
    NotComponent(&'static str),
}

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section<'a> {
    id: u8,
    contents: &'a [u8],
    /// Its place in the file, with its id and length.
    pub(crate) range: Range<usize>,
}

impl<'a> Section<'a> {
    /// The contents, if this is the custom section of this name.
    pub(crate) fn custom(&self, name: &str) -> Option<&'a [u8]> {
        let (found, data) = if self.id == CUSTOM { sized(self.contents)? } else { return None };
        (found == name.as_bytes()).then_some(data)
    }
}

/// The file ends in the middle of the section that begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutShort(pub(crate) usize);

/// The sections of a file in their order. A section that is cut short is the last.
pub(crate) fn sections(file: &[u8]) -> impl Iterator<Item = Result<Section<'_>, CutShort>> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let (id, after) = file.get(at..)?.split_first()?;
        let start = at;
        let Some((contents, rest)) = sized(after) else {
            at = file.len();
            return Some(Err(CutShort(start)));
        };
        at = file.len() - rest.len();
        Some(Ok(Section { id: *id, contents, range: start..at }))
    })
}

/// Refuses a file that is no component, and says what it is: a parser would only say that byte 4 is unexpected.
pub(crate) fn recognise(file: &[u8]) -> Result<(), SectionError> {
    Err(SectionError::NotComponent(match file {
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => {
            if sections(file).all(|section| section.is_ok()) {
                return Ok(());
            }
            "the file ends in the middle of a section: it was cut short or damaged; get it anew"
        }
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            "this is a core module; `heald-plugin-build` makes a component of it"
        }
        [b'\0', b'a', b's', b'm', _, _, _, _, ..] => "this is of a newer kind of WebAssembly",
        [0x7f, b'E', b'L', b'F', ..] => "this is machine code; only what heald compiled itself is executed",
        [] => "the file is empty",
        _ => "this is no WebAssembly at all",
    }))
}

/// A custom section, to be appended to a file.
pub(crate) fn encode(name: &str, data: &[u8]) -> Vec<u8> {
    let named = [length(name.len()).as_slice(), name.as_bytes(), data].concat();
    [&[CUSTOM], length(named.len()).as_slice(), &named].concat()
}

/// Reads a length in LEB128 and that many bytes; the second slice is the rest.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_u64;
    // A u32 takes at most five bytes.
    for (index, byte) in bytes.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..)?.split_at_checked(usize::try_from(length).ok()?);
        }
    }
    None
}

fn length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        // Seven bits always fit into a byte.
        let low = u8::try_from(length & 0x7f).unwrap_or(0x7f);
        length >>= 7;
        if length == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn what_was_put_in_is_read_back() {
        for size in [0, 1, 100, 127, 128, 20_000] {
            let data = vec![7; size];
            let file = [EMPTY, &encode("first", b"1"), &encode("second", &data)].concat();
            let read: Vec<_> = sections(&file).collect::<Result<_, _>>().unwrap();
            assert_eq!(read.len(), 2);
            assert_eq!(read[0].custom("first"), Some(b"1".as_slice()));
            assert_eq!(read[1].custom("second"), Some(data.as_slice()));
            assert_eq!(read[1].custom("first"), None);
            assert_eq!((read[0].range.end, read[1].range.end), (read[1].range.start, file.len()));
        }
    }

    #[test]
    fn a_file_that_is_cut_short_says_where() {
        let whole = [EMPTY, &encode("a", b"data"), &encode("b", b"more")].concat();
        let second = EMPTY.len() + encode("a", b"data").len();
        for end in 0..whole.len() {
            let read: Vec<_> = sections(&whole[..end]).collect();
            let wanted = match end {
                0..=8 => None,
                end if end < second => Some(8),
                end if end == second => None,
                _ => Some(second),
            };
            assert_eq!(read.last().and_then(|last| last.as_ref().err().copied()), wanted.map(CutShort), "{end}");
        }
        assert!(sections(&[EMPTY, &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 1]].concat()).all(|section| section.is_err()));
    }
}
