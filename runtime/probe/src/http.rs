//! The http check: one HTTP/1.1 request on a new connection.
//!
//! It follows no redirect: a redirect is an answer like any other.

use std::io;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::body::HealthBody;
use crate::net::HostPort;
use crate::result::CheckResult;
use crate::status::StatusSet;

/// The longest body that is read. A health body has a few hundred bytes; of a longer body only the status code is judged.
const BODY: usize = 64 * 1024;

/// The request, and which answers pass.
#[derive(Clone, Debug)]
pub(crate) struct HttpRequest {
    pub(crate) target: HostPort,
    pub(crate) path: String,
    pub(crate) method: Method,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) expect: StatusSet,
    pub(crate) body_status: bool,
}

/// Makes the request once. The latency covers connecting and answering, but not the name look-up.
pub(crate) async fn check(request: &HttpRequest, within: Duration) -> CheckResult {
    let addresses = match request.target.resolve().await {
        Ok(addresses) => addresses,
        Err(result) => return result,
    };
    let begun = Instant::now();
    let stream = match request.target.connect(&addresses, within).await {
        Ok(stream) => stream,
        Err(result) => return result,
    };
    match exchange(request, TokioIo::new(stream)).await {
        Ok((status, body)) => {
            let result = judge(request, status, HealthBody::read(&body));
            CheckResult { latency: Some(begun.elapsed()), ..result }
        }
        Err(error) => explain(request, &error, within),
    }
}

/// Judges an answer.
fn judge(request: &HttpRequest, status: u16, answer: HealthBody) -> CheckResult {
    let result = if !request.expect.contains(status) {
        CheckResult::failed("status", format!("HTTP {status}"))
    } else if request.body_status && answer.down() {
        let word = answer.reported.as_deref().unwrap_or_default();
        CheckResult::failed("body", format!("status {word}"))
    } else {
        CheckResult::passed()
    };
    CheckResult { status: Some(i32::from(status)), body: answer, ..result }
}

/// Sends the request and reads the answer while driving the connection.
async fn exchange(request: &HttpRequest, io: TokioIo<tokio::net::TcpStream>) -> Result<(u16, Vec<u8>), hyper::Error> {
    let (mut sender, connection) = http1::Builder::new().max_buf_size(BODY).handshake(io).await?;
    let mut asked = hyper::Request::new(Empty::<Bytes>::new());
    *asked.method_mut() = request.method.clone();
    // The path comes from a parsed URI. Should it not parse again, the root is requested.
    *asked.uri_mut() = request.path.parse().unwrap_or_default();
    let headers = asked.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("heald/", env!("CARGO_PKG_VERSION"))));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &request.headers {
        headers.insert(name.clone(), value.clone());
    }
    let mut answering = pin!(async move {
        let mut response = sender.send_request(asked).await?;
        let body = read(&mut response).await?;
        Ok((response.status().as_u16(), body))
    });
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        answer = &mut answering => answer,
        // The peer closed the connection; what it sent before can still be read.
        _ = &mut connection => answering.await,
    }
}

/// Reads the body; empty if it is longer than [`BODY`].
async fn read(response: &mut Response<Incoming>) -> Result<Vec<u8>, hyper::Error> {
    let mut body = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        if let Ok(data) = frame?.into_data() {
            if body.len() + data.len() > BODY {
                return Ok(Vec::new());
            }
            body.extend_from_slice(&data);
        }
    }
    Ok(body)
}

fn explain(request: &HttpRequest, error: &hyper::Error, within: Duration) -> CheckResult {
    if error.is_parse() || error.is_parse_too_large() {
        return CheckResult::failed("body", format!("Not an HTTP answer on port {}", request.target.port));
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
    request.target.explain(source.unwrap_or(&closed), within)
}
