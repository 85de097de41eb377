//! A detector that calls itself until the stack is full.
#![deny(unsafe_code)]

use mischief::{Mischief, Verdict};

mischief::detector!(misbehave);

fn misbehave(_: &Mischief, _: &mut Vec<u8>) -> Verdict {
    descend(1);
    Verdict::from(Vec::new())
}

/// The black boxes keep the compiler from making a loop of it, and each frame takes so little of the guest's own memory that
/// it is the host's stack that ends first.
#[allow(unconditional_recursion)]
fn descend(depth: u64) -> u64 {
    std::hint::black_box(descend(std::hint::black_box(depth + 1)))
}
