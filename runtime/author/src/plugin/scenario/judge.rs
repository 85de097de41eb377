//! What was said, held against what was expected.

use std::fmt::Write as _;

use heald_host::PluginRole;
use heald_model::{Answer, Verdict};
use heald_model::{Choice, Fact, Finding, Scalar};
use serde::Serialize;
use serde_json::{Map, Value};
use toml::Spanned;

use super::form::{ExpectForm, Holds, OneOrMore};
use super::maker::Time;
use super::{CheckedScenario, PluginAnswer, ScenarioCall};

/// Faults that are told one by one; a plug-in that always fails would fill the screen.
const FAULTS_TOLD: usize = 3;

/// One expectation, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// Where it stands in the file.
    pub line: usize,
    /// Whether it was met.
    pub met: bool,
    /// What was expected.
    pub expected: String,
    /// When it was not: the first time that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// What was said then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

/// Every expectation that is for a plug-in in this role, in the order of the file.
pub(super) fn judge(scenario: &CheckedScenario, role: PluginRole, turns: &[ScenarioCall]) -> Vec<Judged> {
    let form = &scenario.form;
    let steps: Vec<(usize, &[Spanned<ExpectForm>])> = match role {
        PluginRole::Detector => {
            form.sample.iter().map(|step| (step.span().start, step.get_ref().expect.as_slice())).collect()
        }
        PluginRole::Policy => {
            form.question.iter().map(|step| (step.span().start, step.get_ref().expect.as_slice())).collect()
        }
        PluginRole::Action => {
            form.task.iter().map(|step| (step.span().start, step.get_ref().expect.as_slice())).collect()
        }
    };
    let mut judged = faults(scenario, &steps, turns);
    for (step, (begin, expects)) in steps.iter().enumerate() {
        let own: Vec<&ScenarioCall> = turns.iter().filter(|turn| turn.steps.contains(&step)).collect();
        for expect in *expects {
            judged.push(one(scenario, expect, &own));
        }
        if role == PluginRole::Action && expects.is_empty() {
            let done = ExpectForm { done: Some(true), ..ExpectForm::default() };
            judged.push(held(scenario.line(*begin), &done, &own));
        }
    }
    let all: Vec<&ScenarioCall> = turns.iter().collect();
    let ours = |expect: &&Spanned<ExpectForm>| match role {
        PluginRole::Detector => expect.get_ref().finding.is_some() || expect.get_ref().gauge.is_some(),
        PluginRole::Policy => expect.get_ref().decides.is_some(),
        PluginRole::Action => false,
    };
    judged.extend(form.expect.iter().filter(ours).map(|expect| one(scenario, expect, &all)));
    judged.sort_by_key(|each| each.line);
    judged
}

/// No fault is ever expected.
fn faults(
    scenario: &CheckedScenario,
    steps: &[(usize, &[Spanned<ExpectForm>])],
    turns: &[ScenarioCall],
) -> Vec<Judged> {
    let faulted: Vec<&ScenarioCall> = turns.iter().filter(|turn| matches!(turn.said, PluginAnswer::Fault(_))).collect();
    let told = faulted.iter().take(FAULTS_TOLD).map(|turn| {
        let step = turn.steps.first().and_then(|step| steps.get(*step)).map_or(0, |(begin, _)| *begin);
        let more = match faulted.len() {
            many if many > FAULTS_TOLD => format!(" (one of {many} such calls)"),
            _ => String::new(),
        };
        let said = format!("{}{more}", told(&turn.said));
        Judged {
            line: scenario.line(step),
            met: false,
            expected: "an answer".into(),
            at: Some(turn.at),
            said: Some(said),
        }
    });
    told.collect()
}

fn one(scenario: &CheckedScenario, expect: &Spanned<ExpectForm>, turns: &[&ScenarioCall]) -> Judged {
    held(scenario.line(expect.span().start), expect.get_ref(), turns)
}

fn held(line: usize, expect: &ExpectForm, turns: &[&ScenarioCall]) -> Judged {
    let fits = |turn: &&&ScenarioCall| meets(expect, &turn.said);
    let first = turns.iter().find(fits);
    // None: it is met; else the turn that shows that it is not, if one does.
    let broken: Option<Option<&&ScenarioCall>> = match (expect.first, expect.holds) {
        (Some([from, to]), _) if first.is_some_and(|turn| turn.at < from || turn.at > to) => Some(first),
        (Some([_, to]), _) if first.is_none() => {
            // The last word when it should have been seen.
            Some(turns.iter().rfind(|turn| turn.at <= to).or(turns.last()))
        }
        (Some(_), None) => None,
        (_, None | Some(Holds::AtEnd)) => turns.last().is_none_or(|turn| !fits(&turn)).then(|| turns.last()),
        (_, Some(Holds::NotAtEnd)) => turns.last().filter(fits).map(Some),
        (_, Some(Holds::Always)) => turns.iter().find(|turn| !fits(turn)).map(Some),
        (_, Some(Holds::Ever)) => first.is_none().then(|| turns.last()),
        (_, Some(Holds::Never)) => first.map(Some),
    };
    let at = broken.and_then(|turn| turn.map(|turn| turn.at));
    let said = broken.map(|turn| turn.map_or_else(|| "nothing: it was not asked".to_owned(), |turn| told(&turn.said)));
    Judged { line, met: broken.is_none(), expected: wanted(expect), at, said }
}

