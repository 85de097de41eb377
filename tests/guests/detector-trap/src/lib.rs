//! A detector that panics.
#![deny(unsafe_code)]

use mischief::{Mischief, Verdict};

mischief::detector!(misbehave);

fn misbehave(_: &Mischief, _: &mut Vec<u8>) -> Verdict {
    panic!("the detector fell over its own feet")
}
