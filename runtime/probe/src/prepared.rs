//! A check that is ready to run: the configuration is parsed once, and each kind is dispatched to its own module.
//!
//! It refuses a configuration that cannot work, with the field and what is allowed. It schedules nothing.

use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use tokio::time::timeout;

use crate::config::{ProbeConfig, ProbeKind, ProbeProblem};
use crate::exec::{self, ExecCommand};
use crate::http::{self, HttpRequest};
use crate::net::{self, HostPort};
use crate::result::CheckResult;

/// How to make one check.
#[derive(Clone, Debug)]
pub(crate) enum PreparedCheck {
    Http(Box<HttpRequest>),
    Tcp(HostPort),
    Exec(ExecCommand),
    /// The check cannot be made, for this reason.
    Broken(String),
}

impl PreparedCheck {
    /// Parses a configuration.
    pub(crate) fn new(config: &ProbeConfig) -> Result<Self, ProbeProblem> {
        let missing = |field, example: &str| ProbeProblem {
            field,
            message: format!("is missing: kind = \"{}\" needs it, such as {example}", config.kind.as_str()),
            fatal: true,
        };
        match config.kind {
            ProbeKind::Http => {
                let url = config.url.as_deref().ok_or_else(|| missing("url", "\"http://127.0.0.1:8000/health\""))?;
                request(config, url).map(Box::new).map(Self::Http)
            }
            ProbeKind::Tcp => {
                let address = config.address.as_deref().ok_or_else(|| missing("address", "\"127.0.0.1:5432\""))?;
                // The address may come from the environment, so a bad one fails this check only.
                HostPort::parse(address).map(Self::Tcp).ok_or_else(|| ProbeProblem {
                    field: "address",
                    message: format!("`{address}` is no address; write HOST:PORT, such as 127.0.0.1:5432"),
                    fatal: false,
                })
            }
            ProbeKind::Exec => match config.command.as_deref() {
                Some([program, arguments @ ..]) if !program.is_empty() => Ok(Self::Exec(ExecCommand {
                    program: program.clone(),
                    arguments: arguments.to_vec(),
                    environment: config.environment.clone(),
                })),
                _ => Err(missing("command", "[\"./check\", \"--fast\"]")),
            },
        }
    }

    /// Parses a configuration. If it cannot work, the check fails each time and says why.
    pub(crate) fn new_or_broken(config: &ProbeConfig) -> Self {
        Self::new(config).unwrap_or_else(|problem| Self::Broken(problem.to_string()))
    }

    /// Makes the check. It ends within the given time.
    pub(crate) async fn run(&self, within: Duration) -> CheckResult {
        let looking = async {
            match self {
                Self::Http(request) => Box::pin(http::check(request, within)).await,
                Self::Tcp(target) => net::check(target, within).await,
                Self::Exec(command) => exec::check(command).await,
                Self::Broken(why) => CheckResult::failed("config", why.clone()),
            }
        };
        timeout(within, looking).await.unwrap_or_else(|_| CheckResult::timed_out(within))
    }

    /// How often the check is made while the service starts. A command starts a process each time, so it is made less often.
    pub(crate) fn startup_period(&self) -> Duration {
        match self {
            Self::Exec(_) => Duration::from_millis(100),
            Self::Http(_) | Self::Tcp(_) | Self::Broken(_) => Duration::from_millis(50),
        }
    }
}

fn request(config: &ProbeConfig, url: &str) -> Result<HttpRequest, ProbeProblem> {
    // The URL may come from the environment, so a bad one fails this check only.
    let bad = |why: &str| ProbeProblem { field: "url", message: format!("`{url}` {why}"), fatal: false };
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
    // `Uri::port` is not used, because it takes a port that is out of range for no port.
    let port = match authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':')) {
        None | Some("") => 80,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| bad(form))?,
    };
    let target = HostPort::new(authority.host(), port).ok_or_else(|| bad(form))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();

    let wrong = |field, message: String| ProbeProblem { field, message, fatal: true };
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
    Ok(HttpRequest { target, path, method, headers, expect, body_status })
}
