//! A check made ready: everything that can be known before looking is worked out once.

use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use tokio::time::timeout;

use crate::config::{Kind, ProbeConfig, Problem};
use crate::exec::{self, Command};
use crate::http::{self, Request};
use crate::net::{self, Place};
use crate::result::Look;

/// How to make one check.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Http(Box<Request>),
    Tcp(Place),
    Exec(Command),
    /// It cannot be made, and this is why.
    Broken(String),
}

impl Plan {
    /// Works a configuration out.
    pub(crate) fn new(config: &ProbeConfig) -> Result<Self, Problem> {
        let missing = |field, example: &str| Problem {
            field,
            message: format!("is missing: kind = \"{}\" needs it, such as {example}", config.kind.as_str()),
            fatal: true,
        };
        match config.kind {
            Kind::Http => {
                let url = config.url.as_deref().ok_or_else(|| missing("url", "\"http://127.0.0.1:8000/health\""))?;
                request(config, url).map(Box::new).map(Self::Http)
            }
            Kind::Tcp => {
                let address = config.address.as_deref().ok_or_else(|| missing("address", "\"127.0.0.1:5432\""))?;
                // The place may come from the environment, so a bad one is that check's failure and nobody else's.
                Place::parse(address).map(Self::Tcp).ok_or_else(|| Problem {
                    field: "address",
                    message: format!("`{address}` is no address; write HOST:PORT, such as 127.0.0.1:5432"),
                    fatal: false,
                })
            }
            Kind::Exec => match config.command.as_deref() {
                Some([program, arguments @ ..]) if !program.is_empty() => Ok(Self::Exec(Command {
                    program: program.clone(),
                    arguments: arguments.to_vec(),
                    environment: config.environment.clone(),
                })),
                _ => Err(missing("command", "[\"./check\", \"--fast\"]")),
            },
        }
    }

    /// The same, where a check that cannot be made is a plan too: the one that says why each time.
    pub(crate) fn best(config: &ProbeConfig) -> Self {
        Self::new(config).unwrap_or_else(|problem| Self::Broken(problem.to_string()))
    }

    /// Makes the check; it ends within its time.
    pub(crate) async fn look(&self, within: Duration) -> Look {
        let looking = async {
            match self {
                Self::Http(request) => Box::pin(http::look(request, within)).await,
                Self::Tcp(place) => net::look(place, within).await,
                Self::Exec(command) => exec::look(command).await,
                Self::Broken(why) => Look::failed("config", why.clone()),
            }
        };
        timeout(within, looking).await.unwrap_or_else(|_| Look::timed_out(within))
    }

    /// While a service starts, its checks are repeated this often. A command costs a process each time.
    pub(crate) fn eagerness(&self) -> Duration {
        match self {
            Self::Exec(_) => Duration::from_millis(100),
            Self::Http(_) | Self::Tcp(_) | Self::Broken(_) => Duration::from_millis(50),
        }
    }
}

fn request(config: &ProbeConfig, url: &str) -> Result<Request, Problem> {
    // As for an address: a bad one is that check's failure and nobody else's.
    let bad = |why: &str| Problem { field: "url", message: format!("`{url}` {why}"), fatal: false };
    let form = "is no URL that can be checked; write http://HOST:PORT/PATH";
    let uri: Uri = url.parse().map_err(|_| bad(form))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(bad("is https, which heald cannot check yet; use http, or kind = \"tcp\"")),
        _ => return Err(bad(form)),
    }
    let authority = uri.authority().ok_or_else(|| bad(form))?;
    if authority.as_str().contains('@') {
        return Err(bad("holds a user name; send an authorization header instead"));
    }
    // Not `Uri::port`: that takes a port that is out of range for none at all.
    let port = match authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':')) {
        None | Some("") => 80,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| bad(form))?,
    };
    let place = Place::new(authority.host(), port).ok_or_else(|| bad(form))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();

    let wrong = |field, message: String| Problem { field, message, fatal: true };
    let method = config.method.as_deref().unwrap_or("GET");
    let method = method
        .parse()
        .map_err(|_| wrong("method", format!("`{method}` is no HTTP method; allowed are GET, HEAD, POST, ...")))?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad(form))?;
    let mut headers = vec![(hyper::header::HOST, host)];
    for (name, value) in &config.headers {
        let parsed = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
        let (name, value) = parsed
            .ok_or_else(|| wrong("headers", format!("`{name}` or its value holds characters a header cannot carry")))?;
        if name == hyper::header::HOST {
            headers.clear();
        }
        headers.push((name, value));
    }
    let (expect, body_status) = (config.expect_status.clone(), config.body_status);
    Ok(Request { place, path, method, headers, expect, body_status })
}
