//! Turns heald's records into what goes into a guest. It borrows text that exists and builds the rest in an arena, so
//! that a call allocates next to nothing.
//!
//! It keeps the host's side of the contract: floats are finite, ids are opaque text, lists are bounded and oldest
//! first.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;
use heald_model as model;
use heald_model::time::nanos;

use crate::bindings::heald::plugin::types::{
    ActionInfoParam, Attempt, Concern, Dependency, Ending, Event, Experience, FactParam, FindingParam, Incident, Offer,
    Outcome, Relative, Replicas, Sample, ScalarParam, Series, Service, Severity,
};

/// Lines of a timeline that a guest is shown: the newest.
const TIMELINE: usize = 100;
/// Attempts, and other incidents, that a guest is shown: the newest.
const ATTEMPTS: usize = 100;
const RELATED: usize = 50;

/// A value as text in the arena.
fn text<'a>(arena: &'a Bump, value: &dyn Display) -> &'a str {
    use std::fmt::Write;
    let mut text = bumpalo::collections::String::new_in(arena);
    // Writing into a string in memory does not fail. If a `Display` fails, the guest gets what was written before.
    let _ = write!(text, "{value}");
    text.into_bump_str()
}

fn list<T, U>(arena: &Bump, items: impl ExactSizeIterator<Item = T>, lower: impl FnMut(T) -> U) -> &[U] {
    if items.len() == 0 { &[] } else { arena.alloc_slice_fill_iter(items.map(lower)) }
}

/// The end of a list that is too long.
fn newest<T>(items: &[T], most: usize) -> &[T] {
    items.get(items.len().saturating_sub(most)..).unwrap_or(items)
}

fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

fn optional(duration: Option<Duration>) -> Option<u64> {
    duration.map(nanos)
}

/// The name by which guests know a source.
fn source(source: &model::Source) -> &str {
    match source {
        model::Source::Plugin(plugin) => plugin.name.as_str(),
        model::Source::Native => "builtin",
        model::Source::Operator(_) => "operator",
    }
}

/// Facts. The contract has no place for a number that is not finite, so such a fact is left out.
fn facts<'a>(arena: &'a Bump, facts: &'a [model::Fact]) -> &'a [FactParam<'a>] {
    let mut lowered = BumpVec::with_capacity_in(facts.len(), arena);
    for fact in facts {
        let value = match &fact.value {
            model::Scalar::Truth(truth) => ScalarParam::Truth(*truth),
            model::Scalar::Number(number) if number.is_finite() => ScalarParam::Number(*number),
            model::Scalar::Number(_) => continue,
            model::Scalar::Text(text) => ScalarParam::Text(text),
        };
        lowered.push(FactParam { name: &fact.name, value });
    }
    lowered.into_bump_slice()
}

pub(crate) fn service<'a>(arena: &'a Bump, view: &'a model::ServiceView) -> Service<'a> {
    Service {
        name: view.name.as_str(),
        tags: list(arena, view.tags.iter(), String::as_str),
        depends_on: list(arena, view.depends_on.iter(), |dependency| Dependency {
            service: dependency.service.as_str(),
            up: dependency.up,
        }),
        replicas: Replicas { wanted: view.wanted, running: view.running, ready: view.ready },
        breaker: match view.breaker {
            model::Breaker::Closed => "closed",
            model::Breaker::Open => "open",
            model::Breaker::HalfOpen => "half-open",
            model::Breaker::ForcedOpen => "forced-open",
            model::Breaker::Disabled => "disabled",
        },
        metadata: match &view.metadata {
            // Nearly every service has no metadata, which is an empty object.
            serde_json::Value::Null => "{}",
            metadata => text(arena, metadata),
        },
        facts: facts(arena, &view.facts),
    }
}

pub(crate) fn all_series<'a>(arena: &'a Bump, all: &'a [model::Series]) -> &'a [Series<'a>] {
    list(arena, all.iter(), |series| one_series(arena, series))
}

fn one_series<'a>(arena: &'a Bump, series: &'a model::Series) -> Series<'a> {
    let metrics = metrics(arena, series);
    Series {
        probe: series.probe.as_str(),
        role: series.role.as_str(),
        replica: series.replica.as_ref().map(model::Replica::as_str),
        period: nanos(series.period),
        failure_threshold: series.failure_threshold,
        success_threshold: series.success_threshold,
        metrics,
        samples: list(arena, series.samples.iter(), |sample| one_sample(arena, metrics, sample)),
        fresh: series.fresh,
    }
}

