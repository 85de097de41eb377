//! Requests to the hosts that the operator granted, over `wasi:http`. With the cargo feature `http`.
//!
//! ```no_run
//! use heald_plugin::http::{Error, Request};
//!
//! # fn call() -> Result<(), Error> {
//! let answer = Request::post("https://hooks.example.com/heald")
//!     .header("content-type", "application/json")
//!     .body(r#"{"text": "web is down"}"#)
//!     .send()?;
//! assert!(answer.is_success());
//! # Ok(())
//! # }
//! ```
//!
//! One request, one answer, both whole in memory. Redirects are answers like any other: to follow one, send another request, and
//! the host judges where that one goes. A plug-in that uses this says so (`capabilities: &["log", "http"]`) and has to be granted
//! its hosts: `grant = { http = ["hooks.example.com"] }`. Credentials belong there too, as `headers`: the host adds them, and the
//! plug-in never holds them.
//!
//! Under a native test the answers come from [`testing::double::http`](crate::testing::double::http).

use std::fmt;
use std::time::Duration;

#[cfg(target_family = "wasm")]
mod wire;

/// A request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// Absolute: `https://host:port/path?query`.
    pub url: String,
    /// In the order in which they were added.
    pub headers: Vec<(String, String)>,
    /// Empty: none is sent.
    pub body: Vec<u8>,
    /// How long to wait for the connection, for the answer and between its pieces; each for itself. The host has bounds of its
    /// own, and what is left of the call's time is the last of them.
    pub timeout: Option<Duration>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request could not be made: its address, its method or a header is none.
    Bad(String),
    /// The host did not let it pass: the place is not granted, or leads where no plug-in may go.
    Denied(String),
    /// Nobody answered; somebody may later.
    Unreachable(String),
    /// The answer did not come in time.
    TimedOut,
    /// The body, of the request or of the answer, has more bytes than the host carries.
    TooLarge,
    /// Anything else, such as a certificate that nobody trusts.
    Failed(String),
}

/// Asks for what is at this address.
///
/// # Errors
/// When there is no answer.
pub fn get(url: impl Into<String>) -> Result<Response, Error> {
    Request::get(url).send()
}

/// Sends a body to this address.
///
/// # Errors
/// When there is no answer.
pub fn post(url: impl Into<String>, content_type: &str, body: impl Into<Vec<u8>>) -> Result<Response, Error> {
    Request::post(url).header("content-type", content_type).body(body).send()
}

impl Request {
    /// With any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        let (method, url) = (method.into(), url.into());
        Self { method, url, headers: Vec::new(), body: Vec::new(), timeout: None }
    }

    /// `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// `POST`.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// What to send along.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// See [`timeout`](Self::timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it and waits for the answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn send(&self) -> Result<Response, Error> {
        #[cfg(target_family = "wasm")]
        return wire::send(self);
        #[cfg(not(target_family = "wasm"))]
        return crate::testing::double::http::answer(self);
    }
}

impl Response {
    /// 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.as_str())
    }

    /// The body as text; what is no UTF-8 in it is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(why) | Self::Denied(why) | Self::Unreachable(why) | Self::Failed(why) => f.write_str(why),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::TooLarge => f.write_str("too many bytes"),
        }
    }
}

impl std::error::Error for Error {}

/// As a plug-in's own answer: what may work later is `unavailable`, so that heald tries again.
impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        let said = error.to_string();
        match error {
            Error::Bad(_) => Self::BadInput(said),
            Error::Denied(_) => Self::Denied(said),
            Error::Unreachable(_) => Self::Unavailable(said),
            Error::TimedOut => Self::TimedOut,
            Error::TooLarge => Self::OverQuota(said),
            Error::Failed(_) => Self::Other(said),
        }
    }
}
