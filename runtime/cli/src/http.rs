//! A small HTTP/1 client: one connection for each request, plain http, JSON.
//!
//! It follows no redirects, keeps no connection, and speaks no TLS: heald's API is on loopback unless a proxy stands before it.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A heald that takes longer to accept is not well.
const CONNECT: Duration = Duration::from_secs(5);
/// Stopping a service may take its whole grace, checking one its whole timeout.
const ANSWER: Duration = Duration::from_secs(120);
/// No answer of heald's is longer; anything else on that port might be.
const LONGEST: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// Not an address.
    #[error(
        "`{0}` is not an address of heald; write http://HOST:PORT (https needs a proxy that heald's own client cannot speak to yet)"
    )]
    Url(String),
    /// Nobody there.
    #[error("no heald answers at {url}: {why}; `heald run` starts one, --url or --port names another")]
    Unreachable {
        /// Where.
        url: String,
        /// What the system says.
        why: String,
    },
    /// It has begun to answer, and no more came.
    #[error("the answer of {url} broke off: {why}")]
    Broken {
        /// Where.
        url: String,
        /// What happened.
        why: String,
    },
    /// It said no.
    #[error("{error}")]
    Refused {
        /// In HTTP's words.
        status: StatusCode,
        /// In heald's words.
        error: String,
    },
    /// Something else listens there.
    #[error("what answers at {0} is not heald; --url or --port names another address")]
    Stranger(String),
}

/// One heald.
#[derive(Clone, Debug)]
pub(super) struct Client {
    url: String,
    host: String,
    port: u16,
    authority: String,
    key: Option<HeaderValue>,
}

impl Client {
    /// The heald at `http://HOST[:PORT]`.
    ///
    /// # Errors
    /// When that is no such address, or the key cannot be sent.
    pub(super) fn new(url: &str, key: Option<String>) -> Result<Self, RequestError> {
        let bad = || RequestError::Url(url.to_owned());
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = with_scheme.parse().map_err(|_| bad())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(bad)?;
        let key = key.map(|key| HeaderValue::from_str(&key)).transpose().map_err(|_| bad())?;
        Ok(Self {
            url: with_scheme.trim_end_matches('/').to_owned(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            key,
        })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Asks.
    ///
    /// # Errors
    /// When there is no answer, or it is a no.
    pub(super) async fn get(&self, path: &str) -> Result<Value, RequestError> {
        self.answer(Method::GET, path, Bytes::new()).await
    }

    /// Has something done.
    ///
    /// # Errors
    /// When there is no answer, or it is a no.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, RequestError> {
        self.answer(Method::POST, path, Bytes::from(body.to_string())).await
    }

    async fn answer(&self, method: Method, path: &str, body: Bytes) -> Result<Value, RequestError> {
        let asked = async {
            let response = self.send(method, path, body, &[]).await?;
            let status = response.status();
            let whole = http_body_util::Limited::new(response.into_body(), LONGEST).collect().await;
            let whole = whole.map_err(|error| self.broken(&*error))?.to_bytes();
            let answer: Result<Value, _> = serde_json::from_slice(&whole);
            match answer {
                Ok(answer) if status.is_success() => Ok(answer),
                Ok(answer) => Err(refused(status, &answer)),
                Err(_) => Err(RequestError::Stranger(self.url.clone())),
            }
        };
        timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(self.unreachable("it takes too long")))
    }

    /// Asks for something whose answer may never end.
    pub(super) async fn open(
        &self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Response<Incoming>, RequestError> {
        let response = self.send(Method::GET, path, Bytes::new(), headers).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let whole = response.into_body().collect().await.map_err(|error| self.broken(&error))?.to_bytes();
        Err(refused(status, &serde_json::from_slice(&whole).unwrap_or_default()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Response<Incoming>, RequestError> {
        let connected = timeout(CONNECT, TcpStream::connect((self.host.as_str(), self.port))).await;
        let stream = connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| self.unreachable(&plainly(&error)))?;
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        // It ends with the answer; its errors come out of the answer too.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.authority);
        request = request.header(ACCEPT, "application/json, text/event-stream");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|_| RequestError::Url(format!("{}{path}", self.url)))?;
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    fn unreachable(&self, why: &str) -> RequestError {
        RequestError::Unreachable { url: self.url.clone(), why: why.to_owned() }
    }

    pub(super) fn broken(&self, error: &dyn std::error::Error) -> RequestError {
        RequestError::Broken { url: self.url.clone(), why: error.to_string() }
    }
}

fn refused(status: StatusCode, answer: &Value) -> RequestError {
    let mut error = answer["error"].as_str().map_or_else(|| format!("heald answers {status}"), str::to_owned);
    let offered: Vec<&str> = answer["offered"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !offered.is_empty() {
        error = format!("{error}; on offer: {}", offered.join(", "));
    }
    if status == StatusCode::UNAUTHORIZED {
        error.push_str("; show a key with --api-key or HEALD_API_KEY");
    }
    RequestError::Refused { status, error }
}

/// Without the number that the system's own words end with.
fn plainly(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => format!("no connection within {} s", CONNECT.as_secs()),
        _ => error.to_string(),
    }
}

/// Percent-encoded, for a part of a path or a query.
pub(super) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut path, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => path.push(char::from(byte)),
            byte => path.push_str(&format!("%{byte:02X}")),
        }
        path
    })
}
