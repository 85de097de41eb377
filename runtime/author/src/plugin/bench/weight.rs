//! How many bytes an input carries into a guest: its texts and blobs, and eight for each number. The host counts what comes out in the
//! same way; what a layout adds in padding, neither does.

use heald_host::Task;
use heald_model::{Attempt, Concern, Event, Fact, Finding, Incident, Offer, Sample, Scalar, Series, ServiceView};
use heald_model::{Blob, Observation, Question};
use serde_json::Value;

/// A number.
const NUMBER: usize = size_of::<f64>();

pub(super) fn observation(input: &Observation) -> usize {
    2 * NUMBER + service(&input.service) + all(&input.series, series) + blob(input.state.as_ref())
}

pub(super) fn question(input: &Question) -> usize {
    2 * NUMBER
        + service(&input.service)
        + all(&input.series, series)
        + incident(&input.incident)
        + all(&input.earlier, attempt)
        + input.related.iter().map(|other| other.signature.as_str().len() + other.service.as_str().len()).sum::<usize>()
        + all(&input.offers, offer)
        + input
            .experience
            .iter()
            .map(|line| line.signature.as_str().len() + line.action.len() + 6 * NUMBER)
            .sum::<usize>()
        + blob(input.state.as_ref())
}

pub(super) fn task(task: &Task<'_>) -> usize {
    3 * NUMBER + service(task.service) + task.action.len() + json(task.parameters) + task.incident.map_or(0, incident)
}

fn all<T>(items: &[T], weigh: impl Fn(&T) -> usize) -> usize {
    items.iter().map(weigh).sum()
}

fn text(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

fn blob(blob: Option<&Blob>) -> usize {
    blob.map_or(0, |blob| blob.0.len())
}

fn json(value: &Value) -> usize {
    value.to_string().len()
}

fn service(view: &ServiceView) -> usize {
    let needs = view.depends_on.iter().map(|dependency| dependency.service.as_str().len()).sum::<usize>();
    let tags = all(&view.tags, String::len);
    view.name.as_str().len() + tags + needs + 3 * NUMBER + json(&view.metadata) + all(&view.facts, fact)
}

fn series(series: &Series) -> usize {
    let named = series.samples.back().map_or(0, |last| last.values.keys().map(String::len).sum());
    series.probe.as_str().len() + 4 * NUMBER + named + series.samples.iter().map(sample).sum::<usize>()
}

fn sample(sample: &Sample) -> usize {
    let numbers = [
        sample.incarnation.is_some(),
        sample.latency.is_some(),
        sample.status.is_some(),
        sample.cpu.is_some(),
        sample.memory.is_some(),
        sample.error_rate.is_some(),
    ];
    let numbers = 1 + numbers.iter().filter(|there| **there).count() + sample.values.len();
    numbers * NUMBER + text(sample.fault.as_ref()) + text(sample.reported.as_ref())
}

fn fact(fact: &Fact) -> usize {
    let value = match &fact.value {
        Scalar::Text(text) => text.len(),
        Scalar::Number(_) | Scalar::Truth(_) => NUMBER,
    };
    fact.name.len() + value
}

fn finding(finding: &Finding) -> usize {
    let words = finding.condition.len() + text(finding.subject.as_ref()) + finding.message.len();
    words + 2 * NUMBER + all(&finding.evidence, fact)
}

fn incident(incident: &Incident) -> usize {
    let concern = |concern: &Concern| finding(&concern.finding) + NUMBER;
    let line = |line: &Event| line.kind.len() + line.source.len() + line.text.len() + NUMBER;
    incident.signature.as_str().len()
        + 2 * NUMBER
        + all(&incident.concerns, concern)
        + all(&incident.timeline, line)
        + all(&incident.attempts, attempt)
}

fn attempt(attempt: &Attempt) -> usize {
    attempt.intent.action.len() + json(&attempt.intent.parameters) + 2 * NUMBER
}

fn offer(offer: &Offer) -> usize {
    let action = &offer.action;
    let words = action.name.len() + action.summary.len() + json(&action.parameters) + text(offer.blocked.as_ref());
    words + all(&action.facts, fact)
}
