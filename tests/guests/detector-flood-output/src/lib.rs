//! A detector that finds far too much.
#![deny(unsafe_code)]

use mischief::{Mischief, Verdict};

mischief::detector!(misbehave);

/// `count` findings with `bytes` of message each: 100 MB unless said.
fn misbehave(mischief: &Mischief, _: &mut Vec<u8>) -> Verdict {
    let message = "x".repeat(mischief.bytes);
    let count = if mischief.count == 0 { u64::MAX } else { mischief.count };
    let finding = |number| {
        mischief::Finding::new("mischief", mischief::Severity::Info, message.as_str())
            .about(format!("subject-{number}"))
    };
    (0..count).map(finding).collect()
}
