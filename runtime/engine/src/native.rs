//! The native rules: what answers when no plug-in does.
//!
//! Deliberately plain. They know one condition, `service-down`, and one remedy, a restart; everything subtler is a plug-in.
//! They never fail and never take long, so a slot always has an answer in the same tick.

use heald_model::{
    Alternative, Attempt, Choice, Class, Decision, Ending, Fact, Finding, Outcome, Proposal, Question, Role, Sample,
    Series, Severity, Source,
};
use serde_json::json;

/// The one condition they know.
pub const CONDITION: &str = "service-down";

/// Restarts that did not heal before people are told.
const ATTEMPTS: usize = 3;

/// What holds of a service, from its series alone.
pub fn detect(series: &[Series]) -> Vec<Finding> {
    series.iter().filter(|series| series.role == Role::Liveness).filter_map(down).collect()
}

fn down(series: &Series) -> Option<Finding> {
    let verdicts: Vec<&Sample> = series.samples.iter().filter(|sample| sample.ok.is_some()).collect();
    let last = verdicts.last()?;
    let failures = verdicts.iter().rev().take_while(|sample| sample.ok == Some(false)).count();
    let ended = matches!(last.fault.as_deref(), Some("exit" | "signal" | "missing"));
    let enough = if ended { 1 } else { series.failure_threshold.max(1) as usize };
    if failures < enough || last.ok != Some(false) {
        return None;
    }
    let cause = last.fault.clone().unwrap_or_else(|| "status".into());
    let message = last.message.clone().unwrap_or_else(|| format!("{failures} checks failed in a row ({cause})"));
    Some(Finding {
        condition: CONDITION.into(),
        subject: Some(series.probe.to_string()),
        severity: Severity::Critical,
        score: 1.0,
        predicted: None,
        message,
        evidence: vec![Fact::text("cause", cause), Fact::number("failures", failures as f64)],
    })
}

/// What to do about an incident.
pub fn decide(question: &Question) -> Decision {
    let incident = &question.incident;
    let healed = |attempt: &&Attempt| attempt.ending == Ending::Verified(Outcome::Healed);
    let remedies = incident.attempts.iter().rev().filter(|attempt| attempt.intent.class != Class::Message);
    let failed = remedies.take_while(|attempt| !healed(attempt)).count();
    let restart = question.offers.iter().find(|offer| offer.action.name == "restart");
    let (choice, reason) = match restart {
        _ if incident.condition != CONDITION => {
            (Choice::Escalate, format!("no policy knows what to do about {}", incident.condition))
        }
        None => (Choice::Escalate, "nothing can restart this service".into()),
        // Bringing back the dead has no last attempt.
        Some(_) if failed >= ATTEMPTS && question.service.running >= question.service.wanted => {
            (Choice::Escalate, format!("{failed} restarts did not heal it"))
        }
        Some(_) => {
            let proposal = Proposal { action: "restart".into(), parameters: json!({}), verify_within: None };
            (Choice::Act(proposal), "it is down".into())
        }
    };
    Decision {
        choice,
        confidence: 0.5,
        reason,
        considered: question
            .offers
            .iter()
            .map(|offer| Alternative {
                action: offer.action.name.clone(),
                score: 0.0,
                reason: offer.blocked.clone().unwrap_or_else(|| "offered".into()),
            })
            .collect(),
        facts: Vec::new(),
        again_in: None,
        source: Source::Native,
    }
}
