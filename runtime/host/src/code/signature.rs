//! Who vouches for a component: Ed25519 signatures within the file itself, so that it can be checked wherever it lies.
//!
//! | | |
//! |---|---|
//! | content | the file up to the first of the custom sections `heald:signature` at its end |
//! | digest | SHA-256 of the content, in lower-case hexadecimal: the component's identity, signed or not |
//! | message | `heald:plugin:v1`, a line feed, the digest; the first line keeps a signature from being taken for one over something else |
//! | section | `{"key": "ed25519:<64 hexadecimal digits>", "signature": "<the 64 bytes in base64>"}` |
//!
//! There may be several, one for each who vouches. A section of that name anywhere else is content like any other. A signature that
//! does not match is never looked past: somebody signed another file than this one.
//!
//! What the content means is not judged here; a signature says who, not what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::code::key::{PublicKey, SecretKey};
use crate::code::section::{encode, recognise, sections};
use crate::config::PluginsConfig;
use crate::error::HostError;
use crate::options::Trust;

/// The custom sections' name.
const SECTION: &str = "heald:signature";
/// What is signed begins with this.
const DOMAIN: &str = "heald:plugin:v1\n";

/// A component's identity: SHA-256 of its content, in lower-case hexadecimal. Signing does not change it.
pub fn digest(component: &[u8]) -> String {
    hex(&Sha256::digest(split(component).0))
}

/// The component with a signature by this key, in place of an earlier one by it. Signatures by others stay.
///
/// # Errors
/// When the bytes are no component.
pub fn sign(component: &[u8], key: &SecretKey) -> Result<Vec<u8>, HostError> {
    recognise(component)?;
    let (content, said) = split(component);
    let mut signed = content.to_vec();
    let public = key.public();
    for text in said {
        if Said::read(text).map_or(true, |said| said.key != public) {
            signed.extend(encode(SECTION, text));
        }
    }
    let signature = BASE64.encode(key.sign(&message(content)));
    let said = serde_json::json!({"key": public, "signature": signature});
    signed.extend(encode(SECTION, said.to_string().as_bytes()));
    Ok(signed)
}

/// One signature of a file, and whether it is for that file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// Who is said to have signed; None if that cannot be read.
    pub key: Option<PublicKey>,
    /// Whether that key signed this content.
    pub valid: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Every signature of a file, in its order. Whether one trusts the keys is another question: [`verify`].
pub fn signatures(component: &[u8]) -> Vec<Signature> {
    let (content, said) = split(component);
    let message = message(content);
    let judge = |text| match Said::read(text) {
        Ok(Said { key, signature }) if key.signed(&message, &signature) => {
            Signature { key: Some(key), valid: true, problem: None }
        }
        Ok(Said { key, .. }) => {
            let problem = "it is for other content: the file was changed after it was signed";
            Signature { key: Some(key), valid: false, problem: Some(problem.to_owned()) }
        }
        Err(problem) => Signature { key: None, valid: false, problem: Some(problem) },
    };
    said.into_iter().map(judge).collect()
}

/// Why a file is not taken for what it says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// It has no signature, and must have one.
    #[error(
        "it is not signed, and `require_signed` is set in [plugins]; have it signed by a holder of one of the `trusted_keys` \
         (`heald plugin sign`), or get the file anew if its signature was taken off"
    )]
    Unsigned,
    /// It is signed, and by nobody who counts.
    #[error(
        "it is signed by {} and by none of the `trusted_keys` in [plugins]; add the key there if you trust its holder",
        .0.iter().map(PublicKey::to_string).collect::<Vec<_>>().join(", ")
    )]
    Stranger(Vec<PublicKey>),
    /// Its content is not what was signed.
    #[error(
        "its signature by {0} is for other content: the file was changed or damaged after it was signed; get it anew from \
         where it was signed, or have it signed again"
    )]
    Changed(PublicKey),
    /// One of its signatures is damaged.
    #[error("one of its signatures cannot be read ({0}); get the file anew, or have it signed again")]
    Unreadable(String),
}

