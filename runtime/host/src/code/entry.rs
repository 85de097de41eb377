//! The file format of a compiled plug-in: a header that names the component and the engine, and the machine code.
//!
//! | bytes | |
//! |---|---|
//! | 16 | `heald compiled 1` |
//! | 64 | the component's digest |
//! | 64 | the engine's hash: wasmtime's version, its settings and this processor |
//! | 8 | the length of the code, little-endian |
//! | 32 | SHA-256 of the code |
//!
//! So a file that was cut short, damaged, renamed or swapped is recognised. A file that somebody forged is not: `cache`
//! makes sure that nobody else can write one.

use sha2::{Digest, Sha256};

const MAGIC: &[u8; 16] = b"heald compiled 1";

/// The component and the engine that machine code belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeKey<'k> {
    /// The component's digest.
    pub(crate) digest: &'k str,
    /// The engine's hash.
    pub(crate) engine: &'k str,
}

/// Why a file is not the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("it is no compiled plug-in")]
    Magic,
    #[error("it is of another component")]
    Digest,
    #[error("it is for another engine or processor")]
    Engine,
    #[error("it is cut short, or too long")]
    Length,
    #[error("it is damaged")]
    Sum,
}

/// The contents of a file.
pub(crate) fn seal(key: CodeKey<'_>, code: &[u8]) -> Vec<u8> {
    let length = u64::try_from(code.len()).unwrap_or(u64::MAX).to_le_bytes();
    let sum = Sha256::digest(code);
    [MAGIC.as_slice(), key.digest.as_bytes(), key.engine.as_bytes(), &length, &sum, code].concat()
}

/// The machine code in a file, if the file is the wanted one.
pub(crate) fn unseal<'f>(file: &'f [u8], key: CodeKey<'_>) -> Result<&'f [u8], EntryError> {
    let (magic, rest) = file.split_first_chunk::<16>().ok_or(EntryError::Magic)?;
    if magic != MAGIC {
        return Err(EntryError::Magic);
    }
    let (digest, rest) = rest.split_first_chunk::<64>().ok_or(EntryError::Length)?;
    let (engine, rest) = rest.split_first_chunk::<64>().ok_or(EntryError::Length)?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or(EntryError::Length)?;
    let (sum, code) = rest.split_first_chunk::<32>().ok_or(EntryError::Length)?;
    if digest != key.digest.as_bytes() {
        return Err(EntryError::Digest);
    }
    if engine != key.engine.as_bytes() {
        return Err(EntryError::Engine);
    }
    if u64::try_from(code.len()) != Ok(u64::from_le_bytes(*length)) {
        return Err(EntryError::Length);
    }
    if Sha256::digest(code).as_slice() != sum { Err(EntryError::Sum) } else { Ok(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> (String, String) {
        ("a".repeat(64), "b".repeat(64))
    }

    #[test]
    fn no_bit_can_be_flipped_and_no_byte_be_missing_or_more() {
        let (digest, engine) = texts();
        let key = CodeKey { digest: &digest, engine: &engine };
        let file = seal(key, b"machine code");
        assert_eq!(unseal(&file, key), Ok(b"machine code".as_slice()));
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.clone();
                flipped[at] ^= 1 << bit;
                assert!(unseal(&flipped, key).is_err(), "bit {bit} at {at}");
            }
            assert!(unseal(&file[..at], key).is_err(), "cut at {at}");
        }
        assert_eq!(unseal(&[file.as_slice(), b"."].concat(), key), Err(EntryError::Length));
    }

    #[test]
    fn another_components_and_another_engines_are_told_apart() {
        let (digest, engine) = texts();
        let file = seal(CodeKey { digest: &digest, engine: &engine }, b"code");
        assert_eq!(unseal(&file, CodeKey { digest: &engine, engine: &engine }), Err(EntryError::Digest));
        assert_eq!(unseal(&file, CodeKey { digest: &digest, engine: &digest }), Err(EntryError::Engine));
    }
}
