//! A detector that talks without end.
#![deny(unsafe_code)]

use mischief::{Mischief, Verdict};

mischief::detector!(misbehave);

/// `count` lines of `bytes` each.
fn misbehave(mischief: &Mischief, _: &mut Vec<u8>) -> Verdict {
    let message = "x".repeat(mischief.bytes);
    let mut line = 0;
    while mischief.count == 0 || line < mischief.count {
        line += 1;
        // With what a terminal would act upon, too.
        mischief::heald_plugin::log::info!("\u{1b}[31m{line}\r\n{message}");
    }
    Verdict::from(Vec::new())
}
