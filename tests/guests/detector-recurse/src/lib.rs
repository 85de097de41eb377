//! A detector that calls itself until the stack is full.
#![deny(unsafe_code)]

use mischief::{Mischief, Verdict};

mischief::detector!(misbehave);

fn misbehave(_: &Mischief, _: &mut Vec<u8>) -> Verdict {
    descend(1);
    Verdict::from(Vec::new())
}

/// The array and the sum after the call keep the compiler from making a loop of it.
#[allow(unconditional_recursion)]
fn descend(depth: u64) -> u64 {
    let ballast = std::hint::black_box([depth; 32]);
    descend(depth + 1) + ballast[(depth % 32) as usize]
}
