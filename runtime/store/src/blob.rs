//! Blobs: one byte for the format, then zlib, whose checksum finds what a disk has flipped.
//!
//! Plain data is CBOR and not JSON, because a replay needs its input to the bit. serde_json reads the last bit of a
//! float correctly only with a feature that would apply to the whole build. It refuses a format that this heald does not
//! know.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::columns::InvalidColumns;

/// The format of the blobs that this heald writes.
const FORMAT: u8 = 1;

/// The most that is unpacked. No kept call or chunk comes near it; a broken blob must not take all memory.
const LARGEST: u64 = 16 << 20;

/// Why a blob cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it is empty")]
    Empty,
    #[error("it has format {0}, this heald knows format {FORMAT}: a newer heald wrote it")]
    Newer(u8),
    #[error("it is damaged: {0}")]
    Damaged(#[source] io::Error),
    #[error("its content is not what was expected: {0}")]
    Foreign(String),
    #[error(transparent)]
    InvalidColumns(#[from] InvalidColumns),
}

/// Packs bytes into a blob.
pub(crate) fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut blob = ZlibEncoder::new(vec![FORMAT], Compression::default());
    blob.write_all(bytes)?;
    blob.finish()
}

/// Unpacks the bytes of a blob.
pub(crate) fn unpack(blob: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let (form, packed) = blob.split_first().ok_or(Unreadable::Empty)?;
    if *form != FORMAT {
        return Err(Unreadable::Newer(*form));
    }
    let mut bytes = Vec::new();
    let read = ZlibDecoder::new(packed).take(LARGEST).read_to_end(&mut bytes).map_err(Unreadable::Damaged)?;
    if read as u64 == LARGEST {
        return Err(Unreadable::Foreign("it is larger than anything that is kept".into()));
    }
    Ok(bytes)
}

/// Encodes plain data.
pub(crate) fn cbor<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Decodes plain data.
pub(crate) fn from_cbor<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    ciborium::from_reader(bytes).map_err(|error| Unreadable::Foreign(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_and_strange_forms_are_told_apart() {
        let text = "the same again, ".repeat(50);
        let blob = pack(&cbor(&text).unwrap()).unwrap();
        assert!(blob.len() < 60);
        assert_eq!(from_cbor::<String>(&unpack(&blob).unwrap()).unwrap(), text);
        let said = |blob: &[u8]| unpack(blob).and_then(|bytes| from_cbor::<String>(&bytes)).unwrap_err().to_string();
        assert_eq!(said(&[]), "it is empty");
        assert!(said(&[9, 1, 2]).contains("a newer heald wrote it"));
        for place in 1..blob.len() {
            let mut flipped = blob.clone();
            flipped[place] ^= 0x10;
            let read = unpack(&flipped).and_then(|bytes| from_cbor::<String>(&bytes));
            // The last bits before the checksum carry no meaning.
            assert!(read.is_err() || (place + 5 == blob.len() && read.unwrap() == text), "byte {place}");
        }
        assert!(said(&pack(&cbor(&5).unwrap()).unwrap()).contains("is not what was expected"));
    }

    #[test]
    fn floats_come_back_to_the_bit() {
        let values =
            serde_json::json!({"a": 0.1 + 0.2, "b": [30_000_000_000_000_004.0, -0.0, 5e-324], "c": u64::MAX, "d": 3.0});
        let read: serde_json::Value = from_cbor(&cbor(&values).unwrap()).unwrap();
        assert_eq!(read.to_string(), values.to_string());
    }
}
