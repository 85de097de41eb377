//! The hosts of a grant, and which of them a request goes to.
//!
//! It compares names and ports and nothing else; `address` judges what a name resolves to. There are no wildcards: a
//! grant spells every name.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use http::header::{self, HeaderName, HeaderValue};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::world::address::{self, AddressClass};

/// A granted host: `"hooks.example.com"`, or a table with more.
///
/// | written | allows |
/// |---|---|
/// | `"example.com"` | https on port 443 |
/// | `"example.com:8443"` | https or http, on that port |
/// | `"https://example.com:8443"` | https, on that port; 443 if left out |
/// | `"http://example.com:8080"` | http, on that port; 80 if left out |
/// | `{ host = "...", private = true }` | the name may resolve to a private or loopback address |
/// | `{ host = "...", headers = { authorization = "..." } }` | the host adds these headers, and only to requests that go there |
///
/// Where headers are added, only https is spoken, unless the grant says `http://`: a plug-in that chose the scheme
/// could otherwise have the headers sent in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "EndpointForm")]
pub struct Endpoint {
    origin: HostPort,
    private: bool,
    headers: BTreeMap<String, Secret>,
}

/// What is shown in place of a secret.
const HIDDEN: &str = "(secret)";

/// A text that is used and never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Keeps a text from being shown.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for use.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.serialize_str(HIDDEN)
    }
}

impl Endpoint {
    /// Whether its name may resolve to a private or loopback address. A literal address and `localhost` always may: the
    /// operator knows where they lead.
    pub(crate) fn may_be_private(&self) -> bool {
        self.private || self.origin.host.is_literal()
    }

    pub(crate) fn covers(&self, target: &RequestTarget) -> bool {
        let HostPort { scheme, host, port } = &self.origin;
        *host == target.host && *port == target.port && scheme.is_none_or(|scheme| scheme == target.scheme)
    }

    /// The headers that the host adds. They were checked when they were read; one that fails here is left out.
    pub(crate) fn injected(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
        self.headers.iter().filter_map(|(name, secret)| {
            let mut value = HeaderValue::from_str(secret.reveal()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_str(name).ok()?, value))
        })
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        EndpointForm::Host(text.to_owned()).try_into()
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        let Self { origin, private, headers } = self;
        if !private && headers.is_empty() {
            return into.collect_str(origin);
        }
        let mut table = into.serialize_struct("Endpoint", 3)?;
        table.serialize_field("host", &origin.to_string())?;
        table.serialize_field("private", private)?;
        table.serialize_field("headers", headers)?;
        table.end()
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a host is granted as \"host:port\" or as { host = \"host:port\", private = true, headers = { authorization = \"...\" } }"
)]
enum EndpointForm {
    Host(String),
    Whole(EndpointTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointTable {
    host: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl TryFrom<EndpointForm> for Endpoint {
    type Error = String;

    fn try_from(form: EndpointForm) -> Result<Self, String> {
        let EndpointTable { host, private, headers } = match form {
            EndpointForm::Host(host) => EndpointTable { host, private: false, headers: BTreeMap::new() },
            EndpointForm::Whole(table) => table,
        };
        let mut origin: HostPort = host.parse()?;
        if let EndpointHost::Address(ip) = origin.host
            && let AddressClass::Never(what) = address::class(ip)
        {
            return Err(format!("{host} cannot be granted: {what}, which no plug-in may reach"));
        }
        let mut known = BTreeMap::new();
        for (name, value) in headers {
            let name = injectable(&name, &value)?;
            if known.insert(name.as_str().to_owned(), Secret::new(value)).is_some() {
                return Err(format!("the header `{name}` is there twice"));
            }
        }
        if !known.is_empty() {
            origin.scheme.get_or_insert(Scheme::Https);
        }
        Ok(Self { origin, private, headers: known })
    }
}

/// Checks a header that the operator wants added. Errors name the header and never its value.
fn injectable(name: &str, value: &str) -> Result<HeaderName, String> {
    let parsed = HeaderName::from_str(name).map_err(|_| format!("`{name}` is no name of a header"))?;
    if is_reserved(&parsed) || parsed == header::CONTENT_LENGTH {
        return Err(format!("the header `{name}` is heald's own to set"));
    }
    if value == HIDDEN {
        return Err(format!(
            "the header `{name}` has `{HIDDEN}` for a value, which stands where heald printed a secret"
        ));
    }
    HeaderValue::from_str(value)
        .map_err(|_| format!("the value of the header `{name}` has characters no header can have"))?;
    Ok(parsed)
}

/// Headers that say how a message is framed or routed, or whose connection it is: neither plug-ins nor operators set
/// them.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    const MORE: [&str; 4] = ["keep-alive", "proxy-connection", "http2-settings", "proxy-authenticate"];
    const RESERVED: [HeaderName; 8] = [
        header::HOST,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
        header::PROXY_AUTHORIZATION,
    ];
    RESERVED.contains(name) || MORE.contains(&name.as_str())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A host and a port, with a scheme if only one is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    scheme: Option<Scheme>,
    host: EndpointHost,
    port: u16,
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is no host: {why}");
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Some(Scheme::Https), rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Some(Scheme::Http), rest),
            Some((scheme, _)) => return Err(wrong(&format!("only http and https are spoken, not {scheme}"))),
            None => (None, text),
        };
        if let Some(stray) = rest.chars().find(|letter| "/?#@*".contains(*letter)) {
            return Err(wrong(match stray {
                '@' => "a user and password belong into a header",
                '*' => "there are no wildcards; grant each host by its name",
                _ => "a path cannot be granted, the host is granted with all its paths",
            }));
        }
        let (host, port) = match rest.rfind(':').filter(|colon| !rest.get(*colon..).unwrap_or_default().contains(']')) {
            Some(colon) => rest.split_at(colon),
            None => (rest, ""),
        };
        let host = EndpointHost::parse(host).ok_or_else(|| {
            wrong("wanted is a name in ASCII letters, an address such as 10.0.0.7, or one such as [::1] in brackets")
        })?;
        let port = match port.strip_prefix(':') {
            Some(port) => {
                let number = port.parse().ok().filter(|number| *number != 0);
                Some(number.ok_or_else(|| wrong("a port is a number from 1 to 65535"))?)
            }
            None => None,
        };
        Ok(match (scheme, port) {
            (scheme, Some(port)) => Self { scheme, host, port },
            (scheme, None) => {
                let scheme = scheme.unwrap_or(Scheme::Https);
                Self { scheme: Some(scheme), host, port: scheme.default_port() }
            }
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        match scheme {
            Some(scheme) => write!(f, "{}://{host}:{port}", scheme.as_str()),
            None => write!(f, "{host}:{port}"),
        }
    }
}

/// A host: a name in lower case without a final dot, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EndpointHost {
    Name(String),
    Address(IpAddr),
}

