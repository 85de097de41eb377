//! `POST /orchestrate`: it takes metrics and returns a decision. If a service is named, the decision is carried out.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use heald_control::Metrics;
use heald_model::Order;
use heald_model::{Choice, Decision, ServiceName};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Api;
use crate::failure::Failure;
use crate::request::JsonBody;

/// The profile of plug-ins that decides.
const PROFILE: &str = "orchestrate";

/// How long to wait for the machine's first measurement. It is measured about once a second.
const MEASURED_WITHIN: Duration = Duration::from_secs(3);

/// `error_rate` is a percentage in this endpoint and a ratio everywhere else.
const PERCENT: f64 = 100.0;

/// The request. Every field is optional.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrchestrateRequest {
    metrics: Option<BTreeMap<String, f64>>,
    service: Option<ServiceName>,
    /// The action is carried out although healing is halted, or the service paused or only observed.
    #[serde(default)]
    force: bool,
}

/// `POST /orchestrate`.
pub(crate) async fn orchestrate(
    State(api): State<Api>,
    JsonBody(ask): JsonBody<OrchestrateRequest>,
) -> Result<Json<Value>, Failure> {
    let shown = match ask.metrics {
        Some(metrics) => checked(metrics)?,
        None => measured(&api, ask.service.as_ref()).await?,
    };
    let mut values = shown.clone();
    if let Some(rate) = values.get_mut("error_rate") {
        *rate /= PERCENT;
    }
    let consultation = api.consult.consult(PROFILE, Metrics { reported: None, values }).await?;
    let decision = &consultation.decision;
    let mut answer = json!({
        "metrics": shown.into_iter().map(|(name, value)| (name, number(value))).collect::<Map<_, _>>(),
        "failure_detected": !consultation.findings.is_empty(),
        "action_taken": spelled(decision),
        "reason": decision.reason,
        "decided_by": decision.source.to_string(),
        "executed": false,
    });
    match (&decision.choice, ask.service) {
        (Choice::Act(proposal), Some(service)) => {
            tracing::info!(%service, action = proposal.action, reason = decision.reason, "Action required");
            let order = Order {
                service,
                action: proposal.action.clone(),
                parameters: proposal.parameters.clone(),
                by: PROFILE.into(),
                force: ask.force,
            };
            let done = api.control.order(order).await?;
            if let Some(answer) = answer.as_object_mut() {
                answer.insert("executed".into(), true.into());
                answer.insert("summary".into(), done.summary.into());
            }
        }
        (Choice::Act(proposal), None) => {
            tracing::info!(action = proposal.action, reason = decision.reason, "Action required");
        }
        _ => tracing::info!(reason = decision.reason, "No action required"),
    }
    Ok(Json(answer))
}

fn checked(metrics: BTreeMap<String, f64>) -> Result<BTreeMap<String, f64>, Failure> {
    match metrics.iter().find(|(_, value)| **value < 0.0) {
        Some((name, value)) => Err(Failure::bad(format!("metrics.{name} is {value}; it cannot be negative"))),
        None => Ok(metrics),
    }
}

/// The newest metrics of the service, and those of the machine for the rest. They are rounded, so that what is shown is
/// what is judged.
async fn measured(api: &Api, service: Option<&ServiceName>) -> Result<BTreeMap<String, f64>, Failure> {
    let deadline = tokio::time::Instant::now() + MEASURED_WITHIN;
    let mut metrics = loop {
        let host = api.board.host();
        if !host.is_empty() {
            break host;
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "this machine was not measured yet"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let pulses = api.board.pulses();
    let own = service.and_then(|service| pulses.iter().find(|(name, _)| name == service));
    if let Some((_, pulse)) = own {
        metrics.extend(pulse.metrics.iter().map(|(name, value)| (name.clone(), *value)));
    } else {
        // Of the machine as a whole: the highest rate of its services.
        let rates = pulses.iter().filter_map(|(_, pulse)| pulse.metrics.get("error_rate").copied());
        metrics.insert("error_rate".into(), rates.fold(0.0, f64::max));
    }
    let rate = metrics.entry("error_rate".into()).or_insert(0.0);
    *rate *= PERCENT;
    Ok(metrics.into_iter().map(|(name, value)| (name, value.round())).collect())
}

/// The action in capitals, as clients of this endpoint know it.
fn spelled(decision: &Decision) -> String {
    match &decision.choice {
        Choice::Act(proposal) => proposal.action.to_uppercase().replace('-', "_"),
        Choice::NoAction | Choice::Escalate | Choice::Pass => "NO_ACTION".into(),
    }
}

/// Writes a whole number without a decimal point.
#[allow(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
fn number(value: f64) -> Value {
    /// Beyond this, a float is not exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT { json!(value as i64) } else { json!(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_no_point() {
        for (value, text) in [(85.0, "85"), (0.0, "0"), (-3.0, "-3"), (80.4, "80.4"), (1e300, "1e+300")] {
            assert_eq!(number(value).to_string(), text);
        }
    }
}
