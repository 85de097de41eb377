//! A detector that asks for a table without end.
#![deny(unsafe_code)]

use mischief::{Mischief, Verdict};

mischief::detector!(misbehave);

fn misbehave(_: &Mischief, _: &mut Vec<u8>) -> Verdict {
    let mut more = 1_u32;
    while grow(more) != u32::MAX {
        more = more.saturating_mul(2);
    }
    Verdict::from(Vec::new())
}

/// Stands for `table.grow`, for which Rust has no word: the test that uses this guest finds these instructions in the code and
/// puts `ref.null func; local.get 0; table.grow 0` in their place.
#[inline(never)]
fn grow(by: u32) -> u32 {
    std::hint::black_box(mark(std::hint::black_box(by)))
}

#[allow(unsafe_code)]
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mark(by: u32) -> u32 {
    by ^ 0x5eed_1234
}