/// The names of all custom metrics in the series, sorted. Nearly always all samples have the same ones.
fn metrics<'a>(arena: &'a Bump, series: &'a model::Series) -> &'a [&'a str] {
    let Some(last) = series.samples.back() else { return &[] };
    if series.samples.iter().all(|sample| sample.values.keys().eq(last.values.keys())) {
        return list(arena, last.values.keys(), String::as_str);
    }
    let names: BTreeSet<&str> =
        series.samples.iter().flat_map(|sample| sample.values.keys().map(String::as_str)).collect();
    list(arena, names.into_iter(), |name| name)
}

fn one_sample<'a>(arena: &'a Bump, metrics: &'a [&'a str], sample: &'a model::Sample) -> Sample<'a> {
    // Both are sorted, so one pass finds each name's value.
    let mut values = sample.values.iter().peekable();
    let mut value = |name: &str| values.next_if(|(key, _)| key.as_str() == name).map(|(_, value)| *value);
    Sample {
        at: sample.at.nanos(),
        incarnation: sample.incarnation,
        ok: sample.ok,
        fault: sample.fault.as_deref(),
        reported: sample.reported.as_deref(),
        latency: optional(sample.latency),
        status: sample.status,
        cpu: finite(sample.cpu),
        memory: finite(sample.memory),
        error_rate: finite(sample.error_rate),
        values: list(arena, metrics.iter(), |name| finite(value(name))),
    }
}

fn severity(severity: model::Severity) -> Severity {
    match severity {
        model::Severity::Info => Severity::Info,
        model::Severity::Warning => Severity::Warning,
        model::Severity::Error => Severity::Error,
        model::Severity::Critical => Severity::Critical,
    }
}

fn concern<'a>(arena: &'a Bump, concern: &'a model::Concern) -> Concern<'a> {
    let finding = &concern.finding;
    Concern {
        finding: FindingParam {
            condition: &finding.condition,
            subject: finding.subject.as_deref(),
            severity: severity(finding.severity),
            score: finite(Some(finding.score)).unwrap_or(0.0),
            predicted: finding.predicted.map(model::Moment::nanos),
            message: &finding.message,
            evidence: facts(arena, &finding.evidence),
        },
        source: source(&concern.source),
        since: concern.since.nanos(),
    }
}

fn attempt<'a>(arena: &'a Bump, attempt: &'a model::Attempt) -> Attempt<'a> {
    let intent = &attempt.intent;
    Attempt {
        incident: intent.incident.as_ref().map_or("", |id| text(arena, id)),
        action: &intent.action,
        parameters: text(arena, &intent.parameters),
        source: source(&intent.source),
        at: intent.at.nanos(),
        ending: match &attempt.ending {
            model::Ending::Verified(model::Outcome::Healed) => Ending::Verified(Outcome::Healed),
            model::Ending::Verified(model::Outcome::NotHealed) => Ending::Verified(Outcome::NotHealed),
            model::Ending::Verified(model::Outcome::Worse) => Ending::Verified(Outcome::Worse),
            model::Ending::Verified(model::Outcome::Unknown) => Ending::Verified(Outcome::Unknown),
            model::Ending::Failed(why) => Ending::Failed(why),
            model::Ending::Withheld(why) => Ending::Withheld(why),
            model::Ending::Unsettled => Ending::Unsettled,
        },
        undone: attempt.undone,
        took: optional(attempt.took),
    }
}

/// An incident, with the attempts of earlier incidents before its own, and with the incidents that are open beside it.
pub(crate) fn incident<'a>(
    arena: &'a Bump,
    incident: &'a model::Incident,
    earlier: &'a [model::Attempt],
    others: &'a [model::Incident],
) -> Incident<'a> {
    let relative = |other: &'a model::Incident| Relative {
        incident: text(arena, &other.id),
        service: other.service.as_str(),
        signature: other.signature.as_str(),
    };
    let mut attempts = BumpVec::new_in(arena);
    let spare = ATTEMPTS.saturating_sub(incident.attempts.len());
    attempts.extend(newest(earlier, spare).iter().map(|past| attempt(arena, past)));
    attempts.extend(newest(&incident.attempts, ATTEMPTS).iter().map(|own| attempt(arena, own)));
    let mut related = BumpVec::new_in(arena);
    related.extend(others.iter().filter(|other| Some(other.id) != incident.parent).take(RELATED).map(relative));
    Incident {
        id: text(arena, &incident.id),
        signature: incident.signature.as_str(),
        severity: severity(incident.severity),
        stage: incident.stage.as_str(),
        opened: incident.opened.nanos(),
        concerns: list(arena, incident.concerns.iter(), |held| concern(arena, held)),
        timeline: list(arena, newest(&incident.timeline, TIMELINE).iter(), |event| Event {
            at: event.at.nanos(),
            kind: &event.kind,
            source: &event.source,
            text: &event.text,
        }),
        attempts: attempts.into_bump_slice(),
        cause: others.iter().find(|other| Some(other.id) == incident.parent).map(relative),
        related: related.into_bump_slice(),
        facts: incident_facts(arena, incident),
    }
}

