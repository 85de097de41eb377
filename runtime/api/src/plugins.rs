//! The plug-ins over HTTP: their status, their comparison with what was done, and orders about them.
//!
//! It loads and judges nothing; `Plugins` does. Its answers are the data of that trait, so that programs read what
//! heald wrote.

use std::panic::resume_unwind;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use heald_control::{Divergence, PluginError, PluginStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Api;
use crate::failure::Failure;
use crate::request::{JsonBody, PathParams};
use crate::view::operator;

/// `GET /api/plugins`.
pub(crate) async fn list(State(api): State<Api>) -> Json<Value> {
    let plugins = api.plugins.list();
    Json(json!({"count": plugins.len(), "plugins": plugins}))
}

/// `GET /api/plugins/{name}`.
pub(crate) async fn one(
    State(api): State<Api>,
    PathParams(name): PathParams<String>,
) -> Result<Json<PluginStatus>, Failure> {
    Ok(Json(api.plugins.status(&name)?))
}

/// A comparison, with its disagreement as one number.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    #[serde(flatten)]
    divergence: Divergence,
    /// The share of compared answers that disagreed, 0..1.
    disagreement: f64,
}

/// `GET /api/plugins/{name}/divergence`.
pub(crate) async fn divergence(
    State(api): State<Api>,
    PathParams(name): PathParams<String>,
) -> Result<Json<Compared>, Failure> {
    let divergence = api.plugins.divergence(&name)?;
    Ok(Json(Compared { disagreement: divergence.agreement.disagreement(), divergence }))
}

/// What an operator may do with a plug-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Reload,
    Enable,
    Disable,
    Promote,
    Revoke,
}

impl Verb {
    const ALL: [(&'static str, Self); 5] = [
        ("reload", Self::Reload),
        ("enable", Self::Enable),
        ("disable", Self::Disable),
        ("promote", Self::Promote),
        ("revoke", Self::Revoke),
    ];

    fn of(word: &str) -> Result<Self, Failure> {
        let known = Self::ALL.map(|(known, _)| Value::from(known)).to_vec();
        let absent = || Failure::absent(format!("`{word}` cannot be done to a plug-in")).with("known", known);
        Self::ALL.into_iter().find(|(known, _)| *known == word).map(|(_, verb)| verb).ok_or_else(absent)
    }
}

/// Who gives the order, if the request says so, and what to revoke.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PluginOrder {
    by: Option<String>,
    capability: Option<String>,
}

/// `POST /api/plugins/{name}/{verb}`: answers with the new status of the plug-in.
pub(crate) async fn verb(
    State(api): State<Api>,
    PathParams((name, verb)): PathParams<(String, String)>,
    JsonBody(ask): JsonBody<PluginOrder>,
) -> Result<Json<PluginStatus>, Failure> {
    let plugins = Arc::clone(&api.plugins);
    let (verb, by) = (Verb::of(&verb)?, operator(ask.by));
    let capability = match (verb, ask.capability) {
        (Verb::Revoke, None) => return Err(Failure::bad("`capability` is missing: say what to take back, such as kv")),
        (Verb::Revoke, Some(capability)) => capability,
        (_, Some(_)) => return Err(Failure::bad("`capability` is for revoke alone")),
        (_, None) => String::new(),
    };
    let status = see_through(async move {
        match verb {
            Verb::Reload => plugins.reload(&name, &by).await,
            Verb::Enable => plugins.enable(&name, &by).await,
            Verb::Disable => plugins.disable(&name, &by).await,
            Verb::Promote => plugins.promote(&name, &by).await,
            Verb::Revoke => plugins.revoke(&name, &capability, &by).await,
        }
    });
    Ok(Json(status.await?))
}

/// Runs an order to its end, even if the caller hangs up. A plug-in must not be left between two states.
async fn see_through<T: Send + 'static>(
    work: impl Future<Output = Result<T, PluginError>> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::spawn(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => Ok(done?),
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(_)) => Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "heald is ending")),
    }
}
