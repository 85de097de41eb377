//! A detector whose lists are the same few bytes over and over: a megabyte of its memory that the host would copy out a thousand
//! times.
//
// JUSTIFICATION: only pointers can say the same thing twice without there being two of it, which is the mischief.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;

use mischief::heald_plugin::log::{Level, write};
use mischief::heald_plugin::{Fact, Scalar};
use mischief::{Finding, Mischief, Severity, Verdict};

mischief::detector!(misbehave);

/// `count` texts of `bytes` each, all at one place. `what`: `log` hands them over in a line, anything else as findings.
fn misbehave(mischief: &Mischief, _: &mut Vec<u8>) -> Verdict {
    let place = ManuallyDrop::new("x".repeat(mischief.bytes));
    let again = || {
        // SAFETY: it is not sound. The copies share their bytes with `place`, which is never freed; nobody writes to them, and
        // the lists that hold them are not freed either, unless the host lets them pass.
        unsafe { String::from_raw_parts(place.as_ptr().cast_mut(), place.len(), place.len()) }
    };
    if mischief.what == "log" {
        let facts = (0..mischief.count).map(|_| Fact { name: String::new(), value: Scalar::Text(again()) });
        write(Level::Info, "", &ManuallyDrop::new(facts.collect::<Vec<_>>()));
        return Verdict::from(Vec::new());
    }
    let finding = |_| Finding { message: again(), ..Finding::new("mischief", Severity::Info, "") };
    (0..mischief.count).map(finding).collect()
}