/// Facts for what the record has no field for: how often the incident came back, and why nothing happens now.
fn incident_facts<'a>(arena: &'a Bump, incident: &'a model::Incident) -> &'a [FactParam<'a>] {
    let mut facts = BumpVec::new_in(arena);
    if incident.reopened > 0 {
        facts.push(FactParam { name: "reopened", value: ScalarParam::Number(incident.reopened.into()) });
    }
    if let Some(held) = &incident.held {
        facts.push(FactParam { name: "held", value: ScalarParam::Text(&held.rule) });
    }
    facts.into_bump_slice()
}

pub(crate) fn offers<'a>(arena: &'a Bump, offers: &'a [model::Offer]) -> &'a [Offer<'a>] {
    list(arena, offers.iter(), |offer| Offer {
        action: ActionInfoParam {
            name: &offer.action.name,
            summary: &offer.action.summary,
            parameters: text(arena, &offer.action.parameters),
            disruptive: offer.action.disruptive,
            undoable: offer.action.undoable,
            facts: facts(arena, &offer.action.facts),
        },
        source: source(&offer.source),
        blocked: offer.blocked.as_deref(),
    })
}

pub(crate) fn experience<'a>(arena: &'a Bump, catalog: &'a [model::Experience]) -> &'a [Experience<'a>] {
    list(arena, catalog.iter(), |line| Experience {
        signature: line.signature.as_str(),
        action: &line.action,
        service: line.service.as_ref().map(model::ServiceName::as_str),
        tries: line.tries,
        successes: line.successes,
        // Beta(1, 1) knows nothing.
        alpha: finite(Some(line.alpha)).unwrap_or(1.0),
        beta: finite(Some(line.beta)).unwrap_or(1.0),
        recovery: optional(line.recovery),
        recovery_p90: optional(line.recovery_p90),
    })
}

/// A JSON value as text.
pub(crate) fn json<'a>(arena: &'a Bump, value: &serde_json::Value) -> &'a str {
    match value {
        serde_json::Value::Null => "{}",
        value => text(arena, value),
    }
}

/// An id as text.
pub(crate) fn id<'a>(arena: &'a Bump, id: &dyn Display) -> &'a str {
    text(arena, id)
}

#[cfg(test)]
mod tests {
    use heald_model::{Fact, Moment, Role, Sample};

    use super::*;

    fn series(samples: impl IntoIterator<Item = Sample>) -> model::Series {
        model::Series {
            probe: "http".into(),
            role: Role::Liveness,
            replica: None,
            period: Duration::from_secs(1),
            failure_threshold: 3,
            success_threshold: 1,
            samples: samples.into_iter().collect(),
            fresh: 1,
        }
    }

    fn sample(values: &[(&str, f64)]) -> Sample {
        let mut sample = Sample::new("web".into(), "http".into(), Moment::from_millis(1));
        sample.values = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        sample
    }

    #[test]
    fn values_stand_in_the_order_of_their_names() {
        let arena = Bump::new();
        let series = series([
            sample(&[("b", 2.0)]),
            sample(&[("a", 1.0), ("c", f64::NAN)]),
            sample(&[]),
            sample(&[("a", 4.0), ("b", 5.0), ("c", 6.0)]),
        ]);
        let lowered = one_series(&arena, &series);
        assert_eq!(lowered.metrics, ["a", "b", "c"]);
        let values: Vec<_> = lowered.samples.iter().map(|sample| sample.values.to_vec()).collect();
        assert_eq!(
            values,
            [
                vec![None, Some(2.0), None],
                vec![Some(1.0), None, None],
                vec![None, None, None],
                vec![Some(4.0), Some(5.0), Some(6.0)],
            ]
        );
    }

    #[test]
    fn the_host_sends_finite_floats_only() {
        let arena = Bump::new();
        let mut strange = sample(&[("a", f64::INFINITY)]);
        (strange.cpu, strange.memory, strange.error_rate) = (Some(f64::NAN), Some(f64::INFINITY), Some(0.5));
        let series = series([strange]);
        let lowered = one_series(&arena, &series);
        let sample = &lowered.samples[0];
        assert_eq!((sample.cpu, sample.memory, sample.error_rate), (None, None, Some(0.5)));
        assert_eq!(sample.values, [None]);
        let sent = [Fact::number("x", f64::NAN), Fact::number("y", 1.0)];
        let names: Vec<_> = facts(&arena, &sent).iter().map(|fact| fact.name).collect();
        assert_eq!(names, ["y"]);
    }
}
