//! A detector whose numbers are none, or out of range.
#![deny(unsafe_code)]

use mischief::{Mischief, Verdict};

mischief::detector!(misbehave);

/// `what`: `nan` (the default), `infinite`, `range`, `negative`, `huge`, `evidence`, `gauge`, `text` (a condition with a line break in it).
fn misbehave(mischief: &Mischief, _: &mut Vec<u8>) -> Verdict {
    let mut finding = mischief::Finding::new("mischief", mischief::Severity::Error, "numbers that are none");
    let mut gauge = 1.0;
    match mischief.what.as_str() {
        "infinite" => finding.score = f64::INFINITY,
        "range" => finding.score = 7.5,
        "negative" => finding.score = -0.1,
        "huge" => finding.score = f64::MAX,
        "evidence" => finding = finding.with("cpu", f64::NAN),
        "gauge" => gauge = f64::NAN,
        "text" => finding.condition = "two\nlines".to_owned(),
        _ => finding.score = f64::NAN,
    }
    Verdict::from(vec![finding]).gauge("mischief", gauge)
}
