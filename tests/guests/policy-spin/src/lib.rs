//! A policy that never answers.
#![deny(unsafe_code)]

use mischief::{Decision, Mischief};

mischief::policy!(misbehave);

fn misbehave(_: &Mischief) -> Decision {
    mischief::spin()
}
