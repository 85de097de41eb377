//! The table of routes, and the middleware around them. Handlers are in their own modules.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt;

use crate::failure::Failure;
use crate::host::{self, Hosts};
use crate::origin::{self, Origins};
use crate::{Api, ServerConfig, catalog, events, health, incidents, metrics, operate, orchestrate, plugins};

/// The largest body.
const BODY: usize = 256 * 1024;

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path, with its variable parts in braces.
    pub path: &'static str,
    /// One line of description.
    pub summary: &'static str,
}

const fn route(method: &'static str, path: &'static str, summary: &'static str) -> Route {
    Route { method, path, summary }
}

/// All routes.
pub const ROUTES: [Route; 24] = [
    route("GET", "/", "what this is"),
    route("GET", "/health", "200 as long as heald lives"),
    route("GET", "/health/live", "200 as long as heald lives"),
    route("GET", "/health/ready", "503 while heald starts or ends"),
    route("GET", "/health/status", "every service's checks"),
    route("POST", "/health/trigger", "check every service now"),
    route("POST", "/orchestrate", "metrics in, a decision out"),
    route("GET", "/api/incidents", "incidents, the last active first (limit, offset, status, service, open)"),
    route("GET", "/api/incidents/{id}", "one incident with its whole timeline"),
    route("GET", "/api/actions", "what was done, newest first (limit, offset, service)"),
    route("POST", "/api/actions", "do something now: {service, action, parameters, by}"),
    route("GET", "/api/catalog", "what can be done, with what was learned of it"),
    route("GET", "/api/services", "every service as it stands"),
    route("GET", "/api/services/{name}", "one service as it stands"),
    route("POST", "/api/services/{name}/{verb}", "pause, resume, start, stop, restart, reset or approve"),
    route("GET", "/api/plugins", "every plug-in as it stands"),
    route("GET", "/api/plugins/{name}", "one plug-in as it stands"),
    route("GET", "/api/plugins/{name}/divergence", "how a shadow or a canary compares with what was done"),
    route("POST", "/api/plugins/{name}/{verb}", "reload, enable, disable, promote or revoke {capability}"),
    route("GET", "/api/halt", "whether all healing is stopped"),
    route("POST", "/api/halt", "stop all healing"),
    route("POST", "/api/resume", "heal again"),
    route("GET", "/events", "the journal as server-sent events, resumable by Last-Event-ID"),
    route("GET", "/metrics", "figures for Prometheus"),
];

/// The API as a service. Only `GET /events` never ends by itself.
pub fn router(api: Api, config: &ServerConfig) -> Router {
    Router::new()
        .route("/", get(health::card))
        .route("/health", get(health::alive))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/health/status", get(health::status))
        .route("/health/trigger", post(health::trigger))
        .route("/orchestrate", post(orchestrate::orchestrate))
        .route("/api/incidents", get(incidents::list))
        .route("/api/incidents/{id}", get(incidents::one))
        .route("/api/actions", get(incidents::actions).post(operate::act))
        .route("/api/catalog", get(catalog::catalog))
        .route("/api/services", get(operate::services))
        .route("/api/services/{name}", get(operate::service))
        .route("/api/services/{name}/{verb}", post(operate::verb))
        .route("/api/plugins", get(plugins::list))
        .route("/api/plugins/{name}", get(plugins::one))
        .route("/api/plugins/{name}/divergence", get(plugins::divergence))
        .route("/api/plugins/{name}/{verb}", post(plugins::verb))
        .route("/api/halt", get(operate::halted).post(operate::halt))
        .route("/api/resume", post(operate::resume))
        .route("/events", get(events::stream))
        .route("/metrics", get(metrics::scrape))
        .fallback(|| async { Failure::absent("Not Found") })
        .method_not_allowed_fallback(|| async { Failure::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed") })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(Origins::new(&config.cors_origins), origin::check))
        .layer(from_fn_with_state(Hosts::new(config), host::check))
        .layer(from_fn(survive))
        .with_state(api)
}

/// Turns a panic of a handler into an answer. The panic itself is in the log and is not shown to the client.
async fn survive(request: Request, next: Next) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(request = what, "a handler has panicked");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error; heald's log says more").into_response()
    })
}
