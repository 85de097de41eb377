//! A detector that sleeps in the host: no code of its own runs, so nothing of its processor time is used up.
#![deny(unsafe_code)]

use mischief::{Mischief, Verdict};

mischief::detector!(misbehave);

fn misbehave(_: &Mischief, _: &mut Vec<u8>) -> Verdict {
    std::thread::sleep(std::time::Duration::from_secs(3_600));
    Verdict::from(Vec::new())
}
