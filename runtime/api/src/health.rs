//! Whether heald and its services are well: `/`, `/health` and below. It makes no check itself, except on request.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use heald_control::ProbeStatus;
use heald_model::{Desired, Health, ServiceName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::request::JsonBody;
use crate::{Api, Phase, time};

/// `GET /`: the name, version and endpoints of heald.
pub(crate) async fn card(State(api): State<Api>) -> Json<Value> {
    Json(json!({
        "service": "Orchestrator",
        "version": api.version,
        "status": "running",
        "endpoints": {
            "health": "/health",
            "health_status": "/health/status",
            "services": "/api/services",
            "incidents": "/api/incidents",
            "actions": "/api/actions",
            "catalog": "/api/catalog",
            "plugins": "/api/plugins",
            "events": "/events",
            "metrics": "/metrics",
        },
    }))
}

/// `GET /health`: 200 as long as heald lives. Clients of each older system find their own word for "well" in it.
pub(crate) async fn alive(State(api): State<Api>) -> Json<Value> {
    let ready = *api.phase.borrow() == Phase::Ready;
    let services = api.control.services();
    let running = |service: &heald_model::ServiceStatus| service.processes.iter().any(|p| p.ended.is_none());
    Json(json!({
        "status": "ok",
        "service": "orchestrator",
        "health": if is_impaired(&api) { "degraded" } else { "healthy" },
        "keeper": (api.keeper_silent)().map_or_else(|| "connected".to_owned(), keeper_silent),
        "safe_mode": safe_mode(&api),
        "state": "UP",
        "timestamp": time::plain(time::now()),
        "nodes": u8::from(ready),
        "workloads": services.iter().filter(|service| running(service)).count(),
        "database": if (api.database)() { "connected" } else { "disconnected" },
        "agent_running": ready && !api.control.halted(),
        "version": api.version,
        "uptime": api.started.elapsed().as_secs_f64(),
    }))
}

/// True while heald cannot do all of its work.
fn is_impaired(api: &Api) -> bool {
    api.safe_mode.borrow().is_some() || (api.keeper_silent)().is_some()
}

/// That the keeper is silent, in words.
fn keeper_silent(silence: Duration) -> String {
    format!("silent for {} s: no process can be started or stopped", silence.as_secs())
}

/// Safe mode as programs see it; null outside it.
fn safe_mode(api: &Api) -> Value {
    api.safe_mode.borrow().as_ref().map_or(Value::Null, |period| {
        json!({
            "why": period.why,
            "until": time::full(period.until),
            "times": period.times,
            "plugins": if period.ending { "coming back" } else { "not used" },
        })
    })
}

/// `GET /health/live`: 200 as long as heald lives.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// `GET /health/ready`: 503 while heald starts or ends, or can start and stop nothing.
pub(crate) async fn ready(State(api): State<Api>) -> Response {
    let (word, why) = match *api.phase.borrow() {
        Phase::Ready => match (api.keeper_silent)() {
            None => return Json(json!({"status": "ready"})).into_response(),
            Some(silence) => ("keeper-silent", keeper_silent(silence)),
        },
        Phase::Starting => ("starting", "heald is starting".to_owned()),
        Phase::Draining => ("draining", "heald is ending".to_owned()),
    };
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, why).with("status", word).into_response()
}

/// `GET /health/status`: the checks of every service.
pub(crate) async fn status(State(api): State<Api>) -> Json<Value> {
    Json(report(&api))
}

/// The body has no fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmptyBody {}

/// `POST /health/trigger`: checks every service now and answers when all checks are made.
pub(crate) async fn trigger(State(api): State<Api>, JsonBody(EmptyBody {}): JsonBody<EmptyBody>) -> Json<Value> {
    api.board.check_now(None).await;
    Json(report(&api))
}

/// The checks of one service, in the words of its clients.
#[derive(Debug, Serialize)]
struct CheckReport {
    health: Health,
    last_check: Option<String>,
    response_time_ms: Option<f64>,
    error_message: Option<String>,
    consecutive_failures: u32,
    total_checks: u64,
    successful_checks: u64,
    uptime_percentage: f64,
    circuit_breaker_state: &'static str,
}

impl From<ProbeStatus> for CheckReport {
    fn from(pulse: ProbeStatus) -> Self {
        Self {
            health: pulse.health,
            last_check: pulse.last_check.map(time::plain),
            response_time_ms: pulse.response_time.map(|took| (took.as_secs_f64() * 1e6).round() / 1e3),
            error_message: pulse.error,
            consecutive_failures: pulse.consecutive_failures,
            total_checks: pulse.total_checks,
            successful_checks: pulse.successful_checks,
            uptime_percentage: percentage(pulse.successful_checks, pulse.total_checks),
            circuit_breaker_state: pulse.breaker.as_str(),
        }
    }
}

/// In percent with two decimals; 0 before the first check.
#[allow(clippy::cast_precision_loss, reason = "2^53 checks are some million years")]
fn percentage(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 10_000.0).round() / 100.0 }
}

fn report(api: &Api) -> Value {
    let pulses = api.board.pulses();
    let services = api.control.services().into_iter();
    let stopped = services.filter(|service| service.desired == Desired::Stopped).map(|service| service.name);
    let overall = match overall(&pulses, &stopped.collect()) {
        "healthy" if is_impaired(api) => "degraded",
        word => word,
    };
    let services: Map<String, Value> =
        pulses.into_iter().map(|(name, pulse)| (name.to_string(), json!(CheckReport::from(pulse)))).collect();
    json!({"timestamp": time::plain(time::now()), "services": services, "overall_health": overall, "safe_mode": safe_mode(api)})
}

/// Healthy if all services are (and heald itself is not impaired), unhealthy if none is (also before the first check), else degraded. Services that the
/// operator has stopped do not count.
fn overall(pulses: &[(ServiceName, ProbeStatus)], stopped: &BTreeSet<ServiceName>) -> &'static str {
    let wanted = || pulses.iter().filter(|(name, _)| !stopped.contains(name));
    let healthy = wanted().filter(|(_, pulse)| pulse.health == Health::Healthy).count();
    match healthy {
        all if all == wanted().count() => "healthy",
        0 => "unhealthy",
        _ => "degraded",
    }
}
