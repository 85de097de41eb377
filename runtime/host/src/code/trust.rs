//! Says whose signatures count, and whether a file has one of them.
//!
//! It does not know what a signature covers: `signature` does.

use crate::code::key::{KeyError, PublicKey};
use crate::code::signature::{Signature, signatures};
use crate::config::PluginsConfig;

/// Whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Only files that a trusted key signed are loaded. Built-in plug-ins are part of the binary and need no signature.
    pub require_signed: bool,
    /// The trusted keys.
    pub keys: Vec<PublicKey>,
}

/// Why the `[plugins]` table does not say whom to trust.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// An entry of `trusted_keys` is no key.
    #[error("the entry `{entry}` of `trusted_keys` in [plugins] cannot be used")]
    Key {
        /// As it is written there.
        entry: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// Signatures are required, and no key is trusted.
    #[error("`require_signed` is set in [plugins] and `trusted_keys` names no key: nothing could be loaded; add one")]
    NoKeys,
}

/// Why a file is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It has no signature, and signatures are required.
    #[error(
        "it is not signed, and `require_signed` is set in [plugins]; have it signed by a holder of one of the `trusted_keys` \
         (`heald plugin sign`), or get the file anew if its signature was taken off"
    )]
    Unsigned,
    /// It is signed, and by no trusted key.
    #[error(
        "it is signed by {} and by none of the `trusted_keys` in [plugins]; add the key there if you trust its holder",
        .0.iter().map(PublicKey::to_string).collect::<Vec<_>>().join(", ")
    )]
    Stranger(Vec<PublicKey>),
    /// Its content was not signed by this key.
    #[error(
        "its signature by {0} is for other content: the file was changed or damaged after it was signed; get it anew from \
         where it was signed, or have it signed again"
    )]
    Changed(PublicKey),
    /// One of its signatures is damaged.
    #[error("one of its signatures cannot be read ({0}); get the file anew, or have it signed again")]
    Unreadable(String),
}

/// The first trusted key that signed the file; None: no trusted key signed it, and signatures are not required.
///
/// # Errors
/// When any signature does not match the content, or when a trusted signature is required and missing.
pub fn verify(component: &[u8], trust: &Trust) -> Result<Option<PublicKey>, SignatureError> {
    let mut signers = Vec::new();
    for signature in signatures(component) {
        match signature {
            Signature { key: Some(key), valid: true, .. } => signers.push(key),
            Signature { key: Some(key), .. } => return Err(SignatureError::Changed(key)),
            Signature { key: None, problem, .. } => {
                return Err(SignatureError::Unreadable(problem.unwrap_or_default()));
            }
        }
    }
    match signers.iter().find(|signer| trust.keys.contains(signer)) {
        Some(trusted) => Ok(Some(*trusted)),
        None if !trust.require_signed => Ok(None),
        None if signers.is_empty() => Err(SignatureError::Unsigned),
        None => Err(SignatureError::Stranger(signers)),
    }
}

