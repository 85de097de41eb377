//! Sends one request to one judged address and receives its answer, over HTTP/1.1 on a connection of its own, within
//! time and size limits.
//!
//! It uses no proxy, follows no redirect and keeps no connection. A failure is a value for the guest, in the words of
//! wasi:http.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout_at};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::world::endpoint::{RequestTarget, Scheme};
use crate::world::outgoing::AllowedHosts;
use crate::world::resolve::Unresolved;
use crate::world::tls::TlsFailure;

/// Bytes of a body, either way. A webhook has some KiB.
const BODY: u64 = 1 << 20;
/// Bytes and number of the headers of an answer.
const HEAD: usize = 64 << 10;
const HEADERS: usize = 100;
/// Addresses of a name that are tried one after the other. They share the time to connect.
const TRIED: usize = 4;
/// A guest may ask for less time than this, not for more.
const CONNECT: Duration = Duration::from_secs(5);
const FIRST_BYTE: Duration = Duration::from_secs(30);
const BETWEEN_BYTES: Duration = Duration::from_secs(30);

/// The timeouts of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestTimeouts {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
    /// The end of the whole exchange.
    until: Instant,
}

impl RequestTimeouts {
    pub(crate) fn of(options: Option<RequestOptions>, until: Instant) -> Self {
        let asked = options.unwrap_or_default();
        let at_most = |wanted: Option<Duration>, most: Duration| wanted.map_or(most, |wanted| wanted.min(most));
        Self {
            connect: at_most(asked.connect_timeout, CONNECT),
            first_byte: at_most(asked.first_byte_timeout, FIRST_BYTE),
            between_bytes: at_most(asked.between_bytes_timeout, BETWEEN_BYTES),
            until,
        }
    }

    /// The instant after this time, or the end of the whole exchange if that is earlier.
    fn within(&self, time: Duration) -> Instant {
        (Instant::now() + time).min(self.until)
    }
}

/// A request that was admitted.
pub(crate) struct AdmittedRequest {
    pub(crate) request: Request<WasiBody>,
    pub(crate) target: RequestTarget,
    pub(crate) private: bool,
    pub(crate) timeouts: RequestTimeouts,
}

