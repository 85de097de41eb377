//! Prove: fresh samples say whether an act helped; then the attempt is settled and learned from.
//!
//! The window and its verdict are pure ([`crate::proof_window`]); this file waits, records, and takes back what made things worse. It
//! starts nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use heald_model::{
    Attempt, Class, Desired, Ending, Entry, Intent, Outcome, PROCESS_PROBE, ProbeId, Receipt, Record, Role,
    ServiceSpec, Severity,
};

use crate::context::Context;
use crate::guard;
use crate::incidents;
use crate::ledger::instance;
use crate::proof_window::{ProofTerms, ProofWindow};
use crate::service::Service;

/// Waits for fresh samples to say whether it helped, settles the attempt, and takes back what made things worse.
pub(crate) async fn verify(ctx: &Context, service: &Service, intent: &Intent, receipt: Option<&Receipt>) -> Outcome {
    let incarnation = receipt.and_then(|receipt| receipt.incarnation);
    let mut changes = service.changes();
    {
        let mut state = service.lock();
        let about = intent.incident.and_then(|id| state.incidents.get(&id));
        let (condition, severity) =
            about.map_or_else(|| (String::new(), Severity::Info), |known| (known.condition.clone(), known.severity));
        let mut window = ProofWindow::new(ProofTerms {
            condition,
            severity,
            began: intent.at,
            since: receipt.map_or_else(|| ctx.now(), |receipt| receipt.at),
            incarnation,
            instance: instance(intent),
            needed: needed(&service.spec(), intent),
            deadline: ctx.now() + intent.verify_within,
        });
        // A new process can have ended before anybody waited for it.
        state.series.values().flat_map(|series| &series.samples).for_each(|sample| window.hear(sample));
        state.proofs.insert(intent.id, window);
    }
    ctx.ports.probes.expect(&service.name, incarnation);
    let (outcome, proof) = loop {
        changes.mark_unchanged();
        let deadline = {
            let mut state = service.lock();
            let given_up = state.ending || ctx.desired(service) == Desired::Stopped;
            let Some(window) = state.proofs.get(&intent.id) else { break (Outcome::Unknown, Default::default()) };
            let verdict = window.verdict(&state.concerns, ctx.now());
            // That a detector gives no answer is no proof that nothing helped.
            let unconfirmed = verdict == Some(Outcome::NotHealed) && state.unconfirmed(window.condition());
            let verdict = if unconfirmed { Some(Outcome::Unknown) } else { verdict };
            let verdict = verdict.or(given_up.then_some(Outcome::Unknown));
            if let Some(outcome) = verdict {
                let proof = window.proof(&state.concerns);
                state.proofs.remove(&intent.id);
                break (outcome, proof);
            }
            window.deadline()
        };
        tokio::select! {
            biased;
            // The sender lives in the service, which is borrowed here.
            _ = changes.changed() => {}
            () = ctx.ports.clock.sleep_until(deadline) => {}
        }
    };
    ctx.record(service, vec![ctx.entry(intent, Record::Proved { intent: intent.id, proof })]);
    if outcome == Outcome::Worse {
        take_back(ctx, service, intent).await;
    }
    settle(ctx, service, intent, Ending::Verified(outcome));
    incidents::resolve_if_quiet(ctx, service);
    outcome
}

async fn take_back(ctx: &Context, service: &Service, intent: &Intent) {
    let attempt = service.lock().attempt(intent);
    let Some(attempt) = attempt.filter(|attempt| attempt.receipt.as_ref().is_some_and(|r| r.undo.is_some())) else {
        return;
    };
    match ctx.ports.actions.undo(guard::undo(&attempt), &attempt).await {
        Ok(receipt) => {
            let record = Record::Undone { intent: intent.id, summary: receipt.summary };
            ctx.record(service, vec![ctx.entry(intent, record)]);
        }
        Err(error) => {
            tracing::error!(service = %intent.service, action = %intent.action, "cannot be undone: {error}");
        }
    }
}

