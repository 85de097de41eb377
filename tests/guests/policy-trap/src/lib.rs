//! A policy that panics.
#![deny(unsafe_code)]

use mischief::{Decision, Mischief};

mischief::policy!(misbehave);

fn misbehave(_: &Mischief) -> Decision {
    panic!("the policy fell over its own feet")
}
