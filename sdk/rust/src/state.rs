//! A plug-in's memory. The host keeps the bytes between calls and hands them back; here they become a type again.
//!
//! State is a cache, never a duty: a call without any must still be right, only less informed. A blob that cannot be read
//! is answered with `bad-state`, and the host calls again without it.

use std::ops::{Deref, DerefMut};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// This blob is none of mine: written by an older build, or by something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadState;

impl From<BadState> for Error {
    fn from(_: BadState) -> Self {
        Self::BadState
    }
}

/// What a plug-in remembers from call to call: `()` for nothing, [`Json`] for any serde type, `Vec<u8>` for an encoding of
/// its own.
pub trait State: Sized {
    /// The memory of the last good call; none at first, after [`BadState`], or when the host dropped it.
    fn load(blob: Option<Vec<u8>>) -> Result<Self, BadState>;
    /// What to keep; none leaves the stored blob as it is.
    fn save(self) -> Option<Vec<u8>>;
}

impl State for () {
    fn load(_: Option<Vec<u8>>) -> Result<Self, BadState> {
        Ok(())
    }
    fn save(self) -> Option<Vec<u8>> {
        None
    }
}

impl State for Vec<u8> {
    fn load(blob: Option<Vec<u8>>) -> Result<Self, BadState> {
        Ok(blob.unwrap_or_default())
    }
    fn save(self) -> Option<Vec<u8>> {
        Some(self)
    }
}

/// Any serde type as memory, stored as JSON: it can be read in a replay, and a blob of another shape is noticed rather than
/// misread. Give `T` `#[serde(deny_unknown_fields)]` to be strict about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Json<T>(pub T);

impl<T: Serialize + DeserializeOwned + Default> State for Json<T> {
    fn load(blob: Option<Vec<u8>>) -> Result<Self, BadState> {
        match blob {
            None => Ok(Self(T::default())),
            Some(bytes) => serde_json::from_slice(&bytes).map(Self).map_err(|_| BadState),
        }
    }
    fn save(self) -> Option<Vec<u8>> {
        serde_json::to_vec(&self.0).ok()
    }
}

impl<T> Deref for Json<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Json<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_comes_back_bit_for_bit() {
        // 0.1 + 0.2 and its like need serde_json's float_roundtrip.
        for value in [0.1 + 0.2, 1.0 / 3.0, 5e-324, f64::MAX, 9_007_199_254_740_993.0] {
            let back = Json::<f64>::load(Json(value).save()).unwrap();
            assert_eq!(back.0.to_bits(), value.to_bits());
        }
    }

    #[test]
    fn a_foreign_blob_is_bad_state() {
        assert_eq!(Json::<u32>::load(Some(b"\x00\x01".to_vec())), Err(BadState));
        assert_eq!(Json::<u32>::load(Some(b"\"text\"".to_vec())), Err(BadState));
        assert_eq!(Json::<u32>::load(None), Ok(Json(0)));
    }
}