impl Trust {
    /// The trust of the `[plugins]` table. A path in `trusted_keys` is read.
    ///
    /// # Errors
    /// When an entry is no key, or when signatures are required and no key is trusted.
    pub fn read(plugins: &PluginsConfig) -> Result<Self, TrustError> {
        if plugins.require_signed && plugins.trusted_keys.is_empty() {
            return Err(TrustError::NoKeys);
        }
        let key =
            |entry: &String| PublicKey::read(entry).map_err(|source| TrustError::Key { entry: entry.clone(), source });
        let keys = plugins.trusted_keys.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { require_signed: plugins.require_signed, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::key::SecretKey;
    use crate::code::section::encode;
    use crate::code::signature::{SECTION, digest, sign};

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0\0\x04\x03abc";

    fn key() -> SecretKey {
        SecretKey::generate().unwrap()
    }

    fn trusting(keys: &[&SecretKey], require_signed: bool) -> Trust {
        Trust { require_signed, keys: keys.iter().map(|key| key.public()).collect() }
    }

    #[test]
    fn signing_is_no_change_of_identity_and_can_be_done_again() {
        let (one, two) = (key(), key());
        let signed = sign(COMPONENT, &one).unwrap();
        assert!(signed.starts_with(COMPONENT));
        assert_eq!(digest(&signed), digest(COMPONENT));
        assert_eq!(sign(&signed, &one).unwrap(), signed);
        let both = sign(&signed, &two).unwrap();
        assert_eq!(digest(&both), digest(COMPONENT));
        let keys: Vec<_> = signatures(&both).into_iter().map(|signature| (signature.key, signature.valid)).collect();
        assert_eq!(keys, [(Some(one.public()), true), (Some(two.public()), true)]);
        assert_eq!(verify(&both, &trusting(&[&two], true)), Ok(Some(two.public())));
        assert!(sign(b"#!/bin/sh", &one).is_err());
    }

    #[test]
    fn a_signature_must_match_and_must_count() {
        let (mine, strangers) = (key(), key());
        let (strict, lax) = (trusting(&[&mine], true), trusting(&[&mine], false));
        assert_eq!(verify(COMPONENT, &strict), Err(SignatureError::Unsigned));
        assert_eq!(verify(COMPONENT, &lax), Ok(None));
        let strange = sign(COMPONENT, &strangers).unwrap();
        assert_eq!(verify(&strange, &strict), Err(SignatureError::Stranger(vec![strangers.public()])));
        assert_eq!(verify(&strange, &lax), Ok(None), "valid, and nobody's whom we know");
        let mut changed = sign(COMPONENT, &mine).unwrap();
        changed[12] ^= 1;
        assert_eq!(verify(&changed, &strict), Err(SignatureError::Changed(mine.public())));
        assert_eq!(verify(&changed, &lax), Err(SignatureError::Changed(mine.public())));
    }

    #[test]
    fn no_bit_of_a_signed_file_can_be_flipped_and_none_of_it_cut_off() {
        let mine = key();
        let trust = trusting(&[&mine], true);
        let signed = sign(COMPONENT, &mine).unwrap();
        // The header is not part of any section; its eight bytes are content all the same.
        for at in 0..signed.len() {
            for bit in 0..8 {
                let mut flipped = signed.clone();
                flipped[at] ^= 1 << bit;
                // The case of a hexadecimal digit is no difference.
                if let Ok(signer) = verify(&flipped, &trust) {
                    assert_eq!((signer, bit), (Some(mine.public()), 5), "at {at}: {}", char::from(signed[at]));
                    assert!(signed[at].is_ascii_hexdigit());
                }
            }
        }
        for end in 0..signed.len() {
            assert!(verify(&signed[..end], &trust).is_err(), "cut off at {end}");
        }
    }

    #[test]
    fn a_signature_that_is_not_at_the_end_is_none() {
        let mine = key();
        let buried = [sign(COMPONENT, &mine).unwrap(), encode("more", b"code")].concat();
        assert_eq!(signatures(&buried), []);
        assert_eq!(verify(&buried, &trusting(&[&mine], true)), Err(SignatureError::Unsigned));
        assert_ne!(digest(&buried), digest(COMPONENT));
    }

    #[test]
    fn a_damaged_signature_is_refused_even_beside_a_good_one() {
        let mine = key();
        for damaged in ["", "{}", "null", r#"{"key":"ed25519:00","signature":""}"#] {
            let file = [sign(COMPONENT, &mine).unwrap(), encode(SECTION, damaged.as_bytes())].concat();
            let refused = verify(&file, &trusting(&[&mine], false));
            assert!(matches!(refused, Err(SignatureError::Unreadable(_))), "{refused:?}");
        }
    }

    #[test]
    fn trusted_keys_are_texts_or_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer.pub.pem");
        let (one, two) = (key().public(), key().public());
        std::fs::write(&path, two.to_pem()).unwrap();
        let table = |keys: &[&str]| PluginsConfig {
            require_signed: true,
            trusted_keys: keys.iter().map(|&key| key.to_owned()).collect(),
            ..PluginsConfig::default()
        };
        let trust = Trust::read(&table(&[&one.to_string(), path.to_str().unwrap()])).unwrap();
        assert_eq!(trust, Trust { require_signed: true, keys: vec![one, two] });
        assert!(matches!(Trust::read(&table(&[])), Err(TrustError::NoKeys)));
        let error = Trust::read(&table(&["ed25519:0"])).unwrap_err().to_string();
        assert!(error.contains("trusted_keys") && error.contains("ed25519:0"), "{error}");
    }
}
