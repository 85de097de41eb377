//! Reading requests: it turns bodies, paths and queries into plain data, and every mistake into a clear 4xx.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::failure::Failure;

/// How long a body may take to arrive. Every request is one small object, so a longer wait means a stuck or hostile
/// sender.
const BODY_TIME: Duration = Duration::from_secs(10);

/// A JSON object. A missing body stands for `{}`. No Content-Type is needed, because only JSON is accepted.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let arrived = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state)).await;
        let late = |_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
        let bytes = arrived.map_err(late)?.map_err(|said| Failure::new(said.status(), said.body_text()))?;
        object(&bytes).map(Self)
    }
}

fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let text: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    let not_json = |error: serde_json::Error| Failure::bad(format!("the body is not JSON: {error}"));
    // A list would be read as the fields in their order, which is not meant.
    if !text.trim_ascii_start().starts_with(b"{") {
        serde_json::from_slice::<IgnoredAny>(text).map_err(not_json)?;
        return Err(Failure::bad("the body must be a JSON object"));
    }
    serde_json::from_slice(text).map_err(|error| match error.is_data() {
        true => Failure::bad(format!("the body does not fit: {}", plainly(&error.to_string()))),
        false => not_json(error),
    })
}

/// Replaces Rust's names of types by words.
fn plainly(said: &str) -> String {
    [
        ("expected f64", "expected a number"),
        ("expected u32", "expected a whole number"),
        ("expected u64", "expected a whole number"),
        ("invalid digit found in string", "a whole number is wanted"),
    ]
    .iter()
    .fold(said.to_owned(), |said, (rust, words)| said.replace(rust, words))
}

/// The variable parts of the path.
#[derive(Debug)]
pub(crate) struct PathParams<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParams<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(said) => Err(Failure::new(said.status(), said.body_text())),
        }
    }
}

/// The query string.
#[derive(Debug)]
pub(crate) struct QueryParams<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(said) => {
                let said = said.body_text();
                let reason = said.strip_prefix("Failed to deserialize query string: ").unwrap_or(&said);
                Err(Failure::bad(format!("the query does not fit: {}", plainly(reason))))
            }
        }
    }
}
