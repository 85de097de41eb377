//! A request as wasi:http wants it, piece by piece. Resources are dropped in the order in which they were borrowed from one another,
//! as the interface demands: a stream before its body, a body before its request.

use crate::bindings::outgoing::wasi::http::outgoing_handler;
use crate::bindings::outgoing::wasi::http::types::{
    ErrorCode, Fields, HeaderError, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use crate::bindings::outgoing::wasi::io::streams::StreamError;
use crate::http::{Error, Request, Response};

/// What a stream takes in one piece, as WASI has it.
const PIECE: usize = 4_096;

pub(super) fn send(request: &Request) -> Result<Response, Error> {
    let outgoing = OutgoingRequest::new(headers(request)?);
    address(&outgoing, request)?;
    // Taken before the request is handed over, written after: the host then sends it on as it comes.
    let body = match request.body.is_empty() {
        true => None,
        false => Some(outgoing.body().map_err(|()| bad("a body", "of this request"))?),
    };
    let coming = outgoing_handler::handle(outgoing, Some(options(request))).map_err(of_code)?;
    let written = body.map_or(Ok(()), |body| write(body, &request.body));
    coming.subscribe().block();
    let answer = match coming.get() {
        Some(Ok(answer)) => answer.map_err(of_code)?,
        Some(Err(())) | None => return Err(Error::Failed("the host has no answer".to_owned())),
    };
    // A server may refuse a body before it has read all of it, and that is an answer; one that is pleased with half of it is not.
    match (read(&answer), written) {
        (Ok(response), Err(error)) if response.is_success() => Err(error),
        (response, _) => response,
    }
}

fn headers(request: &Request) -> Result<Fields, Error> {
    let fields = Fields::new();
    for (name, value) in &request.headers {
        fields.append(name, value.as_bytes()).map_err(|error| match error {
            HeaderError::Forbidden => Error::Denied(format!("the header `{name}` is the host's own to set")),
            HeaderError::InvalidSyntax | HeaderError::Immutable => bad("header", name),
        })?;
    }
    // The length is known; without it the body would go out in chunks, which not every receiver takes.
    let says_length = request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !request.body.is_empty() && !says_length {
        let length = request.body.len().to_string();
        fields.append("content-length", length.as_bytes()).map_err(|_| bad("length", &length))?;
    }
    Ok(fields)
}

fn address(outgoing: &OutgoingRequest, request: &Request) -> Result<(), Error> {
    let url = request.url.split('#').next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("address", &request.url))?;
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return Err(bad("address", &request.url)),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let method = match request.method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    };
    outgoing.set_method(&method).map_err(|()| bad("method", &request.method))?;
    let set = outgoing.set_scheme(Some(&scheme)).and_then(|()| outgoing.set_authority(Some(authority)));
    set.and_then(|()| outgoing.set_path_with_query(Some(&path))).map_err(|()| bad("address", &request.url))
}

fn options(request: &Request) -> RequestOptions {
    let options = RequestOptions::new();
    if let Some(timeout) = request.timeout {
        let nanos = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        // A host that does not know one of these has bounds of its own.
        let _ = options.set_connect_timeout(nanos);
        let _ = options.set_first_byte_timeout(nanos);
        let _ = options.set_between_bytes_timeout(nanos);
    }
    options
}

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), Error> {
    let stream = body.write().map_err(|()| Error::Failed("the body has no stream".to_owned()))?;
    for piece in bytes.chunks(PIECE) {
        // What went wrong, the answer says better: that nobody reads on is all that can be seen from here.
        stream.blocking_write_and_flush(piece).map_err(|_| Error::Unreachable("the body was not taken".to_owned()))?;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(of_code)
}

fn read(answer: &IncomingResponse) -> Result<Response, Error> {
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    let headers = answer.headers().entries().into_iter().map(|(name, value)| (name, text(value))).collect();
    let mut response = Response { status: answer.status(), headers, body: Vec::new() };
    let gone = |()| Error::Failed("the answer has no body".to_owned());
    let body = answer.consume().map_err(gone)?;
    let stream = body.stream().map_err(gone)?;
    loop {
        match stream.blocking_read(u64::try_from(PIECE).unwrap_or(u64::MAX)) {
            Ok(piece) => response.body.extend_from_slice(&piece),
            Err(StreamError::Closed) => return Ok(response),
            Err(StreamError::LastOperationFailed(error)) => return Err(of_stream(&error.to_debug_string())),
        }
    }
}

/// A stream's error has words and no code.
fn of_stream(words: &str) -> Error {
    if words.contains("BodySize") || words.contains("body size") {
        Error::TooLarge
    } else if words.contains("Timeout") || words.contains("timeout") {
        Error::TimedOut
    } else {
        Error::Unreachable(format!("the answer broke off: {words}"))
    }
}

fn bad(what: &str, which: &str) -> Error {
    Error::Bad(format!("`{which}` is no {what}"))
}

fn of_code(code: ErrorCode) -> Error {
    use ErrorCode as Code;
    match code {
        Code::HttpRequestDenied => Error::Denied("the host does not let a request go there".to_owned()),
        Code::DestinationIpProhibited => Error::Denied("the host does not let a request go to that address".to_owned()),
        Code::ConnectionLimitReached => Error::Denied("too many requests in one call".to_owned()),
        Code::HttpRequestUriInvalid | Code::HttpRequestUriTooLong => Error::Bad("the address is none".to_owned()),
        Code::HttpRequestMethodInvalid => Error::Bad("the method is none".to_owned()),
        Code::DnsTimeout
        | Code::ConnectionTimeout
        | Code::ConnectionReadTimeout
        | Code::ConnectionWriteTimeout
        | Code::HttpResponseTimeout => Error::TimedOut,
        Code::HttpRequestBodySize(_) | Code::HttpResponseBodySize(_) => Error::TooLarge,
        Code::DnsError(_) | Code::DestinationNotFound => Error::Unreachable("the name was not resolved".to_owned()),
        Code::ConnectionRefused => Error::Unreachable("the connection was refused".to_owned()),
        Code::DestinationUnavailable | Code::DestinationIpUnroutable => {
            Error::Unreachable("there is no way there".to_owned())
        }
        Code::ConnectionTerminated | Code::HttpResponseIncomplete => {
            Error::Unreachable("the connection broke off".to_owned())
        }
        Code::TlsCertificateError => Error::Failed("the certificate is not trusted, or for another host".to_owned()),
        other => Error::Failed(format!("{other:?}")),
    }
}
