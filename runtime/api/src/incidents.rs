//! The past: `/api/incidents`, and `/api/actions` for what was done. It reads and changes nothing.

use axum::Json;
use axum::extract::State;
use heald_control::IncidentQuery;
use heald_model::{ServiceName, Stage};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::failure::Failure;
use crate::request::{PathParams, QueryParams};
use crate::view::{ActionView, IncidentView};

/// How many incidents an answer has by default and at most.
const INCIDENTS: (u32, u32) = (50, 500);
/// The same for actions.
const ACTIONS: (u32, u32) = (100, 1000);

/// Which incidents to list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct IncidentFilter {
    limit: Option<u32>,
    offset: u32,
    status: Option<String>,
    #[serde(alias = "service_id")]
    service: Option<ServiceName>,
    open: bool,
}

/// `GET /api/incidents`: the most recently updated first, without timelines.
pub(crate) async fn list(
    State(api): State<Api>,
    QueryParams(ask): QueryParams<IncidentFilter>,
) -> Result<Json<Value>, Failure> {
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

/// A stage, in the words of heald or of older systems.
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

/// `GET /api/incidents/{id}`: one incident with its whole timeline.
pub(crate) async fn one(
    State(api): State<Api>,
    PathParams(id): PathParams<String>,
) -> Result<Json<IncidentView>, Failure> {
    let absent = || Failure::absent(format!("no incident has the id `{id}`"));
    let known = api.history.incident(id.parse().map_err(|_| absent())?).await?;
    known.map(|incident| Json(incident.into())).ok_or_else(absent)
}

/// Which actions to list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ActionFilter {
    limit: Option<u32>,
    offset: u32,
    #[serde(alias = "service_id")]
    service: Option<ServiceName>,
}

/// `GET /api/actions`: what was done, newest first.
pub(crate) async fn actions(
    State(api): State<Api>,
    QueryParams(ask): QueryParams<ActionFilter>,
) -> Result<Json<Value>, Failure> {
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