/// Whether what was said at one time is what is expected, leaving aside when.
fn meets(expect: &ExpectForm, said: &PluginAnswer) -> bool {
    match said {
        PluginAnswer::Verdict(verdict) => match &expect.gauge {
            Some(name) => gauges(expect, name, verdict),
            None => verdict.findings.iter().any(|finding| finds(expect, finding)),
        },
        PluginAnswer::Answer(answer) => decides(expect, answer),
        PluginAnswer::Plan(plan) => {
            expect.done == Some(true)
                && expect.changed.is_none()
                && expect.undoable.is_none()
                && says(expect, &plan.summary)
                && knows(expect, &plan.facts)
        }
        PluginAnswer::Receipt(receipt) => {
            expect.done == Some(true)
                && expect.changed.is_none_or(|changed| changed == receipt.changed)
                && expect.undoable.is_none_or(|undoable| undoable == receipt.undo.is_some())
                && says(expect, &receipt.summary)
                && knows(expect, &receipt.facts)
        }
        PluginAnswer::Undone(why) => expect.done == Some(false) && says(expect, why),
        PluginAnswer::Fault(_) => false,
    }
}

fn finds(expect: &ExpectForm, finding: &Finding) -> bool {
    expect.finding.as_ref().is_some_and(|named| any(named, &finding.condition))
        && expect.subject.as_ref().is_none_or(|subject| finding.subject.as_ref() == Some(subject))
        && expect.severity.is_none_or(|severity| finding.severity == severity)
        && expect.at_least.is_none_or(|severity| finding.severity >= severity)
        && expect.score.is_none_or(|bounds| within(bounds, finding.score))
        && says(expect, &finding.message)
        && knows(expect, &finding.evidence)
}

fn gauges(expect: &ExpectForm, name: &str, verdict: &Verdict) -> bool {
    let value = verdict.gauges.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    value.is_some_and(|value| expect.between.is_none_or(|bounds| within(bounds, value)))
}

fn decides(expect: &ExpectForm, answer: &Answer) -> bool {
    let decision = &answer.decision;
    let verb = expect.decides.as_ref().is_some_and(|named| {
        let action = matches!(decision.choice, Choice::Act(_));
        named.words().iter().any(|word| word == decision.verb() || (word == "*" && action))
    });
    let parameters = match &decision.choice {
        Choice::Act(proposal) => proposal.parameters.as_object(),
        _ => None,
    };
    verb && expect.parameters.as_ref().is_none_or(|wanted| parameters.is_some_and(|given| contains(given, wanted)))
        && expect.confidence.is_none_or(|bounds| within(bounds, decision.confidence))
        && expect
            .considers
            .as_ref()
            .is_none_or(|named| decision.considered.iter().any(|other| any(named, &other.action)))
        && says(expect, &decision.reason)
        && knows(expect, &decision.facts)
}

fn any(named: &OneOrMore, word: &str) -> bool {
    named.words().iter().any(|each| each == word || each == "*")
}

fn says(expect: &ExpectForm, text: &str) -> bool {
    let lower = text.to_lowercase();
    expect.says.as_ref().is_none_or(|words| lower.contains(&words.to_lowercase()))
}

fn knows(expect: &ExpectForm, facts: &[Fact]) -> bool {
    expect.facts.iter().all(|(name, value)| facts.iter().any(|fact| fact.name == *name && same(&fact.value, value)))
}

