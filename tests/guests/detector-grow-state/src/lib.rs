//! A detector that remembers more and more.
#![deny(unsafe_code)]

use mischief::{Mischief, Verdict};

mischief::detector!(misbehave);

/// The state doubles with each call, from `bytes` on.
fn misbehave(mischief: &Mischief, state: &mut Vec<u8>) -> Verdict {
    let size = (state.len() * 2).max(mischief.bytes);
    state.resize(size, b'x');
    Verdict::from(Vec::new())
}
