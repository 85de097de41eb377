//! The host names that the API answers to.
//!
//! With DNS rebinding, the name of a foreign site points to this machine. To the browser its page and the API then have
//! one origin, so CORS does not stop it. The host name in its requests gives it away, and it is refused.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::ServerConfig;
use crate::failure::Failure;

/// The names that the API answers to.
#[derive(Debug)]
pub(crate) struct Hosts {
    any: bool,
    named: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(config: &ServerConfig) -> Arc<Self> {
        let origins = config.cors_origins.iter().filter_map(|origin| origin.split_once("://")).map(|(_, host)| host);
        let named = config.listen.iter().map(String::as_str).chain(origins).filter_map(bare);
        // Whoever allows everybody has given up this protection.
        let any = config.insecure_bind || config.cors_origins.iter().any(|origin| origin == "*");
        Arc::new(Self { any, named: named.collect() })
    }

    fn allow(&self, host: &str) -> bool {
        self.any || bare(host).is_some_and(|name| is_local(&name) || self.named.contains(&name))
    }
}

/// `Name:8003` as `name`; `None` if the text is no host.
fn bare(host: &str) -> Option<String> {
    let authority: Authority = host.trim_end_matches('/').parse().ok()?;
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    (!name.is_empty() && !host.contains('@')).then_some(name)
}

fn is_local(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The middleware. A request without a host name (HTTP/1.0) cannot come from a browser.
pub(crate) async fn check(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let uri = request.uri().host().map(str::as_bytes);
    let header = request.headers().get(HOST).map(|host| host.as_bytes());
    let called = [uri, header].into_iter().flatten();
    if called.into_iter().all(|name| str::from_utf8(name).is_ok_and(|name| hosts.allow(name))) {
        return next.run(request).await;
    }
    let error = "heald does not answer to this host name; call it by its address, or name it in server.cors_origins";
    Failure::new(StatusCode::FORBIDDEN, error).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_answered_to_and_lookalikes_are_not() {
        let config = ServerConfig {
            listen: vec!["devbox:8003".into()],
            cors_origins: vec!["https://Ops.example.com:8443/".into()],
            insecure_bind: false,
        };
        let hosts = Hosts::new(&config);
        for allowed in [
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "127.0.0.1:8003",
            "127.1.2.3",
            "[::1]:8003",
            "devbox",
            "ops.example.com",
        ] {
            assert!(hosts.allow(allowed), "{allowed}");
        }
        for refused in [
            "evil.example:8003",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil@localhost",
            "10.0.0.1",
            "",
            ":8003",
            "a b",
        ] {
            assert!(!hosts.allow(refused), "{refused}");
        }
        let open = ServerConfig { insecure_bind: true, ..config.clone() };
        assert!(Hosts::new(&open).allow("10.0.0.1"));
        let every = ServerConfig { cors_origins: vec!["*".into()], ..config };
        assert!(Hosts::new(&every).allow("anything.example"));
    }
}
