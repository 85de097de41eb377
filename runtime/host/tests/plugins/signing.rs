//! Who vouches for a plug-in: what is not signed by the right key, or not what was signed, is refused before it is compiled.

use std::error::Error as _;
use std::process::Command;

use heald_host::{Host, HostError, Options, PluginsConfig, PublicKey, SecretKey, SignatureError, Trust, digest, sign};

use crate::guests::{component, host, table};
use crate::surgery::{custom, without};

fn trusting(keys: &[PublicKey], require_signed: bool) -> Host {
    Host::with(Options { trust: Trust { require_signed, keys: keys.to_vec() }, ..Options::default() }).unwrap()
}

/// Why a host does not trust it.
fn untrusted(host: &Host, bytes: &[u8]) -> SignatureError {
    match host.load_bytes(&table("signed"), bytes).err().expect("it was loaded") {
        HostError::Signature { component, source } => {
            assert_eq!(component, "signed.wasm");
            source
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_trusted_key_signed_is_loaded_and_says_who() {
    let key = SecretKey::generate().unwrap();
    let signed = sign(component("detector-good"), &key).unwrap();
    for require_signed in [true, false] {
        let plugin = trusting(&[key.public()], require_signed).load_bytes(&table("signed"), &signed).unwrap();
        assert_eq!(plugin.signed_by(), Some(key.public()));
        assert_eq!(plugin.reference().digest, digest(component("detector-good")), "signing changes no identity");
    }
    // Where nobody's signature counts, it is as good as none.
    assert_eq!(host().load_bytes(&table("signed"), &signed).unwrap().signed_by(), None);
}

#[test]
fn where_signatures_are_required_each_way_to_have_none_is_told_apart() {
    let (key, stranger) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
    let strict = trusting(&[key.public()], true);
    let plain = component("detector-good");
    let signed = sign(plain, &key).unwrap();
    assert_eq!(untrusted(&strict, plain), SignatureError::Unsigned);
    assert_eq!(untrusted(&strict, &without(&signed, "heald:signature")), SignatureError::Unsigned);
    assert_eq!(untrusted(&strict, &sign(plain, &stranger).unwrap()), SignatureError::Stranger(vec![stranger.public()]));
    // Its word about itself is part of what was signed.
    assert_eq!(untrusted(&strict, &without(&signed, "heald:plugin")), SignatureError::Changed(key.public()));
    let relabelled = [plain, &custom("heald:plugin", b"{}")].concat();
    let relabelled = [relabelled.as_slice(), &signed[plain.len()..]].concat();
    assert_eq!(untrusted(&strict, &relabelled), SignatureError::Changed(key.public()));
    // Behind a section that was added, there is no signature at the end any more.
    assert_eq!(untrusted(&strict, &[signed.as_slice(), &custom("more", b"")].concat()), SignatureError::Unsigned);
}

#[test]
fn a_flipped_bit_anywhere_is_refused_whether_signatures_are_required_or_not() {
    let key = SecretKey::generate().unwrap();
    let (strict, lax) = (trusting(&[key.public()], true), trusting(&[], false));
    let plain = component("detector-good");
    let signed = sign(plain, &key).unwrap();
    for n in 0..200 {
        let mut flipped = signed.clone();
        let at = (n * 7_919) % plain.len();
        flipped[at] ^= 1 << (n % 8);
        for host in [&strict, &lax] {
            let error = host.load_bytes(&table("signed"), &flipped).err().expect("a flipped bit was not seen");
            // A flip in the header or in a section's length is seen even before.
            let before = matches!(
                error,
                HostError::Section(_)
                    | HostError::Signature { source: SignatureError::Changed(_) | SignatureError::Unsigned, .. }
            );
            assert!(before || (std::ptr::eq(host, &lax) && matches!(error, HostError::Engine(_))), "{at}: {error:?}");
        }
    }
    for end in (0..signed.len()).rev().take(300).chain((0..signed.len()).step_by(4_999)) {
        let error = strict.load_bytes(&table("signed"), &signed[..end]).err().expect("a truncated file was loaded");
        assert!(matches!(error, HostError::Section(_) | HostError::Signature { .. }), "{end}: {error:?}");
    }
}

#[test]
fn trust_is_settled_before_anything_is_compiled() {
    let strict = trusting(&[SecretKey::generate().unwrap().public()], true);
    // A component by its sections, and none that any compiler would take.
    let nonsense = [b"\0asm\x0d\0\x01\0".as_slice(), &[7, 1, 0xff]].concat();
    assert!(matches!(host().load_bytes(&table("nonsense"), &nonsense), Err(HostError::Engine(_))));
    assert!(matches!(strict.load_bytes(&table("nonsense"), &nonsense), Err(HostError::Signature { .. })));
}

#[test]
fn what_is_refused_says_which_file_and_what_to_do() {
    let (key, stranger) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
    let strict = trusting(&[key.public()], true);
    let said = |bytes: &[u8]| {
        let error = strict.load_bytes(&table("signed"), bytes).err().unwrap();
        format!("{error}: {}", error.source().unwrap())
    };
    let plain = component("detector-good");
    let mut changed = sign(plain, &key).unwrap();
    changed[plain.len() - 1] ^= 1;
    for (said, words) in [
        (said(plain), ["signed.wasm", "not signed", "heald plugin sign"]),
        (said(&sign(plain, &stranger).unwrap()), ["signed.wasm", &stranger.public().to_string(), "trusted_keys"]),
        (said(&changed), ["signed.wasm", &key.public().to_string(), "get it anew"]),
    ] {
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}

#[test]
fn a_builtin_needs_no_signature() {
    let plugins = PluginsConfig {
        require_signed: true,
        trusted_keys: vec![SecretKey::generate().unwrap().public().to_string()],
        ..PluginsConfig::default()
    };
    let trust = Trust::read(&plugins).unwrap();
    let precompiled = heald_host::precompile(component("detector-good")).unwrap().leak();
    #[allow(unsafe_code)]
    // SAFETY: it is what `precompile` returned.
    let builtin = unsafe { heald_host::Embedded::new("good", "d1e5", component("detector-good"), precompiled) };
    let host = Host::with(Options { builtins: vec![builtin], trust, ..Options::default() }).unwrap();
    let mut table = table("good");
    table.component = "builtin:good".into();
    assert_eq!(host.load(&table).unwrap().signed_by(), None);
}

/// With the `openssl` of the machine, where there is one: its keys are read, and it reads ours.
#[test]
fn keys_are_exchanged_with_openssl() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).output();
        done.is_ok_and(|done| {
            assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
            true
        })
    };
    if !openssl(&["genpkey", "-algorithm", "ed25519", "-out", &at("theirs.pem")]) {
        return;
    }
    openssl(&["pkey", "-in", &at("theirs.pem"), "-pubout", "-out", &at("theirs.pub")]);
    let theirs = SecretKey::read(at("theirs.pem").as_ref()).unwrap();
    assert_eq!(PublicKey::read(&at("theirs.pub")).unwrap(), theirs.public());
    let ours = SecretKey::generate().unwrap();
    ours.write(at("ours.pem").as_ref()).unwrap();
    openssl(&["pkey", "-in", &at("ours.pem"), "-pubout", "-out", &at("ours.pub")]);
    assert_eq!(std::fs::read_to_string(at("ours.pub")).unwrap(), ours.public().to_pem());
}
