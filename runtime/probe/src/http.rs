//! An HTTP/1.1 request on a connection of its own. Redirects are answers, not followed.

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

use crate::body::Answer;
use crate::net::Place;
use crate::result::Look;
use crate::status::StatusSet;

/// A health body is a few hundred bytes. Of a longer one nothing is judged but the status code.
const BODY: usize = 64 * 1024;

/// What to ask, and what is a good answer.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) method: Method,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) expect: StatusSet,
    pub(crate) body_status: bool,
}

/// Asks once. The latency is that of the service: connecting and answering, without finding its address.
pub(crate) async fn look(request: &Request, within: Duration) -> Look {
    let addresses = match request.place.resolve().await {
        Ok(addresses) => addresses,
        Err(look) => return look,
    };
    let begun = Instant::now();
    let stream = match request.place.connect(&addresses, within).await {
        Ok(stream) => stream,
        Err(look) => return look,
    };
    match exchange(request, TokioIo::new(stream)).await {
        Ok((status, body)) => {
            let look = judge(request, status, Answer::read(&body));
            Look { latency: Some(begun.elapsed()), ..look }
        }
        Err(error) => explain(request, &error, within),
    }
}

/// What an answer means.
fn judge(request: &Request, status: u16, answer: Answer) -> Look {
    let look = if !request.expect.contains(status) {
        Look::failed("status", format!("HTTP {status}"))
    } else if request.body_status && answer.down() {
        let word = answer.reported.as_deref().unwrap_or_default();
        Look::failed("body", format!("status {word}"))
    } else {
        Look::passed()
    };
    Look { status: Some(i32::from(status)), answer, ..look }
}

/// Sends the request and reads the answer, driving the connection meanwhile.
async fn exchange(request: &Request, io: TokioIo<tokio::net::TcpStream>) -> Result<(u16, Vec<u8>), hyper::Error> {
    let (mut sender, connection) = http1::Builder::new().max_buf_size(BODY).handshake(io).await?;
    let mut asked = hyper::Request::new(Empty::<Bytes>::new());
    *asked.method_mut() = request.method.clone();
    // The plan took this path from a parsed URI; should it not parse again, the root is asked.
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
        // The peer closed; what it sent before is still to be had.
        _ = &mut connection => answering.await,
    }
}

/// The body, or nothing if it is longer than anyone's health.
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

fn explain(request: &Request, error: &hyper::Error, within: Duration) -> Look {
    if error.is_parse() || error.is_parse_too_large() {
        return Look::failed("body", format!("Not an HTTP answer on port {}", request.place.port));
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
    request.place.explain(source.unwrap_or(&closed), within)
}
