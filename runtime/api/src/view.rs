//! Incidents, attempts and services as the API shows them: in heald's own words, and in those of the clients that it
//! took over.
//!
//! Times are text; durations are seconds or milliseconds, as the name says. It computes nothing new.

use std::collections::BTreeMap;

use heald_control::ProbeStatus;
use heald_model::ServiceStatus;
use heald_model::incident::Held;
use heald_model::{
    Attempt, Ending, Event, Incident, IncidentId, Intent, IntentId, Moment, Outcome, Receipt, Scalar, ServiceName,
    Severity, Signature, Stage,
};
use serde::Serialize;
use serde_json::Value;

use crate::time;

/// An incident.
#[derive(Debug, Serialize)]
pub(crate) struct IncidentView {
    id: IncidentId,
    service: ServiceName,
    condition: String,
    signature: Signature,
    /// heald's own word: info, warning, error, critical.
    level: Severity,
    stage: Stage,
    open: bool,
    opened: String,
    updated: String,
    resolved: Option<String>,
    reopened: u32,
    parent: Option<IncidentId>,
    message: Option<String>,
    concerns: Vec<ConcernView>,
    attempts: Vec<AttemptView>,
    held: Option<HeldView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    timeline: Vec<EventView>,
    // What follows repeats the above in the words of older clients.
    incident_id: IncidentId,
    service_id: ServiceName,
    issue: String,
    severity: &'static str,
    status: &'static str,
    detected_at: String,
    resolved_at: Option<String>,
    actions: Vec<ActionLine>,
    metrics_snapshot: BTreeMap<String, f64>,
}

#[derive(Debug, Serialize)]
struct ConcernView {
    condition: String,
    subject: Option<String>,
    severity: Severity,
    score: f64,
    message: String,
    evidence: BTreeMap<String, Scalar>,
    source: String,
    since: String,
}

#[derive(Debug, Serialize)]
struct HeldView {
    rule: String,
    why: String,
    /// `None` if it was refused, or is held until an event ends it.
    until: Option<String>,
}

#[derive(Debug, Serialize)]
struct EventView {
    at: String,
    kind: String,
    source: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct ActionLine {
    action: String,
    success: bool,
    timestamp: String,
    result: String,
}

impl From<Incident> for IncidentView {
    fn from(incident: Incident) -> Self {
        let resolved = incident.resolved.map(time::full);
        // What is over is still told by what it was about.
        let leading = incident.about().map(|concern| &concern.finding);
        let evidence = leading.map(|finding| finding.evidence.as_slice()).unwrap_or_default();
        let metrics_snapshot = evidence
            .iter()
            .filter_map(|fact| match fact.value {
                Scalar::Number(number) => Some((fact.name.clone(), number)),
                _ => None,
            })
            .collect();
        let about = match incident.concerns.as_slice() {
            [] => incident.last_concern.iter().cloned().collect(),
            concerns => concerns.to_vec(),
        };
        Self {
            message: leading.map(|finding| finding.message.clone()),
            open: incident.is_open(),
            metrics_snapshot,
            incident_id: incident.id,
            service_id: incident.service.clone(),
            issue: capitals(&incident.condition),
            severity: severity(incident.severity),
            status: status(incident.stage),
            detected_at: time::full(incident.opened),
            resolved_at: resolved.clone(),
            actions: incident.attempts.iter().map(ActionLine::from).collect(),
            id: incident.id,
            service: incident.service,
            condition: incident.condition,
            signature: incident.signature,
            level: incident.severity,
            stage: incident.stage,
            opened: time::full(incident.opened),
            updated: time::full(incident.updated),
            resolved,
            reopened: incident.reopened,
            parent: incident.parent,
            concerns: about.into_iter().map(ConcernView::from).collect(),
            attempts: incident.attempts.into_iter().map(AttemptView::from).collect(),
            held: incident.held.map(HeldView::from),
            timeline: incident.timeline.into_iter().map(EventView::from).collect(),
        }
    }
}

impl From<heald_model::Concern> for ConcernView {
    fn from(concern: heald_model::Concern) -> Self {
        let finding = concern.finding;
        Self {
            condition: finding.condition,
            subject: finding.subject,
            severity: finding.severity,
            score: finding.score,
            message: finding.message,
            evidence: finding.evidence.into_iter().map(|fact| (fact.name, fact.value)).collect(),
            source: concern.source.to_string(),
            since: time::full(concern.since),
        }
    }
}

impl From<Held> for HeldView {
    fn from(held: Held) -> Self {
        let until = held.until.filter(|until| *until != Moment::NEVER);
        Self { rule: held.rule, why: held.why, until: until.map(time::full) }
    }
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self { at: time::full(event.at), kind: event.kind, source: event.source, text: event.text }
    }
}

impl From<&Attempt> for ActionLine {
    fn from(attempt: &Attempt) -> Self {
        Self {
            action: underscored(&attempt.intent.action),
            success: healed(attempt),
            timestamp: time::full(attempt.intent.at),
            result: attempt.ending.to_string(),
        }
    }
}

