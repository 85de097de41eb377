//! wasi:http as a plug-in gets it: requests to the hosts of its grant, each judged by itself, and nothing else of the
//! network.
//!
//! Every request passes [`HttpGate::admit`]. `exchange` sends a request that is admitted; another is answered with an
//! error that the guest can read. A redirect is an answer like any other: a guest that follows it sends another
//! request, which is judged by its own target.

use std::future::Future;
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

use crate::world::endpoint::{Endpoint, RequestTarget, is_reserved};
use crate::world::exchange::{self, AdmittedRequest, RequestTimeouts};
use crate::world::outgoing::AllowedHosts;

/// Requests in one call. An action that needs more than this is several actions.
const REQUESTS: u32 = 16;
/// Bytes of a message's headers in the guest's hands; proxies commonly stop at 8 KiB.
const HEADERS: usize = 32 << 10;
/// Bytes of a body that a guest may hand over at once. Each request buffers two such pieces.
const PIECE: usize = 64 << 10;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("heald/", env!("CARGO_PKG_VERSION")));

/// The gate that one instance sends its requests through.
pub(crate) struct HttpGate {
    /// None: no host can be reached.
    outgoing: Option<Arc<AllowedHosts>>,
    /// Some: a call is under way, with this many requests left and this end. Its requests end with it.
    open: Option<(u32, Instant)>,
}

/// A context that bounds the headers a guest may hold.
pub(crate) fn context() -> WasiHttpCtx {
    let mut context = WasiHttpCtx::new();
    context.set_field_size_limit(HEADERS);
    context
}

impl HttpGate {
    /// A closed gate, until a call opens it: a plug-in that is being set up sends nothing.
    pub(crate) fn new(outgoing: Arc<AllowedHosts>) -> Self {
        Self { outgoing: Some(outgoing), open: None }
    }

    pub(crate) fn nowhere() -> Self {
        Self { outgoing: None, open: None }
    }

    /// Opens the gate for one call, which ends at `until`.
    pub(crate) fn open(&mut self, until: Instant) {
        self.open = Some((REQUESTS, until));
    }

    /// Closes the gate: the call is over, or the grant was revoked.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Judges where a request goes. Every request passes here.
    fn admit(&mut self, method: &Method, uri: &http::Uri) -> Result<AdmittedTarget, Error> {
        let (Some(outgoing), Some((left, until))) = (&self.outgoing, &mut self.open) else {
            return Err(Error::HttpRequestDenied);
        };
        *left = left.checked_sub(1).ok_or(Error::ConnectionLimitReached)?;
        // Nobody judges where a tunnel leads, and a trace would show the host's own headers to the guest.
        if method == Method::CONNECT || method == Method::TRACE {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let target = RequestTarget::of(uri).ok_or(Error::HttpRequestUriInvalid)?;
        match outgoing.endpoint(&target) {
            Some(endpoint) => Ok(AdmittedTarget {
                target,
                endpoint: Arc::clone(endpoint),
                outgoing: Arc::clone(outgoing),
                until: *until,
            }),
            None => {
                let remedy = format!("`grant.http = [\"{target}\"]` in its [[plugin]] table would grant it");
                outgoing.warn_once(&target, "it is not granted", &remedy);
                Err(Error::HttpRequestDenied)
            }
        }
    }

    fn admitted(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<(Arc<AllowedHosts>, AdmittedRequest), Error> {
        let (mut parts, body) = request.into_parts();
        let AdmittedTarget { target, endpoint, outgoing, until } = self.admit(&parts.method, &parts.uri)?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        // Only a proxy takes an absolute address.
        parts.uri = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        parts.version = http::Version::HTTP_11;
        parts.headers.insert(header::HOST, target.host_header().ok_or(Error::HttpRequestUriInvalid)?);
        // One connection serves one request, so that no leftover bytes are taken for another answer.
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        parts.headers.entry(header::USER_AGENT).or_insert(AGENT);
        for (name, value) in endpoint.injected() {
            parts.headers.insert(name, value);
        }
        let (private, timeouts) = (endpoint.may_be_private(), RequestTimeouts::of(options, until));
        Ok((outgoing, AdmittedRequest { request: Request::from_parts(parts, body), target, private, timeouts }))
    }
}

/// The target of a request that passed the gate.
struct AdmittedTarget {
    target: RequestTarget,
    endpoint: Arc<Endpoint>,
    outgoing: Arc<AllowedHosts>,
    until: Instant,
}

type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for HttpGate {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        is_reserved(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_reserved)
    }

    /// The host sets this header itself, from the target of the request.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        PIECE
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let order = self.admitted(request, options);
        Box::new(async move {
            let (outgoing, order) = order?;
            let (response, connection) = exchange::send(&outgoing, order).await?;
            Ok((response, Box::new(connection) as Box<_>))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write};
    use std::sync::Mutex;

    use serde_json::json;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};

    use super::*;
    use crate::config::Grant;
    use crate::world::network::{Network, SharedNetwork};

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct CapturedLines(Arc<Mutex<String>>);

    impl Visit for CapturedLines {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0.lock().unwrap(), "{field}={value:?} ").unwrap();
        }
    }

    impl tracing::Subscriber for CapturedLines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            event.record(&mut self.clone());
            self.0.lock().unwrap().push('\n');
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    fn gate(hosts: serde_json::Value) -> HttpGate {
        let grant = Grant { http: serde_json::from_value(hosts).unwrap(), ..Grant::default() };
        let network = Arc::new(SharedNetwork::new(&Network::default()));
        HttpGate::new(Arc::new(AllowedHosts::of(&"pager".into(), &grant, &network)))
    }

    #[test]
    fn what_is_refused_is_told_once_with_the_line_that_would_grant_it() {
        let mut gate = gate(json!(["example.com"]));
        let uri: http::Uri = "https://hooks.example.com/secret-path".parse().unwrap();
        let lines = CapturedLines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            for _ in 0..3 {
                gate.open(Instant::now());
                assert!(matches!(gate.admit(&Method::GET, &uri), Err(Error::HttpRequestDenied)));
            }
        });
        let logged = lines.0.lock().unwrap().clone();
        assert_eq!(logged.lines().count(), 1, "{logged}");
        assert!(logged.contains("plugin=pager") && !logged.contains("secret-path"), "{logged}");
        assert!(logged.contains("`grant.http = [\"https://hooks.example.com:443\"]`"), "{logged}");
    }

    #[test]
    fn a_gate_is_open_during_a_call_alone() {
        let mut gate = gate(json!(["example.com"]));
        let uri: http::Uri = "https://example.com/".parse().unwrap();
        assert!(matches!(gate.admit(&Method::GET, &uri), Err(Error::HttpRequestDenied)));
        gate.open(Instant::now());
        for _ in 0..REQUESTS {
            assert!(gate.admit(&Method::GET, &uri).is_ok());
        }
        assert!(matches!(gate.admit(&Method::GET, &uri), Err(Error::ConnectionLimitReached)));
        gate.open(Instant::now());
        gate.close();
        assert!(matches!(gate.admit(&Method::GET, &uri), Err(Error::HttpRequestDenied)));
    }
}
