//! Reading requests: bodies and queries into plain data, and every mistake in them into a clear 4xx.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// A body may take this long to arrive: every request is one small object, so more is a stuck or a hostile sender.
const BODY_TIME: Duration = Duration::from_secs(10);

/// A JSON body. None at all stands for `{}`, and no Content-Type is needed: what is sent is JSON or it is a mistake.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let arrived = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state)).await;
        let late = |_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
        let bytes = arrived.map_err(late)?.map_err(|said| Failure::new(said.status(), said.body_text()))?;
        let text: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes };
        match serde_json::from_slice(text) {
            Ok(value) => Ok(Self(value)),
            Err(error) if error.is_data() => Err(Failure::bad(format!("the body does not fit: {error}"))),
            Err(error) => Err(Failure::bad(format!("the body is not JSON: {error}"))),
        }
    }
}

/// A query string.
#[derive(Debug)]
pub(crate) struct Ask<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Ask<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(said) => Err(Failure::bad(said.body_text())),
        }
    }
}