/// One attempt.
#[derive(Debug, Serialize)]
pub(crate) struct AttemptView {
    id: IntentId,
    incident: Option<IncidentId>,
    service: ServiceName,
    signature: Option<Signature>,
    action: String,
    parameters: Value,
    class: heald_model::Class,
    cause: Option<String>,
    source: String,
    at: String,
    receipt: Option<ReceiptView>,
    proof: Option<heald_model::action::Proof>,
    /// healed, not-healed, worse, unknown, failed, withheld, unsettled.
    ending: String,
    undone: bool,
    took_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ReceiptView {
    summary: String,
    changed: bool,
    incarnation: Option<u64>,
    facts: BTreeMap<String, Scalar>,
    at: String,
}

impl From<Receipt> for ReceiptView {
    fn from(receipt: Receipt) -> Self {
        Self {
            summary: receipt.summary,
            changed: receipt.changed,
            incarnation: receipt.incarnation,
            facts: receipt.facts.into_iter().map(|fact| (fact.name, fact.value)).collect(),
            at: time::full(receipt.at),
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        let Intent { id, incident, service, signature, action, parameters, class, source, at, cause, .. } =
            attempt.intent;
        Self {
            id,
            incident,
            service,
            signature,
            action,
            parameters,
            class,
            cause,
            source: source.to_string(),
            at: time::full(at),
            receipt: attempt.receipt.map(ReceiptView::from),
            proof: attempt.proof,
            ending: attempt.ending.to_string(),
            undone: attempt.undone,
            took_ms: attempt.took.map(|took| took.as_secs_f64() * 1e3),
        }
    }
}

/// An attempt on its own, with the words of older clients.
#[derive(Debug, Serialize)]
pub(crate) struct ActionView {
    #[serde(flatten)]
    attempt: AttemptView,
    service_id: ServiceName,
    issue: Option<String>,
    success: bool,
    before_metrics: BTreeMap<String, f64>,
    after_metrics: BTreeMap<String, f64>,
    result: String,
    timestamp: String,
}

impl From<Attempt> for ActionView {
    fn from(attempt: Attempt) -> Self {
        let after = attempt.proof.iter().flat_map(|proof| {
            [("samples".to_owned(), f64::from(proof.samples)), ("passed".to_owned(), f64::from(proof.passed))]
        });
        Self {
            service_id: attempt.intent.service.clone(),
            issue: attempt.intent.signature.as_ref().map(|signature| capitals(signature.as_str())),
            success: healed(&attempt),
            before_metrics: BTreeMap::new(),
            after_metrics: after.collect(),
            result: attempt
                .receipt
                .as_ref()
                .map_or_else(|| attempt.ending.to_string(), |receipt| receipt.summary.clone()),
            timestamp: time::full(attempt.intent.at),
            attempt: attempt.into(),
        }
    }
}

/// A service with its checks and its processes.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceStatusView {
    name: ServiceName,
    up: Option<bool>,
    health: heald_model::Health,
    breaker: &'static str,
    desired: heald_model::Desired,
    mode: heald_model::Mode,
    incidents: Vec<IncidentId>,
    depends_on: Vec<ServiceName>,
    tags: Vec<String>,
    processes: Vec<ProcessView>,
    metrics: BTreeMap<String, f64>,
    last_check: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct ProcessView {
    replica: heald_model::Replica,
    incarnation: u64,
    pid: Option<u32>,
    started: String,
    ended: Option<String>,
}

impl ServiceStatusView {
    pub(crate) fn new(status: ServiceStatus, pulse: ProbeStatus) -> Self {
        let processes = status.processes.into_iter().map(|process| ProcessView {
            replica: process.replica,
            incarnation: process.incarnation,
            pid: process.pid,
            started: time::full(process.started),
            ended: process.ended.map(time::full),
        });
        Self {
            name: status.name,
            up: status.up,
            health: pulse.health,
            breaker: status.breaker.as_str(),
            desired: status.desired,
            mode: status.mode,
            incidents: status.incidents,
            depends_on: status.depends_on,
            tags: status.tags,
            processes: processes.collect(),
            metrics: pulse.metrics,
            last_check: pulse.last_check.map(time::full),
            error: pulse.error,
        }
    }
}

fn healed(attempt: &Attempt) -> bool {
    attempt.ending == Ending::Verified(Outcome::Healed)
}

/// `service-down` as `SERVICE_DOWN`.
pub(crate) fn capitals(word: &str) -> String {
    underscored(word).to_uppercase()
}

/// `clear-cache` as `clear_cache`.
fn underscored(word: &str) -> String {
    word.replace('-', "_")
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "low",
        Severity::Warning => "medium",
        Severity::Error => "high",
        Severity::Critical => "critical",
    }
}

const fn status(stage: Stage) -> &'static str {
    match stage {
        Stage::Opened => "detected",
        Stage::Healing => "acting",
        Stage::Resolved => "resolved",
        Stage::Escalated => "failed",
    }
}

/// Who an order comes from. The text is short and printable, because it ends up in timelines and logs.
pub(crate) fn operator(name: Option<String>) -> String {
    /// Longer than any login name.
    const LONGEST: usize = 64;
    let name: String = name.unwrap_or_default().chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    let name = name.trim();
    if name.is_empty() { "api".into() } else { name.into() }
}
