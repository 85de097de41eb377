//! Ed25519 keys, as files and as text.
//!
//! A secret key is a PKCS#8 PEM file, as `openssl genpkey -algorithm ed25519` writes it. A public key is `ed25519:` and
//! 64 hexadecimal digits, or an SPKI PEM file, as `openssl pkey -pubout` writes it. It refuses every other kind of key,
//! and never shows a secret.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, KeypairBytes,
};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};

/// How the text of a public key begins.
const PREFIX: &str = "ed25519:";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is no public key.
    #[error("`{0}` is no public key; one is `ed25519:` and 64 hexadecimal digits, or the path of a PEM file")]
    Text(String),
    /// The file cannot be read.
    #[error("cannot read the key file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the key file {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file exists already; an overwritten secret would be lost.
    #[error("there is a file {0} already; keys are never overwritten")]
    Exists(PathBuf),
    /// The file is no key of this kind.
    #[error("{what} is no Ed25519 {kind} key in PEM: {problem}")]
    Pem {
        /// The file, or what else was read.
        what: String,
        /// `public` or `secret`.
        kind: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A weak key, with which anybody can sign.
    #[error("{0} is a weak key, with which signatures can be forged; make another")]
    Weak(PublicKey),
    /// The machine has no randomness to give.
    #[error("no randomness can be had from the operating system: {0}")]
    Randomness(String),
}

/// Says who signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Makes a key of 32 bytes. Not every 32 bytes are a key.
    ///
    /// # Errors
    /// When the bytes are no point of the curve, or a point for which signatures can be forged.
    fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let key = Self(bytes);
        let verifying = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Text(key.to_string()))?;
        if verifying.is_weak() { Err(KeyError::Weak(key)) } else { Ok(key) }
    }

    /// Reads what an operator writes for a key: its text, or the path of its PEM file.
    ///
    /// # Errors
    /// When it is no key and no path of one.
    pub fn read(text_or_path: &str) -> Result<Self, KeyError> {
        if text_or_path.starts_with(PREFIX) {
            return text_or_path.parse();
        }
        let path = Path::new(text_or_path);
        let pem = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            // This may be a misspelt key or a missing file, so the error says both.
            std::io::ErrorKind::NotFound if !text_or_path.contains(['/', '.']) => {
                KeyError::Text(text_or_path.to_owned())
            }
            _ => KeyError::Read { path: path.to_owned(), source },
        })?;
        Self::from_pem(&pem).map_err(|error| error.about(text_or_path))
    }

    /// Reads an SPKI PEM text.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let problem = |problem: String| KeyError::Pem { what: "the text".to_owned(), kind: "public", problem };
        if pem.contains("PRIVATE KEY") {
            return Err(problem("it is a secret key; `openssl pkey -pubout` writes the public one".to_owned()));
        }
        let key = VerifyingKey::from_public_key_pem(pem.trim()).map_err(|error| problem(error.to_string()))?;
        Self::from_bytes(key.to_bytes())
    }

    /// This key as an SPKI PEM text.
    pub fn to_pem(&self) -> String {
        // An accepted key is a point of the curve, and such a short text can always be encoded.
        let key = VerifyingKey::from_bytes(&self.0).ok();
        key.and_then(|key| key.to_public_key_pem(LineEnding::LF).ok()).unwrap_or_default()
    }

    /// Whether this key signed this message. The check is strict: no signature has a second form.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else { return false };
        key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::Text(text.to_owned());
        let digits = text.strip_prefix(PREFIX).ok_or_else(wrong)?.as_bytes();
        let mut bytes = [0; 32];
        let (pairs, []) = digits.as_chunks::<2>() else { return Err(wrong()) };
        if pairs.len() != bytes.len() {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |letter: u8| char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let [high, low] = pair.map(digit);
            *byte = high.ok_or_else(wrong)? << 4 | low.ok_or_else(wrong)?;
        }
        Self::from_bytes(bytes)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

