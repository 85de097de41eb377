//! Ed25519 signatures over a component, within its own file, so that they can be checked wherever the file lies.
//!
//! | | |
//! |---|---|
//! | content | the file up to the first of the custom sections `heald:signature` at its end |
//! | digest | SHA-256 of the content, in lower-case hexadecimal: the component's identity, signed or not |
//! | message | `heald:plugin:v1`, a line feed, the digest; the first line keeps a signature from being taken for one over something else |
//! | section | `{"key": "ed25519:<64 hexadecimal digits>", "signature": "<the 64 bytes in base64>"}` |
//!
//! A file may have several signatures, one for each signer. A section of that name anywhere else is content. A
//! signature that does not match is always an error: somebody signed another file.
//!
//! It says who signed a file. It does not judge the content, and it does not say whom to trust.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::code::key::{PublicKey, SecretKey};
use crate::code::section::{SectionError, encode, recognise, sections};

/// The name of the custom sections.
pub(crate) const SECTION: &str = "heald:signature";
/// Every signed message begins with this.
const DOMAIN: &str = "heald:plugin:v1\n";

/// A component's identity: SHA-256 of its content, in lower-case hexadecimal. Signing does not change it.
pub fn digest(component: &[u8]) -> String {
    hex(&Sha256::digest(split(component).0))
}

/// The component with a signature by this key. It replaces an earlier signature by the same key; signatures by others
/// stay.
///
/// # Errors
/// When the bytes are no component.
pub fn sign(component: &[u8], key: &SecretKey) -> Result<Vec<u8>, SectionError> {
    recognise(component)?;
    let (content, texts) = split(component);
    let mut signed = content.to_vec();
    let public = key.public();
    for text in texts {
        if SignatureText::read(text).map_or(true, |signature| signature.key != public) {
            signed.extend(encode(SECTION, text));
        }
    }
    let signature = BASE64.encode(key.sign(&message(content)));
    let section = serde_json::json!({"key": public, "signature": signature});
    signed.extend(encode(SECTION, section.to_string().as_bytes()));
    Ok(signed)
}

/// One signature in a file, and whether it matches the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// The key that it names; None: the key cannot be read.
    pub key: Option<PublicKey>,
    /// Whether that key signed this content.
    pub valid: bool,
    /// Why the signature does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Every signature of a file, in the order of the file. [`verify`](crate::verify) says whether the keys are trusted.
pub fn signatures(component: &[u8]) -> Vec<Signature> {
    let (content, texts) = split(component);
    let message = message(content);
    let judge = |text| match SignatureText::read(text) {
        Ok(SignatureText { key, signature }) if key.signed(&message, &signature) => {
            Signature { key: Some(key), valid: true, problem: None }
        }
        Ok(SignatureText { key, .. }) => {
            let problem = "it is for other content: the file was changed after it was signed";
            Signature { key: Some(key), valid: false, problem: Some(problem.to_owned()) }
        }
        Err(problem) => Signature { key: None, valid: false, problem: Some(problem) },
    };
    texts.into_iter().map(judge).collect()
}

/// Splits a file into its content and the texts of the signatures behind it.
pub(crate) fn split(component: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let mut end = component.len();
    let mut texts = Vec::new();
    for section in sections(component) {
        let text = section.as_ref().ok().and_then(|section| section.custom(SECTION));
        match (section, text) {
            (Ok(section), Some(text)) => {
                if texts.is_empty() {
                    end = section.range.start;
                }
                texts.push(text);
            }
            // Another section follows, so what came before is content.
            _ => {
                end = component.len();
                texts.clear();
            }
        }
    }
    (component.get(..end).unwrap_or(component), texts)
}

fn message(content: &[u8]) -> Vec<u8> {
    [DOMAIN.as_bytes(), hex(&Sha256::digest(content)).as_bytes()].concat()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The contents of a signature section.
struct SignatureText {
    key: PublicKey,
    signature: [u8; 64],
}

impl SignatureText {
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