/// The first trusted key that signed it; None: none did, and none has to.
///
/// # Errors
/// When a signature does not match its content, whoever made it, or when a trusted one is missing and required.
pub fn verify(component: &[u8], trust: &Trust) -> Result<Option<PublicKey>, Untrusted> {
    let mut signers = Vec::new();
    for signature in signatures(component) {
        match signature {
            Signature { key: Some(key), valid: true, .. } => signers.push(key),
            Signature { key: Some(key), .. } => return Err(Untrusted::Changed(key)),
            Signature { key: None, problem, .. } => return Err(Untrusted::Unreadable(problem.unwrap_or_default())),
        }
    }
    match signers.iter().find(|signer| trust.keys.contains(signer)) {
        Some(trusted) => Ok(Some(*trusted)),
        None if !trust.require_signed => Ok(None),
        None if signers.is_empty() => Err(Untrusted::Unsigned),
        None => Err(Untrusted::Stranger(signers)),
    }
}

impl Trust {
    /// Whom the `[plugins]` table trusts. A path in `trusted_keys` is read.
    ///
    /// # Errors
    /// When an entry is no key, or when signatures are required and nobody's would count.
    pub fn read(plugins: &PluginsConfig) -> Result<Self, HostError> {
        if plugins.require_signed && plugins.trusted_keys.is_empty() {
            return Err(HostError::NoTrustedKeys);
        }
        let key = |entry: &String| {
            PublicKey::read(entry).map_err(|source| HostError::TrustedKey { entry: entry.clone(), source })
        };
        let keys = plugins.trusted_keys.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { require_signed: plugins.require_signed, keys })
    }
}

/// The content of a file, and the texts of the signatures behind it.
pub(crate) fn split(component: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let mut end = component.len();
    let mut said = Vec::new();
    for section in sections(component) {
        let text = section.as_ref().ok().and_then(|section| section.custom(SECTION));
        match (section, text) {
            (Ok(section), Some(text)) => {
                if said.is_empty() {
                    end = section.range.start;
                }
                said.push(text);
            }
            // Something follows: what came before was content.
            _ => {
                end = component.len();
                said.clear();
            }
        }
    }
    (component.get(..end).unwrap_or(component), said)
}

fn message(content: &[u8]) -> Vec<u8> {
    [DOMAIN.as_bytes(), hex(&Sha256::digest(content)).as_bytes()].concat()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a section says.
struct Said {
    key: PublicKey,
    signature: [u8; 64],
}

impl Said {
    fn read(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Text {
            key: PublicKey,
            signature: String,
        }
        let Text { key, signature } = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let bytes = BASE64.decode(signature).map_err(|error| error.to_string())?;
        let signature = bytes.try_into().map_err(|_| "a signature has 64 bytes".to_owned())?;
        Ok(Self { key, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(verify(COMPONENT, &strict), Err(Untrusted::Unsigned));
        assert_eq!(verify(COMPONENT, &lax), Ok(None));
        let strange = sign(COMPONENT, &strangers).unwrap();
        assert_eq!(verify(&strange, &strict), Err(Untrusted::Stranger(vec![strangers.public()])));
        assert_eq!(verify(&strange, &lax), Ok(None), "valid, and nobody's whom we know");
        let mut changed = sign(COMPONENT, &mine).unwrap();
        changed[12] ^= 1;
        assert_eq!(verify(&changed, &strict), Err(Untrusted::Changed(mine.public())));
        assert_eq!(verify(&changed, &lax), Err(Untrusted::Changed(mine.public())));
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
        assert_eq!(verify(&buried, &trusting(&[&mine], true)), Err(Untrusted::Unsigned));
        assert_ne!(digest(&buried), digest(COMPONENT));
    }

    #[test]
    fn a_damaged_signature_is_refused_even_beside_a_good_one() {
        let mine = key();
        for damaged in ["", "{}", "null", r#"{"key":"ed25519:00","signature":""}"#] {
            let file = [sign(COMPONENT, &mine).unwrap(), encode(SECTION, damaged.as_bytes())].concat();
            let refused = verify(&file, &trusting(&[&mine], false));
            assert!(matches!(refused, Err(Untrusted::Unreadable(_))), "{refused:?}");
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
        assert!(matches!(Trust::read(&table(&[])), Err(HostError::NoTrustedKeys)));
        let error = Trust::read(&table(&["ed25519:0"])).unwrap_err().to_string();
        assert!(error.contains("trusted_keys") && error.contains("ed25519:0"), "{error}");
    }
}