/// A key that signs. Dropping it wipes it from memory.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Makes a new key from the operating system's randomness.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).map_err(|error| KeyError::Randomness(error.to_string()))?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The key that its signatures are checked with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Reads a PKCS#8 PEM file.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = std::fs::read_to_string(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
        Self::from_pem(&pem).map_err(|error| error.about(&path.display().to_string()))
    }

    /// Reads a PKCS#8 PEM text.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let problem = |problem: String| KeyError::Pem { what: "the text".to_owned(), kind: "secret", problem };
        if pem.contains("PUBLIC KEY") {
            return Err(problem("it is a public key, which cannot sign".to_owned()));
        }
        SigningKey::from_pkcs8_pem(pem.trim()).map(Self).map_err(|error| problem(error.to_string()))
    }

    /// Writes it to a new file that only its owner can read.
    ///
    /// # Errors
    /// When the file exists already, or cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let broken = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
            _ => KeyError::Write { path: path.to_owned(), source },
        };
        // The public half is left out: it follows from the secret half, and older OpenSSL versions cannot read it.
        let bare = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem =
            bare.to_pkcs8_pem(LineEnding::LF).map_err(|error| broken(std::io::Error::other(error.to_string())))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(broken)?;
        file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(broken)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

impl KeyError {
    /// The same error, with the name of what was read.
    fn about(self, what: &str) -> Self {
        match self {
            Self::Pem { kind, problem, .. } => Self::Pem { what: what.to_owned(), kind, problem },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_public_key_is_the_same_as_text_and_as_pem() {
        let key = SecretKey::generate().unwrap().public();
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        assert_eq!(key.to_string().to_uppercase().replace("ED25519", "ed25519").parse::<PublicKey>().unwrap(), key);
        assert_eq!(PublicKey::from_pem(&key.to_pem()).unwrap(), key);
        assert_eq!(serde_json::from_str::<PublicKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
    }

    #[test]
    fn what_is_no_key_says_what_one_looks_like() {
        let short = format!("ed25519:{}", "a".repeat(63));
        let umlaut = format!("ed25519:{}ä", "a".repeat(62));
        for wrong in ["", "ed25519:", "rsa:00", &short, &umlaut, &format!("{short}aa"), &short.replace('a', "g")] {
            let error = PublicKey::read(wrong).unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
        let error = PublicKey::read("/no/such/key.pem").unwrap_err().to_string();
        assert!(error.contains("/no/such/key.pem"), "{error}");
        let neutral = format!("ed25519:01{}", "0".repeat(62));
        assert!(matches!(neutral.parse::<PublicKey>(), Err(KeyError::Weak(_))), "anybody can sign for it");
    }

    #[test]
    fn a_secret_file_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.pem");
        let key = SecretKey::generate().unwrap();
        key.write(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SecretKey::read(&path).unwrap().public(), key.public());
        assert!(matches!(SecretKey::generate().unwrap().write(&path), Err(KeyError::Exists(_))));
        assert_eq!(SecretKey::read(&path).unwrap().public(), key.public());
        // The two halves are not taken for each other.
        let error = PublicKey::read(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("secret.pem") && error.contains("it is a secret key"), "{error}");
        assert!(SecretKey::from_pem(&key.public().to_pem()).unwrap_err().to_string().contains("public key"));
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    /// RFC 8410, section 10.3 and 10.1: an example of each kind, from elsewhere.
    #[test]
    fn the_examples_of_the_standard_are_read() {
        let secret = "-----BEGIN PRIVATE KEY-----\n\
                      MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                      -----END PRIVATE KEY-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\n\
                      MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                      -----END PUBLIC KEY-----\n";
        let secret = SecretKey::from_pem(secret).unwrap();
        assert_eq!(secret.public(), PublicKey::from_pem(public).unwrap());
        assert_eq!(
            secret.public().to_string(),
            "ed25519:19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
    }
}
