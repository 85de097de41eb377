//! What must hold of an answer that the host lets through, and of the words it has for one that it does not.
//!
//! The bounds are written down once more rather than taken from the host: a bound that is loosened there by mistake is noticed here.

use heald_model::{Answer, Blob, Verdict};
use heald_model::{Choice, Fact, Fault, Scalar};

const FINDINGS: usize = 64;
const GAUGES: usize = 64;
const FACTS: usize = 32;
const ALTERNATIVES: usize = 32;
const NAME: usize = 128;
const SUBJECT: usize = 256;
const STATE: usize = 64 << 10;
/// What is cut ends with an ellipsis.
const MESSAGE: usize = 2_048 + '…'.len_utf8();
/// JSON comes out of at most so many bytes of text, and never larger than it went in, but for numbers that are written another way.
const JSON: usize = 4 * (64 << 10);
/// Words about a fault: at the most twenty problems with a configuration, each a place and a message of 512 bytes.
const WORDS: usize = 21 << 10;

/// A detector's answer.
pub fn verdict(said: &Verdict) {
    assert!(said.findings.len() <= FINDINGS && said.gauges.len() <= GAUGES);
    for finding in &said.findings {
        name(&finding.condition);
        if let Some(subject) = &finding.subject {
            assert!((1..=SUBJECT).contains(&subject.len()));
            shown(subject);
        }
        assert!((0.0..=1.0).contains(&finding.score));
        message(&finding.message);
        facts(&finding.evidence);
    }
    for (gauge, value) in &said.gauges {
        name(gauge);
        assert!(value.is_finite());
    }
    state(said.state.as_ref());
    // What is in the journal is what was said.
    let kept = serde_json::to_string(said).expect("a verdict can be written");
    assert_eq!(&serde_json::from_str::<Verdict>(&kept).expect("a verdict can be read"), said);
}

/// A policy's answer.
pub fn answer(said: &Answer) {
    let decision = &said.decision;
    if let Choice::Act(proposal) = &decision.choice {
        name(&proposal.action);
        assert!(proposal.parameters.to_string().len() <= JSON);
    }
    assert!((0.0..=1.0).contains(&decision.confidence));
    message(&decision.reason);
    assert!(decision.considered.len() <= ALTERNATIVES);
    for alternative in &decision.considered {
        name(&alternative.action);
        assert!(alternative.score.is_finite());
        message(&alternative.reason);
    }
    facts(&decision.facts);
    state(said.state.as_ref());
    let kept = serde_json::to_string(said).expect("an answer can be written");
    assert_eq!(&serde_json::from_str::<Answer>(&kept).expect("an answer can be read"), said);
}

/// What is said of an answer that was not let through.
pub fn fault(fault: &Fault) {
    assert!(fault.detail.len() <= WORDS, "{} bytes of words", fault.detail.len());
    shown(&fault.detail);
}

fn facts(facts: &[Fact]) {
    assert!(facts.len() <= FACTS);
    for fact in facts {
        name(&fact.name);
        match &fact.value {
            Scalar::Number(number) => assert!(number.is_finite()),
            Scalar::Text(text) => message(text),
            Scalar::Truth(_) => {}
        }
    }
}

fn name(name: &str) {
    assert!((1..=NAME).contains(&name.len()) && !name.contains(char::is_whitespace), "{name:?}");
    shown(name);
}

fn message(text: &str) {
    assert!(text.len() <= MESSAGE);
    shown(text);
}

fn state(state: Option<&Blob>) {
    assert!(state.is_none_or(|blob| blob.0.len() <= STATE));
}

/// Text that a terminal shows and does not obey.
pub fn shown(text: &str) {
    let obeyed =
        |letter: char| letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.contains(obeyed), "{text:?}");
}
