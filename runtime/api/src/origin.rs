//! Which pages in browsers may call the API (CORS), and which may change anything through it.
//!
//! A page of any site can make a browser send a POST to loopback; the browser only withholds the answer. So a request
//! that changes something and names a foreign origin is refused here, before any handler.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::failure::Failure;

/// How long a browser may remember the answer to a preflight: ten minutes.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, last-event-id, x-api-key");

/// The allowed origins.
#[derive(Debug)]
pub(crate) struct Origins {
    any: bool,
    named: Vec<String>,
}

impl Origins {
    pub(crate) fn new(named: &[String]) -> Arc<Self> {
        let named: Vec<String> = named.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
        Arc::new(Self { any: named.iter().any(|origin| origin == "*"), named })
    }

    fn allow(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.any || self.named.contains(&origin) || is_local(&origin)
    }
}

/// Whether this machine serves the page itself, on any port.
fn is_local(origin: &str) -> bool {
    let Some((_, host)) = origin.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme)) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}

/// The middleware.
pub(crate) async fn check(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(ORIGIN).cloned() else { return next.run(request).await };
    let allowed = origin.to_str().is_ok_and(|origin| origins.allow(origin));
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (allowed, preflight) {
        (true, true) => {
            let granted = [
                (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
                (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ];
            (StatusCode::OK, granted).into_response()
        }
        (true, false) => next.run(request).await,
        // Reading is harmless, because the browser keeps the answer from the page.
        (false, false) if request.method().is_safe() => next.run(request).await,
        (false, _) => Failure::new(StatusCode::FORBIDDEN, "pages of this origin may not use this API").into_response(),
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("origin"));
    if allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_pages_and_named_origins_are_allowed_and_lookalikes_are_not() {
        let origins = Origins::new(&["https://Ops.example.com/".into()]);
        for allowed in [
            "http://localhost",
            "http://localhost:3000",
            "https://127.0.0.1:8443",
            "http://[::1]:9",
            "https://ops.example.com",
        ] {
            assert!(origins.allow(allowed), "{allowed}");
        }
        for refused in [
            "null",
            "http://localhost.evil.com",
            "http://evil.com:3000",
            "http://127.0.0.1.evil.com",
            "https://ops.example.com.evil.com",
            "http://ops.example.com",
            "file://localhost",
            "http://localhost:",
        ] {
            assert!(!origins.allow(refused), "{refused}");
        }
        assert!(Origins::new(&["*".into()]).allow("http://evil.com"));
    }
}
