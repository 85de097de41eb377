//! The test of a plug-in before it is used: heald repeats the last recorded calls of the plug-in's name. If nothing is recorded, it makes up
//! a healthy service and an incident of a service that is down.
//!
//! A self-test has no effect outside: heald makes the calls as a replay does, and answers calls to the host from the record. A plug-in that
//! asks for something that is not recorded, or that uses files or the network, is tested only up to that call. What counts are traps,
//! exceeded budgets and answers that break the contract.

use std::collections::BTreeSet;
use std::sync::Arc;

use heald_model::{
    Breaker, Concern, Fault, FaultCause, Finding, Incident, IncidentId, Moment, PluginName, ProbeId, Role, Sample,
    Series, ServiceName, ServiceView, Severity, Source, Stage,
};
use heald_model::{CallInput, CallQuery, CallResult, HostCall};
use heald_model::{Observation, Question};
use heald_store::Store;
use uuid::Uuid;

use crate::chain_resolver::ChainResolver;

/// The number of recorded calls that are repeated.
const CALLS: u32 = 8;

/// Tests a plug-in in every part that the chains give it.
///
/// # Errors
/// The first fault, with the call that it happened in.
pub(super) async fn self_test(
    name: &PluginName,
    resolved: &ChainResolver,
    store: &Store,
    now: Moment,
) -> Result<(), String> {
    let query = CallQuery { plugin: Some(name.clone()), limit: CALLS, newest: true, ..CallQuery::default() };
    // If the journal cannot be read, the made-up calls must do.
    let recorded = store.calls(query).await.unwrap_or_default().calls;
    let mut tried = BTreeSet::new();
    for (service, chain) in &resolved.chains {
        for member in chain.detectors.iter().filter(|member| member.plugin.plugin().name == *name) {
            // Services with the same configuration share one detector.
            if !tried.insert(Arc::as_ptr(&member.plugin).cast::<()>().addr()) {
                continue;
            }
            let mut shown: Vec<(String, Observation, &[HostCall])> = Vec::new();
            for kept in &recorded {
                if let (CallInput::Detector(input), CallResult::Verdict(said)) = (&kept.call.asked, &kept.call.said) {
                    shown.push((format!("recorded call {}", kept.seq), (**input).clone(), &said.heard));
                }
            }
            if shown.is_empty() {
                shown.push(("a first look at a service that is well".into(), well(service, now), &[]));
            }
            for (what, mut input, heard) in shown {
                // The state belongs to another version, so the plug-in gets none.
                input.state = None;
                failure(member.plugin.replayed(&input, heard).await.err(), &what, &input.service.name)?;
            }
        }
        for member in chain.policies.iter().filter(|member| member.plugin.plugin().name == *name) {
            if !tried.insert(Arc::as_ptr(&member.plugin).cast::<()>().addr()) {
                continue;
            }
            let mut asked: Vec<(String, Question, &[HostCall])> = Vec::new();
            for kept in &recorded {
                if let (CallInput::Policy(question), CallResult::Answer(said)) = (&kept.call.asked, &kept.call.said) {
                    asked.push((format!("recorded call {}", kept.seq), (**question).clone(), &said.heard));
                }
            }
            if asked.is_empty() {
                asked.push(("a service that is down".into(), down(service, now), &[]));
            }
            for (what, mut question, heard) in asked {
                question.state = None;
                failure(member.plugin.replayed(&question, heard).await.err(), &what, &question.service.name)?;
            }
        }
    }
    Ok(())
}

/// An error if the fault speaks against the plug-in.
fn failure(fault: Option<Fault>, what: &str, service: &ServiceName) -> Result<(), String> {
    let Some(fault) = fault else { return Ok(()) };
    let strayed = fault.cause == FaultCause::BadOutput && fault.detail.contains("where the record has");
    if strayed || fault.cause == FaultCause::Refused {
        return Ok(());
    }
    Err(format!("its self-test failed ({what}, about {service}): {fault}"))
}

fn down(service: &ServiceName, now: Moment) -> Question {
    let Observation { service, mut series, .. } = well(service, now);
    for sample in series.iter_mut().flat_map(|series| &mut series.samples) {
        (sample.ok, sample.fault) = (Some(false), Some("refused".into()));
    }
    let finding = Finding {
        condition: heald_engine::native::CONDITION.into(),
        subject: Some("self-test".into()),
        severity: Severity::Critical,
        score: 1.0,
        predicted: None,
        message: "a self-test: nothing is down".into(),
        evidence: Vec::new(),
    };
    let incident = Incident {
        id: IncidentId(Uuid::nil()),
        service: service.name.clone(),
        condition: finding.condition.clone(),
        signature: finding.signature(),
        severity: finding.severity,
        stage: Stage::Opened,
        opened: now,
        updated: now,
        resolved: None,
        reopened: 0,
        parent: None,
        concerns: vec![Concern { finding, source: Source::Native, since: now }],
        attempts: Vec::new(),
        last_concern: None,
        reset: None,
        helped: None,
        held: None,
        timeline: Vec::new(),
    };
    Question {
        now,
        seed: 0,
        service,
        series,
        incident,
        earlier: Vec::new(),
        related: Vec::new(),
        offers: Vec::new(),
        experience: Vec::new(),
        state: None,
    }
}

fn well(service: &ServiceName, now: Moment) -> Observation {
    let mut sample = Sample::new(service.clone(), ProbeId::from("self-test"), now);
    sample.ok = Some(true);
    sample.latency = Some(std::time::Duration::from_millis(1));
    let series = Series {
        probe: ProbeId::from("self-test"),
        role: Role::Liveness,
        replica: None,
        period: std::time::Duration::from_secs(1),
        failure_threshold: 3,
        success_threshold: 1,
        samples: [sample].into(),
        fresh: 1,
    };
    let service = ServiceView {
        name: service.clone(),
        tags: Vec::new(),
        depends_on: Vec::new(),
        wanted: 1,
        running: 1,
        ready: 1,
        breaker: Breaker::Closed,
        metadata: serde_json::json!({}),
        facts: Vec::new(),
    };
    Observation { now, seed: 0, service, series: vec![series], state: None }
}
