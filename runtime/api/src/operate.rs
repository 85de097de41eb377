//! The operator's orders: services, actions, desired states and the kill switch. Every order goes through the guard like
//! any other.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use heald_control::ProbeStatus;
use heald_model::{Desired, ServiceName};
use heald_model::{Order, OrderError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::failure::Failure;
use crate::request::{JsonBody, PathParams};
use crate::view::{ServiceStatusView, operator};

/// heald's own actions, which are also understood in the spellings of older systems. The actions of plug-ins keep their
/// own spelling.
const ACTIONS: [&str; 13] = [
    "restart",
    "stop",
    "start",
    "scale",
    "scale-up",
    "scale-down",
    "signal",
    "clear-cache",
    "update-config",
    "degrade",
    "rollback",
    "notify",
    "escalate",
];

/// An order to perform an action now.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActionOrder {
    #[serde(alias = "service_id")]
    service: Option<ServiceName>,
    action: String,
    #[serde(default)]
    parameters: Value,
    by: Option<String>,
    #[serde(default)]
    force: bool,
}

/// `POST /api/actions`.
pub(crate) async fn act(State(api): State<Api>, JsonBody(ask): JsonBody<ActionOrder>) -> Result<Json<Value>, Failure> {
    if !(ask.parameters.is_null() || ask.parameters.is_object()) {
        return Err(Failure::bad("`parameters` must be an object"));
    }
    let Some(service) = ask.service else {
        let (word, known) = (heald_word(&ask.action), api.control.actions());
        if known.contains(&word) {
            return Err(Failure::bad(format!("`service` is missing: {word} is done to one")));
        }
        tracing::error!("Unknown action received: {}", ask.action);
        return Err(OrderError::NoAction { action: ask.action, offered: known.into_iter().collect() }.into());
    };
    let by = operator(ask.by);
    let (action, parameters) = (heald_word(&ask.action), ask.parameters);
    order(&api, Order { service, action, parameters, by, force: ask.force }).await
}

async fn order(api: &Api, order: Order) -> Result<Json<Value>, Failure> {
    if order.action == "no-action" {
        return Ok(Json(json!({"service": order.service, "action": order.action, "summary": "nothing to do"})));
    }
    let done = api.control.order(order).await?;
    Ok(Json(json!({
        "id": done.intent.id,
        "incident": done.intent.incident,
        "service": done.intent.service,
        "action": done.intent.action,
        "summary": done.summary,
        "outcome": done.outcome,
    })))
}

/// `RESTART`, `restart_service` or `Clear Cache` in heald's spelling. An unknown action stays as it is.
fn heald_word(action: &str) -> String {
    let word = action.trim().to_lowercase().replace(['_', ' '], "-");
    let word = word.strip_suffix("-service").unwrap_or(&word);
    if word == "no-action" || ACTIONS.contains(&word) { word.into() } else { action.into() }
}

/// `GET /api/services`.
pub(crate) async fn services(State(api): State<Api>) -> Json<Value> {
    Json(json!({"services": views(&api)}))
}

/// `GET /api/services/{name}`.
pub(crate) async fn service(
    State(api): State<Api>,
    PathParams(name): PathParams<ServiceName>,
) -> Result<Json<ServiceStatusView>, Failure> {
    let status = api.control.services().into_iter().find(|status| status.name == name);
    let status = status.ok_or_else(|| Failure::absent(format!("no service is named `{name}`")))?;
    let pulse = api.board.pulses().into_iter().find(|(known, _)| *known == name).map(|(_, pulse)| pulse);
    Ok(Json(ServiceStatusView::new(status, pulse.unwrap_or_default())))
}

fn views(api: &Api) -> Vec<ServiceStatusView> {
    let mut pulses: BTreeMap<ServiceName, ProbeStatus> = api.board.pulses().into_iter().collect();
    let services = api.control.services().into_iter();
    services
        .map(|status| {
            let pulse = pulses.remove(&status.name).unwrap_or_default();
            ServiceStatusView::new(status, pulse)
        })
        .collect()
}

/// Who gives the order, if the request says so.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OrderedBy {
    by: Option<String>,
    /// A restart is carried out although healing is halted, or the service paused or only observed.
    force: bool,
}

/// `POST /api/services/{name}/{verb}`: pause, resume, start, stop, restart, reset, approve.
pub(crate) async fn verb(
    State(api): State<Api>,
    PathParams((name, verb)): PathParams<(ServiceName, String)>,
    JsonBody(OrderedBy { by, force }): JsonBody<OrderedBy>,
) -> Result<Json<Value>, Failure> {
    let who = operator(by);
    let desired = match verb.as_str() {
        "pause" => Desired::Paused,
        "resume" | "start" => Desired::Running,
        "stop" => Desired::Stopped,
        "restart" => {
            let (action, parameters) = (verb, Value::Null);
            return order(&api, Order { service: name, action, parameters, by: who, force }).await;
        }
        "reset" => {
            api.control.reset(&name, &who).await?;
            return Ok(Json(json!({"service": name, "reset": true})));
        }
        "approve" => {
            api.control.approve(&name, &who).await?;
            return Ok(Json(json!({"service": name, "approved": true})));
        }
        _ => {
            let known = ["pause", "resume", "start", "stop", "restart", "reset", "approve"].map(Value::from);
            return Err(Failure::absent(format!("`{verb}` cannot be done to a service")).with("known", known.to_vec()));
        }
    };
    api.control.set_desired(&name, desired, &who).await?;
    Ok(Json(json!({"service": name, "desired": desired})))
}

/// `POST /api/halt`: the kill switch. heald keeps watching and performs nothing.
pub(crate) async fn halt(
    State(api): State<Api>,
    JsonBody(OrderedBy { by, .. }): JsonBody<OrderedBy>,
) -> Result<Json<Value>, Failure> {
    api.control.halt(true, &operator(by)).await?;
    Ok(Json(json!({"halted": api.control.halted()})))
}

/// `POST /api/resume`: releases the kill switch.
pub(crate) async fn resume(
    State(api): State<Api>,
    JsonBody(OrderedBy { by, .. }): JsonBody<OrderedBy>,
) -> Result<Json<Value>, Failure> {
    api.control.halt(false, &operator(by)).await?;
    Ok(Json(json!({"halted": api.control.halted()})))
}

/// `GET /api/halt`: whether the kill switch is on.
pub(crate) async fn halted(State(api): State<Api>) -> Json<Value> {
    Json(json!({"halted": api.control.halted()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_action_is_understood() {
        for (said, meant) in [
            ("RESTART", "restart"),
            ("restart_service", "restart"),
            ("Restart Service", "restart"),
            ("clear_cache", "clear-cache"),
            ("Clear Cache", "clear-cache"),
            ("scale_up", "scale-up"),
            ("NO_ACTION", "no-action"),
            ("FROBNICATE", "FROBNICATE"),
            ("my_Action", "my_Action"),
        ] {
            assert_eq!(heald_word(said), meant, "{said}");
        }
    }
}