impl EndpointHost {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(ip).to_canonical()));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Ok(ip) = text.parse() {
            return Some(Self::Address(IpAddr::V4(ip)));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let last = text.rsplit('.').next()?;
        // Many resolvers take 127.1, 0x7f.1 and 2130706433 for addresses, so a name that looks like one is refused.
        let looks_like_address =
            last.bytes().all(|byte| byte.is_ascii_digit()) || last.to_ascii_lowercase().starts_with("0x");
        let is_name = text.len() <= 253 && text.split('.').all(is_label) && !looks_like_address;
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }

    /// Whether no resolver decides where it leads.
    fn is_literal(&self) -> bool {
        match self {
            Self::Address(_) => true,
            Self::Name(name) => name == "localhost",
        }
    }
}

impl fmt::Display for EndpointHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// The scheme, host and port of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestTarget {
    pub(crate) scheme: Scheme,
    pub(crate) host: EndpointHost,
    pub(crate) port: u16,
}

impl RequestTarget {
    /// The target of a URI; None: no host can have that URI.
    pub(crate) fn of(uri: &http::Uri) -> Option<Self> {
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return None,
        };
        let authority = uri.authority()?.as_str();
        let origin: HostPort = format!("{}://{authority}", scheme.as_str()).parse().ok()?;
        Some(Self { scheme, host: origin.host, port: origin.port })
    }

    /// The `host` header of a request that goes there.
    pub(crate) fn host_header(&self) -> Option<HeaderValue> {
        let text = if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        };
        HeaderValue::from_str(&text).ok()
    }
}

