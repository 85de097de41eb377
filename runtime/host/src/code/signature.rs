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
use crate::code::section::{SectionError, encode, recognise, sections};

/// The custom sections' name.
pub(crate) const SECTION: &str = "heald:signature";
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
pub fn sign(component: &[u8], key: &SecretKey) -> Result<Vec<u8>, SectionError> {
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

/// Every signature of a file, in its order. Whether one trusts the keys is another question: [`verify`](crate::verify).
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
