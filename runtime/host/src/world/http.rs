//! wasi:http as a plug-in gets it: requests to the hosts of its grant, each judged anew, and nothing else of the network.
//!
//! Every request passes [`Wire::admit`], the one gate. A request that goes through it is sent by `exchange`; one that does not is
//! answered with an error that the guest can read. Redirects are answers like any other: a guest that follows one sends
//! another request, which is judged by where that one goes.

use std::future::Future;
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

use crate::world::endpoint::{Endpoint, Target, is_reserved};
use crate::world::exchange::{self, Bounds, Order};
use crate::world::outgoing::Outgoing;

/// Requests in one call. An action that needs more than this is several actions.
const REQUESTS: u32 = 16;
/// Bytes that the headers of a message may take in the guest's hands; proxies commonly stop at 8 KiB.
const HEADERS: usize = 32 << 10;
/// Bytes of a body that a guest may hand over at once. Two pieces are buffered for each request.
const PIECE: usize = 64 << 10;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("heald/", env!("CARGO_PKG_VERSION")));

/// What one instance sends its requests through.
pub(crate) struct Wire {
    /// None: to nowhere.
    outgoing: Option<Arc<Outgoing>>,
    /// Some during a call that may send: requests still to be had, and when the call is over, and with it whatever it began.
    open: Option<(u32, Instant)>,
}

/// How much of a message's head a guest may hold.
pub(crate) fn context() -> WasiHttpCtx {
    let mut context = WasiHttpCtx::new();
    context.set_field_size_limit(HEADERS);
    context
}

impl Wire {
    /// Closed, until a call opens it: a plug-in that is only being set up sends nothing to anyone.
    pub(crate) fn new(outgoing: Arc<Outgoing>) -> Self {
        Self { outgoing: Some(outgoing), open: None }
    }

    pub(crate) fn nowhere() -> Self {
        Self { outgoing: None, open: None }
    }

    /// For one call, which is over at `until`.
    pub(crate) fn open(&mut self, until: Instant) {
        self.open = Some((REQUESTS, until));
    }

    /// The call is over, or the grant was taken back.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Where a request may go, with what the host adds, and until when; the one gate that every request passes.
    fn admit(&mut self, method: &Method, uri: &http::Uri) -> Result<Admitted, Error> {
        let (Some(outgoing), Some((left, until))) = (&self.outgoing, &mut self.open) else {
            return Err(Error::HttpRequestDenied);
        };
        *left = left.checked_sub(1).ok_or(Error::ConnectionLimitReached)?;
        // A tunnel leads where nobody judges; a trace would hand the host's own headers to the guest.
        if method == Method::CONNECT || method == Method::TRACE {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let target = Target::of(uri).ok_or(Error::HttpRequestUriInvalid)?;
        match outgoing.endpoint(&target) {
            Some(endpoint) => {
                Ok(Admitted { target, endpoint: Arc::clone(endpoint), outgoing: Arc::clone(outgoing), until: *until })
            }
            None => {
                let remedy = format!("`grant.http = [\"{target}\"]` in its [[plugin]] table would grant it");
                outgoing.tell(&target, "it is not granted", &remedy);
                Err(Error::HttpRequestDenied)
            }
        }
    }

    fn order(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<(Arc<Outgoing>, Order), Error> {
        let (mut parts, body) = request.into_parts();
        let Admitted { target, endpoint, outgoing, until } = self.admit(&parts.method, &parts.uri)?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        // Absolute addresses are for proxies.
        parts.uri = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        parts.version = http::Version::HTTP_11;
        parts.headers.insert(header::HOST, target.host_header().ok_or(Error::HttpRequestUriInvalid)?);
        // One request, one connection: none of it is there for the next one to be mistaken for.
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        parts.headers.entry(header::USER_AGENT).or_insert(AGENT);
        for (name, value) in endpoint.injected() {
            parts.headers.insert(name, value);
        }
        let (private, bounds) = (endpoint.may_be_private(), Bounds::of(options, until));
        Ok((outgoing, Order { request: Request::from_parts(parts, body), target, private, bounds }))
    }
}

/// A request that passed the gate.
struct Admitted {
    target: Target,
    endpoint: Arc<Endpoint>,
    outgoing: Arc<Outgoing>,
    until: Instant,
}

type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Wire {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        is_reserved(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_reserved)
    }

    /// The host writes it itself, from where the request goes.
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
        let order = self.order(request, options);
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
    use crate::world::network::{Network, Outside};

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<String>>);

    impl Visit for Lines {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0.lock().unwrap(), "{field}={value:?} ").unwrap();
        }
    }

    impl tracing::Subscriber for Lines {
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

    fn wire(hosts: serde_json::Value) -> Wire {
        let grant = Grant { http: serde_json::from_value(hosts).unwrap(), ..Grant::default() };
        let outside = Arc::new(Outside::new(&Network::default()));
        Wire::new(Arc::new(Outgoing::of(&"pager".into(), &grant, &outside)))
    }

    #[test]
    fn what_is_refused_is_told_once_with_the_line_that_would_grant_it() {
        let mut wire = wire(json!(["example.com"]));
        let uri: http::Uri = "https://hooks.example.com/secret-path".parse().unwrap();
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            for _ in 0..3 {
                wire.open(Instant::now());
                assert!(matches!(wire.admit(&Method::GET, &uri), Err(Error::HttpRequestDenied)));
            }
        });
        let told = lines.0.lock().unwrap().clone();
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains("plugin=pager") && !told.contains("secret-path"), "{told}");
        assert!(told.contains("`grant.http = [\"https://hooks.example.com:443\"]`"), "{told}");
    }

    #[test]
    fn a_wire_is_open_during_a_call_alone() {
        let mut wire = wire(json!(["example.com"]));
        let uri: http::Uri = "https://example.com/".parse().unwrap();
        assert!(matches!(wire.admit(&Method::GET, &uri), Err(Error::HttpRequestDenied)));
        wire.open(Instant::now());
        for _ in 0..REQUESTS {
            assert!(wire.admit(&Method::GET, &uri).is_ok());
        }
        assert!(matches!(wire.admit(&Method::GET, &uri), Err(Error::ConnectionLimitReached)));
        wire.open(Instant::now());
        wire.close();
        assert!(matches!(wire.admit(&Method::GET, &uri), Err(Error::HttpRequestDenied)));
    }
}