/// Sends a request. The returned future keeps the connection going while the body of the answer is read.
pub(crate) async fn send(
    outgoing: &AllowedHosts,
    order: AdmittedRequest,
) -> Result<(Response<WasiBody>, impl Future<Output = Result<(), Error>> + Send + use<>), Error> {
    let AdmittedRequest { request, target, private, timeouts } = order;
    let connected = timeouts.within(timeouts.connect);
    let stream = connect(outgoing, &target, private, connected).await?;
    let io: Box<dyn Io> = match target.scheme {
        Scheme::Http => Box::new(stream),
        Scheme::Https => {
            let shaking = timeout_at(connected, outgoing.network.tls.connect(&target.host, stream)).await;
            Box::new(shaking.map_err(|_| Error::ConnectionTimeout)?.map_err(|error| {
                outgoing.failed(&target, &error);
                of_tls(&error)
            })?)
        }
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD).max_headers(HEADERS);
    let (mut sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(|error| of_hyper(&error))?;
    // The answer or its body reports what ends the connection early.
    let connection: AbortOnDropJoinHandle<()> = spawn(async move {
        let _ = timeout_at(timeouts.until, connection).await;
    });
    let request = request.map(|body| Bounded::new(body, Error::HttpRequestBodySize, timeouts));
    let answer = timeout_at(timeouts.within(timeouts.first_byte), sender.send_request(request)).await;
    let response = answer.map_err(|_| Error::HttpResponseTimeout)?.map_err(|error| {
        outgoing.failed(&target, &error);
        of_hyper(&error)
    })?;
    // A body that announces that it is too large is not read.
    if response.body().size_hint().lower() > BODY {
        return Err(Error::HttpResponseBodySize(Some(response.body().size_hint().lower())));
    }
    let response = response.map(|body| {
        let body = body.map_err(|error| of_hyper(&error)).boxed_unsync();
        Bounded::new(body, Error::HttpResponseBodySize, timeouts).boxed_unsync()
    });
    Ok((response, async move {
        connection.await;
        Ok(())
    }))
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn connect(
    outgoing: &AllowedHosts,
    target: &RequestTarget,
    private: bool,
    until: Instant,
) -> Result<TcpStream, Error> {
    let looked_up = outgoing.pins.addresses(&*outgoing.network.resolver, &target.host, private);
    let addresses = timeout_at(until, looked_up).await.unwrap_or(Err(Unresolved::Late)).map_err(|unresolved| {
        match &unresolved {
            Unresolved::Private(_) => {
                let remedy = format!("`{{ host = \"{target}\", private = true }}` in `grant.http` would allow it");
                outgoing.warn_once(target, &unresolved.to_string(), &remedy);
            }
            Unresolved::Never(..) => outgoing.warn_once(target, &unresolved.to_string(), "nothing would allow it"),
            Unresolved::Late | Unresolved::Failed(_) | Unresolved::Nowhere => outgoing.failed(target, &unresolved),
        }
        of_name(&unresolved)
    })?;
    let tried = addresses.len().min(TRIED);
    let mut failure = Error::DestinationUnavailable;
    for (nth, ip) in addresses.iter().take(tried).enumerate() {
        let waiting = u32::try_from(tried - nth).unwrap_or(1);
        let share = until.saturating_duration_since(Instant::now()) / waiting;
        let connecting = TcpStream::connect(SocketAddr::new(*ip, target.port));
        failure = match tokio::time::timeout(share, connecting).await {
            Ok(Ok(stream)) => {
                // Headers and body are written separately; otherwise the second write waits until the first is
                // acknowledged.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => of_connection(&error),
            Err(_) => Error::ConnectionTimeout,
        };
    }
    outgoing.failed(target, &failure);
    outgoing.pins.forget(&target.host);
    Err(failure)
}

/// A body that ends with an error when it is too long, pauses too long, or outlives its call.
struct Bounded {
    body: Option<WasiBody>,
    left: u64,
    too_long: fn(Option<u64>) -> Error,
    timeouts: RequestTimeouts,
    alarm: Pin<Box<Sleep>>,
}

impl Bounded {
    fn new(body: WasiBody, too_long: fn(Option<u64>) -> Error, timeouts: RequestTimeouts) -> Self {
        let alarm = Box::pin(tokio::time::sleep_until(timeouts.within(timeouts.between_bytes)));
        Self { body: Some(body), left: BODY, too_long, timeouts, alarm }
    }

    fn end(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.body = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Pending => {
                ready!(self.alarm.as_mut().poll(cx));
                self.end(Error::ConnectionReadTimeout)
            }
            Poll::Ready(Some(Ok(frame))) => {
                let size = frame.data_ref().map_or(0, Buf::remaining);
                match self.left.checked_sub(u64::try_from(size).unwrap_or(u64::MAX)) {
                    Some(left) if Instant::now() < self.timeouts.until => {
                        self.left = left;
                        let next = self.timeouts.within(self.timeouts.between_bytes);
                        self.alarm.as_mut().reset(next);
                        Poll::Ready(Some(Ok(frame)))
                    }
                    Some(_) => self.end(Error::ConnectionReadTimeout),
                    None => {
                        let error = (self.too_long)(Some(BODY));
                        self.end(error)
                    }
                }
            }
            Poll::Ready(Some(Err(error))) => self.end(error),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

fn of_name(unresolved: &Unresolved) -> Error {
    match unresolved {
        Unresolved::Late => Error::DnsTimeout,
        Unresolved::Failed(_) => Error::DnsError { rcode: None, info_code: None },
        Unresolved::Nowhere => Error::DestinationNotFound,
        Unresolved::Never(..) | Unresolved::Private(_) => Error::DestinationIpProhibited,
    }
}

fn of_connection(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        _ => Error::DestinationUnavailable,
    }
}

fn of_tls(error: &io::Error) -> Error {
    match TlsFailure::of(error) {
        TlsFailure::Certificate => Error::TlsCertificateError,
        TlsFailure::Alert(id) => Error::TlsAlertReceived { alert_id: Some(id), alert_message: None },
        TlsFailure::Protocol => Error::TlsProtocolError,
    }
}

fn of_hyper(error: &hyper::Error) -> Error {
    let body = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    match body {
        Some(Error::HttpRequestBodySize(size)) => return Error::HttpRequestBodySize(*size),
        Some(Error::ConnectionReadTimeout) => return Error::ConnectionWriteTimeout,
        _ => {}
    }
    if error.is_timeout() {
        Error::HttpResponseTimeout
    } else if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(u32::try_from(HEAD).ok())
    } else if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else if error.is_parse() || error.is_user() {
        Error::HttpProtocolError
    } else {
        Error::ConnectionTerminated
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn timeouts(seconds: u64) -> RequestTimeouts {
        RequestTimeouts::of(None, Instant::now() + Duration::from_secs(seconds))
    }

    fn body(bytes: usize) -> WasiBody {
        Full::new(Bytes::from(vec![0; bytes])).map_err(|never| match never {}).boxed_unsync()
    }

    #[tokio::test]
    async fn a_body_of_the_largest_size_passes_and_one_byte_more_does_not() {
        let largest = usize::try_from(BODY).unwrap();
        let whole = Bounded::new(body(largest), Error::HttpResponseBodySize, timeouts(9)).collect().await.unwrap();
        assert_eq!(whole.to_bytes().len(), largest);
        let error =
            Bounded::new(body(largest + 1), Error::HttpResponseBodySize, timeouts(9)).collect().await.unwrap_err();
        assert!(matches!(error, Error::HttpResponseBodySize(Some(BODY))), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_pauses_too_long_or_outlives_its_call_ends() {
        for (seconds, expected) in [(900, BETWEEN_BYTES), (7, Duration::from_secs(7))] {
            let began = Instant::now();
            let silent = Silent.boxed_unsync();
            let error =
                Bounded::new(silent, Error::HttpResponseBodySize, timeouts(seconds)).collect().await.unwrap_err();
            assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");
            assert_eq!(began.elapsed().as_secs(), expected.as_secs());
        }
    }

    /// Never has anything to say.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_may_ask_for_less_time_and_not_for_more() {
        let long = Some(Duration::from_secs(3_600));
        let asked = RequestOptions {
            connect_timeout: Some(Duration::from_secs(1)),
            first_byte_timeout: long,
            between_bytes_timeout: long,
        };
        let timeouts = RequestTimeouts::of(Some(asked), Instant::now() + Duration::from_secs(10));
        assert_eq!((timeouts.connect, timeouts.first_byte), (Duration::from_secs(1), FIRST_BYTE));
        assert_eq!(timeouts.within(timeouts.first_byte), timeouts.until);
    }
}
