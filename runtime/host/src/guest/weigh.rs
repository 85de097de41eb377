//! Counts the bytes that an answer carried out of a guest: its texts and blobs. Parts of a fixed size are not counted,
//! so that this costs only some additions.

use crate::bindings::exports::heald::plugin::{act, decide, detect};
use crate::bindings::heald::plugin::types::{FactResult, FindingResult, ScalarResult};

pub(crate) fn verdict(answer: &detect::Verdict) -> usize {
    let findings = answer.findings.iter().map(finding).sum::<usize>();
    let gauges = answer.gauges.iter().map(|gauge| gauge.name.len() + size_of::<f64>()).sum::<usize>();
    findings + gauges + blob(answer.state.as_ref())
}

pub(crate) fn decision(answer: &decide::Decision) -> usize {
    let choice = match &answer.choice {
        decide::Choice::Act(proposal) => proposal.action.len() + proposal.parameters.len(),
        decide::Choice::NoAction | decide::Choice::Escalate | decide::Choice::Pass => 0,
    };
    let considered = answer.considered.iter().map(|other| other.action.len() + other.reason.len()).sum::<usize>();
    choice + answer.reason.len() + considered + facts(&answer.facts) + blob(answer.state.as_ref())
}

pub(crate) fn plan(answer: &act::Plan) -> usize {
    answer.summary.len() + facts(&answer.facts)
}

pub(crate) fn receipt(answer: &act::Receipt) -> usize {
    answer.summary.len() + facts(&answer.facts) + blob(answer.undo.as_ref())
}

/// The bytes of a list of facts.
pub(crate) fn facts(facts: &[FactResult]) -> usize {
    facts.iter().map(fact).sum()
}

fn fact(fact: &FactResult) -> usize {
    let value = match &fact.value {
        ScalarResult::Text(text) => text.len(),
        ScalarResult::Number(_) | ScalarResult::Truth(_) => size_of::<f64>(),
    };
    fact.name.len() + value
}

fn finding(finding: &FindingResult) -> usize {
    let subject = finding.subject.as_ref().map_or(0, String::len);
    finding.condition.len() + subject + finding.message.len() + facts(&finding.evidence)
}

fn blob(blob: Option<&Vec<u8>>) -> usize {
    blob.map_or(0, Vec::len)
}
