//! A detector that takes memory without end.
#![deny(unsafe_code)]

use mischief::{Mischief, Verdict};

mischief::detector!(misbehave);

fn misbehave(_: &Mischief, _: &mut Vec<u8>) -> Verdict {
    let mut hoard = Vec::new();
    loop {
        // Written to, so that it is memory and no promise of it.
        hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}