/// Numbers that went through a guest and JSON are equal if nobody could tell them apart.
fn same(a: &Scalar, b: &Scalar) -> bool {
    match (a, b) {
        (Scalar::Number(a), Scalar::Number(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0),
        (a, b) => a == b,
    }
}

fn within([low, high]: [f64; 2], value: f64) -> bool {
    (low..=high).contains(&value)
}

/// All that is wanted is given; 3 and 3.0 are the same.
fn contains(given: &Map<String, Value>, wanted: &Map<String, Value>) -> bool {
    wanted.iter().all(|(name, value)| match (given.get(name), value) {
        (Some(Value::Object(given)), Value::Object(wanted)) => contains(given, wanted),
        (Some(given), value) => given == value || (given.is_number() && given.as_f64() == value.as_f64()),
        (None, _) => false,
    })
}

/// An expectation in words.
fn wanted(expect: &ExpectForm) -> String {
    let mut text = match (&expect.finding, &expect.gauge, &expect.decides, expect.done) {
        (Some(named), ..) => alternatives(named, "a finding", "any finding"),
        (_, Some(gauge), ..) => format!("gauge {gauge}"),
        (_, _, Some(named), _) => alternatives(named, "a decision", "any action"),
        (.., Some(true)) => "done".to_owned(),
        (.., Some(false)) => "not done".to_owned(),
        _ => "an answer".to_owned(),
    };
    let mut more: Vec<String> = Vec::new();
    let pair = |name: &str, [low, high]: [f64; 2]| format!("{name} {low} to {high}");
    more.extend(expect.subject.as_ref().map(|subject| format!("of {subject}")));
    more.extend(expect.severity.map(|severity| severity.to_string()));
    more.extend(expect.at_least.map(|severity| format!("at least {severity}")));
    more.extend(expect.score.map(|bounds| pair("score", bounds)));
    more.extend(expect.between.map(|[low, high]| format!("{low} to {high}")));
    more.extend(expect.confidence.map(|bounds| pair("confidence", bounds)));
    more.extend(expect.parameters.as_ref().map(|parameters| format!("with {}", Value::Object(parameters.clone()))));
    more.extend(expect.considers.as_ref().map(|named| format!("having considered {}", named.words().join(" or "))));
    more.extend(expect.says.as_ref().map(|words| format!("saying {words:?}")));
    more.extend(expect.facts.iter().map(|(name, value)| format!("{name} = {value}")));
    more.extend(expect.changed.map(|changed| if changed { "a change" } else { "no change" }.to_owned()));
    more.extend(expect.undoable.map(|undoable| if undoable { "undoable" } else { "not undoable" }.to_owned()));
    if !more.is_empty() {
        let _ = write!(text, " ({})", more.join(", "));
    }
    let when = match (expect.first, expect.holds) {
        (Some([from, to]), _) if from == to => format!(", first at {from}"),
        (Some([from, to]), _) => format!(", first between {from} and {to}"),
        (None, Some(Holds::NotAtEnd)) => ", over by the end".to_owned(),
        (None, Some(Holds::Always)) => ", every time".to_owned(),
        (None, Some(Holds::Ever)) => ", at some time".to_owned(),
        (None, Some(Holds::Never)) => ", never".to_owned(),
        (None, None | Some(Holds::AtEnd)) => String::new(),
    };
    text.push_str(&when);
    text
}

fn alternatives(named: &OneOrMore, none: &str, star: &str) -> String {
    let words: Vec<&str> = named.words().iter().map(|word| if word == "*" { star } else { word.as_str() }).collect();
    if words.is_empty() { none.to_owned() } else { words.join(" or ") }
}

/// What was said, in words.
fn told(said: &PluginAnswer) -> String {
    match said {
        PluginAnswer::Verdict(verdict) => {
            let mut all: Vec<String> = verdict.findings.iter().map(found).collect();
            all.extend(verdict.gauges.iter().map(|(name, value)| format!("gauge {name} {value}")));
            if verdict.findings.is_empty() {
                all.insert(0, "nothing found".to_owned());
            }
            all.join("; ")
        }
        PluginAnswer::Answer(answer) => {
            let decision = &answer.decision;
            let parameters = match &decision.choice {
                Choice::Act(proposal) if proposal.parameters.as_object().is_some_and(|given| !given.is_empty()) => {
                    format!(" with {}", proposal.parameters)
                }
                _ => String::new(),
            };
            let reason = &decision.reason;
            format!("{}{parameters} (confidence {:.2}): {reason}", decision.verb(), decision.confidence)
        }
        PluginAnswer::Plan(plan) => format!("it would be done: {}{}", plan.summary, listed(&plan.facts)),
        PluginAnswer::Receipt(receipt) => {
            let changed = if receipt.changed { "changed" } else { "unchanged" };
            let undo = if receipt.undo.is_some() { ", undoable" } else { "" };
            format!("done ({changed}{undo}): {}{}", receipt.summary, listed(&receipt.facts))
        }
        PluginAnswer::Undone(why) => format!("not done: {why}"),
        PluginAnswer::Fault(fault) => format!("a fault: {fault}"),
    }
}

fn found(finding: &Finding) -> String {
    let subject = finding.subject.as_ref().map(|subject| format!(" of {subject}")).unwrap_or_default();
    format!("{}{subject} ({}, score {}): {}", finding.condition, finding.severity, finding.score, finding.message)
}

fn listed(facts: &[Fact]) -> String {
    let each: Vec<String> = facts.iter().map(|fact| format!("{} {}", fact.name, fact.value)).collect();
    if each.is_empty() { String::new() } else { format!(" [{}]", each.join(", ")) }
}
