//! How many bytes an answer carried out of a guest: its texts and blobs, as they are copied. What is of a fixed size is not
//! counted, so that this costs a few additions.

use crate::bindings::exports::heald::plugin::{act, decide, detect};
use crate::bindings::heald::plugin::types::{FactResult, FindingResult, ScalarResult};

pub(crate) fn verdict(said: &detect::Verdict) -> usize {
    let findings = said.findings.iter().map(finding).sum::<usize>();
    let gauges = said.gauges.iter().map(|gauge| gauge.name.len() + size_of::<f64>()).sum::<usize>();
    findings + gauges + blob(said.state.as_ref())
}

pub(crate) fn decision(said: &decide::Decision) -> usize {
    let choice = match &said.choice {
        decide::Choice::Act(proposal) => proposal.action.len() + proposal.parameters.len(),
        decide::Choice::NoAction | decide::Choice::Escalate | decide::Choice::Pass => 0,
    };
    let considered = said.considered.iter().map(|other| other.action.len() + other.reason.len()).sum::<usize>();
    choice + said.reason.len() + considered + facts(&said.facts) + blob(said.state.as_ref())
}

pub(crate) fn plan(said: &act::Plan) -> usize {
    said.summary.len() + facts(&said.facts)
}

pub(crate) fn receipt(said: &act::Receipt) -> usize {
    said.summary.len() + facts(&said.facts) + blob(said.undo.as_ref())
}

/// Of any list of facts.
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
