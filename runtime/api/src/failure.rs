//! Errors as answers: always JSON, always with `error` and `detail`. They never show internals of heald.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use heald_control::ConsultError;
use heald_control::PluginError;
use heald_model::JournalError;
use heald_model::OrderError;
use serde_json::{Map, Value};

/// An error answer.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    error: String,
    more: Map<String, Value>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), more: Map::new() }
    }

    /// The request is wrong.
    pub(crate) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// What was asked for does not exist.
    pub(crate) fn absent(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// Adds a field.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.into(), value.into());
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = self.more;
        // Clients of older systems compare with these words.
        let detail = match self.status {
            StatusCode::NOT_FOUND => "Not Found".to_owned(),
            StatusCode::METHOD_NOT_ALLOWED => "Method Not Allowed".to_owned(),
            _ => self.error.clone(),
        };
        body.insert("error".into(), self.error.into());
        body.insert("detail".into(), detail.into());
        (self.status, Json(Value::Object(body))).into_response()
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<ConsultError> for Failure {
    fn from(error: ConsultError) -> Self {
        match &error {
            ConsultError::NoProfile { .. } => Self::absent(error.to_string()),
        }
    }
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Self {
        let said = error.to_string();
        match error {
            OrderError::NoService(_) => Self::absent(said),
            OrderError::NoAction { offered, .. } => Self::bad(said).with("offered", offered),
            OrderError::Withheld { rule, why } => {
                Self::new(StatusCode::CONFLICT, said).with("rule", rule).with("reason", why)
            }
            OrderError::BadParameters(_) => Self::bad(said),
            OrderError::NothingToDo(_) => Self::new(StatusCode::CONFLICT, said),
            OrderError::Failed(_) => Self::new(StatusCode::BAD_GATEWAY, said),
            OrderError::Journal(error) => error.into(),
        }
    }
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        let said = error.to_string();
        match error {
            PluginError::NoPlugin { known, .. } => Self::absent(said).with("known", known),
            PluginError::Refused(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, said),
            PluginError::NothingToDo(_) => Self::new(StatusCode::CONFLICT, said),
            PluginError::Journal(error) => error.into(),
        }
    }
}
