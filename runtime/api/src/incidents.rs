//! Looking back: `/api/incidents` and `/api/actions` (what was done).

use axum::Json;
use axum::extract::State;
use heald_engine::ports::IncidentQuery;
use heald_model::{ServiceName, Stage};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::failure::Failure;
use crate::request::{Ask, Part};
use crate::view::{ActionView, IncidentView};

/// Incidents in one answer, unless asked otherwise, and at most.
const INCIDENTS: (u32, u32) = (50, 500);
/// The same for actions.
const ACTIONS: (u32, u32) = (100, 1000);

/// Which part of which incidents.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct IncidentAsk {
    limit: Option<u32>,
    offset: u32,
    status: Option<String>,
    #[serde(alias = "service_id")]
    service: Option<ServiceName>,
    open: bool,
}

/// `GET /api/incidents`: the one that something happened in last comes first; without timelines.
pub(crate) async fn list(State(api): State<Api>, Ask(ask): Ask<IncidentAsk>) -> Result<Json<Value>, Failure> {
    let limit = ask.limit.unwrap_or(INCIDENTS.0).min(INCIDENTS.1);
    let (stage, open) = match ask.status.as_deref() {
        None | Some("") => (None, false),
        Some("open" | "active") => (None, true),
        Some(word) => (Some(stage(word)?), false),
    };
    let query = IncidentQuery { service: ask.service, stage, open: open || ask.open, limit, offset: ask.offset };
    let page = api.history.incidents(query).await?;
    let pagination = pagination(page.total, limit, ask.offset);
    let incidents: Vec<IncidentView> = page.items.into_iter().map(IncidentView::from).collect();
    Ok(Json(json!({"incidents": incidents, "pagination": pagination})))
}

/// A stage in anybody's words.
fn stage(word: &str) -> Result<Stage, Failure> {
    match word {
        "opened" | "detected" | "investigating" => Ok(Stage::Opened),
        "healing" | "acting" => Ok(Stage::Healing),
        "resolved" | "closed" => Ok(Stage::Resolved),
        "escalated" | "failed" => Ok(Stage::Escalated),
        _ => Err(Failure::bad(format!(
            "status `{word}` is unknown; allowed: open, opened, healing, resolved, escalated, detected, investigating, acting, failed, closed"
        ))),
    }
}

/// `GET /api/incidents/{id}`: one, with its whole timeline.
pub(crate) async fn one(State(api): State<Api>, Part(id): Part<String>) -> Result<Json<IncidentView>, Failure> {
    let absent = || Failure::absent(format!("no incident has the id `{id}`"));
    let known = api.history.incident(id.parse().map_err(|_| absent())?).await?;
    known.map(|incident| Json(incident.into())).ok_or_else(absent)
}

/// Which part of which actions.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ActionAsk {
    limit: Option<u32>,
    offset: u32,
    #[serde(alias = "service_id")]
    service: Option<ServiceName>,
}

/// `GET /api/actions`: what was done, newest first.
pub(crate) async fn actions(State(api): State<Api>, Ask(ask): Ask<ActionAsk>) -> Result<Json<Value>, Failure> {
    let limit = ask.limit.unwrap_or(ACTIONS.0).min(ACTIONS.1);
    let page = api.history.attempts(ask.service, limit, ask.offset).await?;
    let pagination = pagination(page.total, limit, ask.offset);
    let actions: Vec<ActionView> = page.items.into_iter().map(ActionView::from).collect();
    Ok(Json(json!({"actions": actions, "pagination": pagination})))
}

fn pagination(total: u64, limit: u32, offset: u32) -> Value {
    let has_more = u64::from(offset) + u64::from(limit) < total;
    json!({"total": total, "limit": limit, "offset": offset, "has_more": has_more})
}