/// Puts the ending on record and learns from it. Whoever waits for a place in the budget looks again.
pub(crate) fn settle(ctx: &Context, service: &Service, intent: &Intent, ending: Ending) {
    ctx.record(service, vec![ctx.entry(intent, Record::Settled { intent: intent.id, ending: ending.clone() })]);
    // That a message was sent teaches nothing about healing.
    let attempt = service.lock().attempt(intent).filter(|_| intent.class != Class::Message);
    if let Some(attempt) = attempt {
        ctx.catalog().absorb(&attempt);
    }
    if intent.class == Class::Disrupt && ending != Ending::Verified(Outcome::Healed) {
        ctx.outage().trial_failed(&service.name, ctx.now());
    }
    ctx.budget_freed();
}

/// After heald's own death: what was under way is asked about and verified by fresh samples, never blindly repeated. A message is
/// settled by its delivery alone.
pub(crate) async fn resume(ctx: &Context, service: &Service, attempt: Attempt) {
    if attempt.intent.class == Class::Message {
        return settle(ctx, service, &attempt.intent, Ending::Verified(Outcome::Unknown));
    }
    let receipt = match attempt.receipt {
        Some(receipt) => Some(receipt),
        None => ctx.ports.actions.recall(&attempt.intent).await,
    };
    if receipt.is_none() && ctx.has_died(service) {
        // That the process is not there is a fact that needs no probe: the effect never came.
        return settle(ctx, service, &attempt.intent, Ending::Verified(Outcome::Unknown));
    }
    verify(ctx, service, &attempt.intent, receipt.as_ref()).await;
}

/// What was under way when heald died.
pub(crate) fn unsettled(service: &Service) -> Vec<Attempt> {
    let state = service.lock();
    let attempts = state.incidents.values().flat_map(|incident| &incident.attempts);
    attempts.filter(|attempt| attempt.ending == Ending::Unsettled).cloned().collect()
}

/// Orders outside any incident that were under way when heald died have nobody to go on with them: they are settled as not known,
/// so that they hold no place.
pub(crate) fn settle_strays(ctx: &Context) {
    let strays: Vec<_> = ctx.ledger().flights().map(|(id, flight)| (*id, flight.clone())).collect();
    for (intent, flight) in strays {
        let tended = flight.incident.is_some_and(|id| {
            ctx.services.get(&flight.service).is_some_and(|service| {
                service
                    .lock()
                    .incidents
                    .get(&id)
                    .is_some_and(|incident| incident.attempts.iter().any(|attempt| attempt.intent.id == intent))
            })
        });
        if !tended {
            let record = Record::Settled { intent, ending: Ending::Verified(Outcome::Unknown) };
            let at = ctx.now();
            ctx.journal(vec![Entry { at, service: Some(flight.service), incident: flight.incident, record }]);
        }
    }
}

/// The verify window where the policy names none: the startup deadline plus successes times period, of the slowest probe.
pub(crate) fn window(spec: &ServiceSpec) -> Duration {
    let checks = spec
        .probes
        .iter()
        .map(|probe| probe.period.saturating_mul(probe.success_threshold).saturating_add(probe.timeout));
    spec.startup.saturating_add(checks.max().unwrap_or_default()).saturating_add(Duration::from_secs(1))
}

/// The probes that owe a verdict, and how many successes each.
fn needed(spec: &ServiceSpec, intent: &Intent) -> BTreeMap<ProbeId, u32> {
    let configured = spec.probes.iter().filter(|probe| matches!(probe.role, Role::Liveness | Role::Readiness));
    let mut needed: BTreeMap<ProbeId, u32> =
        configured.map(|probe| (probe.id.clone(), probe.success_threshold.max(1))).collect();
    // A process that was brought back must stay for its first second, whatever else is asked of it.
    if spec.supervised && (needed.is_empty() || matches!(intent.action.as_str(), "start" | "restart")) {
        needed.insert(ProbeId::from(PROCESS_PROBE), 1);
    }
    needed
}