impl fmt::Display for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn granted(value: Value) -> Endpoint {
        serde_json::from_value(value).unwrap()
    }

    fn covers(endpoint: &Endpoint, uri: &str) -> bool {
        RequestTarget::of(&uri.parse().unwrap()).is_some_and(|target| endpoint.covers(&target))
    }

    #[test]
    fn a_request_is_covered_by_host_port_and_scheme() {
        let table = [
            ("example.com", "https://example.com/x", true),
            ("example.com", "https://EXAMPLE.com.:443/x", true),
            ("example.com", "http://example.com/", false),
            ("example.com", "http://example.com:443/", false),
            ("example.com", "https://example.com:8443/", false),
            ("example.com", "https://www.example.com/", false),
            ("example.com", "https://example.com.evil.net/", false),
            ("example.com", "https://example.comm/", false),
            ("Example.COM.:8443", "https://example.com:8443/", true),
            ("example.com:8443", "http://example.com:8443/", true),
            ("example.com:8443", "https://example.com/", false),
            ("https://example.com:8443", "http://example.com:8443/", false),
            ("http://example.com", "http://example.com/", true),
            ("http://example.com", "https://example.com/", false),
            ("10.0.0.7:80", "http://10.0.0.7/", true),
            ("[::1]:80", "http://[::1]/", true),
            ("[::1]:80", "http://[0:0:0:0:0:0:0:1]:80/", true),
            ("127.0.0.1:80", "http://[::ffff:127.0.0.1]/", true),
            ("127.0.0.1:80", "http://127.1/", false),
            ("127.0.0.1:80", "http://2130706433/", false),
            ("127.0.0.1:80", "http://localhost/", false),
            ("example.com", "https://example.com@evil.net/", false),
            ("example.com", "https://evil.net@example.com/", false),
            ("example.com:443", "ftp://example.com:443/", false),
        ];
        for (grant, uri, expected) in table {
            assert_eq!(covers(&grant.parse().unwrap(), uri), expected, "{grant} and {uri}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_with_what_would_be_one() {
        for (text, word) in [
            ("", "a name in ASCII"),
            ("example.com:0", "1 to 65535"),
            ("example.com:http", "1 to 65535"),
            ("example.com:", "1 to 65535"),
            ("*.example.com", "no wildcards"),
            ("https://example.com/hook", "all its paths"),
            ("user:pass@example.com", "into a header"),
            ("ftp://example.com", "only http and https"),
            ("exämple.com", "ASCII"),
            ("::1", "in brackets"),
            ("[::1%eth0]:80", "in brackets"),
            ("a..b", "ASCII"),
            ("127.1:80", "ASCII"),
            ("0x7f000001", "ASCII"),
            ("169.254.169.254:80", "metadata"),
            ("[fe80::1]:80", "link-local"),
            ("0.0.0.0:80", "no plug-in may reach"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn an_origin_is_read_back_as_it_is_written() {
        for text in
            ["example.com", "a:1", "http://b", "https://[::1]:8443", "[2001:db8::1]:9", "10.0.0.7", "localhost:80"]
        {
            let origin: HostPort = text.parse().unwrap();
            assert_eq!(origin.to_string().parse::<HostPort>().unwrap(), origin, "{text}");
        }
    }

    #[test]
    fn secrets_are_used_and_never_shown() {
        let value =
            json!({"host": "api.example.com:8443", "headers": {"Authorization": "Bearer hush", "x-key": "hush"}});
        let endpoint = granted(value);
        let injected: Vec<_> = endpoint.injected().collect();
        assert_eq!(injected[0].0, "authorization");
        assert_eq!(injected[0].1, "Bearer hush");
        assert!(injected.iter().all(|(_, value)| value.is_sensitive()));
        let shown = serde_json::to_string(&endpoint).unwrap();
        assert_eq!(
            shown,
            r#"{"host":"https://api.example.com:8443","private":false,"headers":{"authorization":"(secret)","x-key":"(secret)"}}"#
        );
        for text in [shown, format!("{endpoint:?}"), format!("{injected:?}")] {
            assert!(!text.contains("hush"), "{text}");
        }
        assert_eq!(serde_json::to_value(granted(json!("localhost:80"))).unwrap(), json!("localhost:80"));
    }

    #[test]
    fn where_secrets_go_only_https_is_spoken_unless_http_is_spelled() {
        let headers = json!({"authorization": "hush"});
        let bare = granted(json!({"host": "example.com:8080", "headers": headers}));
        assert!(covers(&bare, "https://example.com:8080/") && !covers(&bare, "http://example.com:8080/"));
        let plain = granted(json!({"host": "http://example.com:8080", "headers": headers}));
        assert!(covers(&plain, "http://example.com:8080/"));
    }

    #[test]
    fn a_header_that_cannot_be_injected_is_named_and_its_value_is_not() {
        for (name, value, word) in [
            ("host", "hush", "heald's own"),
            ("Transfer-Encoding", "hush", "heald's own"),
            ("content-length", "hush", "heald's own"),
            ("a b", "hush", "no name"),
            ("x-key", "hush\r\nx-other: 1", "no header can have"),
            ("x-key", "(secret)", "printed a secret"),
        ] {
            let table = json!({"host": "example.com", "headers": {name: value}});
            let error = serde_json::from_value::<Endpoint>(table).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("hush"), "{name}: {error}");
        }
        let twice = json!({"host": "example.com", "headers": {"X-Key": "1", "x-key": "2"}});
        assert!(serde_json::from_value::<Endpoint>(twice).unwrap_err().to_string().contains("twice"));
        let unknown = json!({"host": "example.com", "privat": true});
        assert!(serde_json::from_value::<Endpoint>(unknown).unwrap_err().to_string().contains("private = true"));
    }
}
