//! The tcp check, and the TCP connections of the http check.
//!
//! It opens a new connection for each check and never reuses one. Errors of this machine give no verdict about the service.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::result::CheckResult;

/// The host and port to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl HostPort {
    /// Reads `HOST:PORT`, where the host may be a name, an IPv4 address or an IPv6 address in brackets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        Self::new(host, port)
    }

    pub(crate) fn new(host: &str, port: u16) -> Option<Self> {
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let fits = match bracketed {
            Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
        };
        fits.then(|| Self { host: bracketed.unwrap_or(host).to_owned(), port })
    }

    /// The addresses of the host. `localhost` is the loopback by definition (RFC 6761), so only other names need a resolver.
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, CheckResult> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        if self.host.eq_ignore_ascii_case("localhost") {
            let both = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
            return Ok(both.map(|address| SocketAddr::new(address, self.port)).to_vec());
        }
        match lookup_host((self.host.as_str(), self.port)).await {
            Ok(found) => {
                let found: Vec<_> = found.collect();
                if found.is_empty() { Err(self.unknown("no address")) } else { Ok(found) }
            }
            Err(error) => Err(self.unknown(&error.to_string())),
        }
    }

    fn unknown(&self, why: &str) -> CheckResult {
        CheckResult::failed("dns", format!("Cannot resolve host {}: {why}", self.host))
    }

    /// Connects to the first address that answers. Each address gets an equal share of the time, so that one that never
    /// answers does not hide another that works.
    pub(crate) async fn connect(&self, addresses: &[SocketAddr], within: Duration) -> Result<TcpStream, CheckResult> {
        let share = within / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut failure = None;
        for address in addresses {
            match timeout(share, attempt(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = Some(error),
                Err(_) if addresses.len() == 1 => return Err(CheckResult::timed_out(within)),
                Err(_) => failure = Some(Error::from(ErrorKind::TimedOut)),
            }
        }
        Err(self.explain(&failure.unwrap_or_else(|| Error::from(ErrorKind::NotFound)), within))
    }

    /// Turns an error of a connection into a result: a failure of the service, or no verdict if this machine caused it.
    pub(crate) fn explain(&self, error: &Error, within: Duration) -> CheckResult {
        use rustix::io::Errno;
        // Out of descriptors, memory or local ports: the request did not reach the service.
        let ours = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ADDRNOTAVAIL, Errno::PERM];
        if Errno::from_io_error(error).is_some_and(|errno| ours.contains(&errno)) {
            return CheckResult::unable("connecting", error);
        }
        let Self { host, port } = self;
        match error.kind() {
            ErrorKind::ConnectionRefused => {
                CheckResult::failed("refused", format!("Connection refused on port {port}"))
            }
            ErrorKind::TimedOut => CheckResult::timed_out(within),
            ErrorKind::HostUnreachable => CheckResult::failed("unreachable", format!("Host {host} is unreachable")),
            ErrorKind::NetworkUnreachable => {
                CheckResult::failed("unreachable", format!("Network of {host} is unreachable"))
            }
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
                CheckResult::failed("unreachable", format!("Connection closed on port {port} before an answer"))
            }
            _ => CheckResult::failed("unreachable", format!("Cannot talk to {host}:{port}: {error}")),
        }
    }
}

async fn attempt(address: SocketAddr) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect(address).await?;
    // If nobody listens on a loopback port of the ephemeral range, a socket can connect to itself, about once in ten thousand
    // tries. Nobody answered then.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(Error::from(ErrorKind::ConnectionRefused));
    }
    Ok(stream)
}

/// Checks that the target accepts connections.
pub(crate) async fn check(target: &HostPort, within: Duration) -> CheckResult {
    let addresses = match target.resolve().await {
        Ok(addresses) => addresses,
        Err(result) => return result,
    };
    let begun = tokio::time::Instant::now();
    match target.connect(&addresses, within).await {
        Ok(_) => CheckResult { latency: Some(begun.elapsed()), ..CheckResult::passed() },
        Err(result) => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_a_host_and_a_port() {
        for (text, host, port) in
            [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:8000", "::1", 8_000), ("db.x-1:5", "db.x-1", 5)]
        {
            assert_eq!(HostPort::parse(text), Some(HostPort { host: host.to_owned(), port }), "{text}");
        }
        for wrong in ["", "db", "db:", ":80", "db:0", "db:70000", "[::1:80", "[db]:80", "a b:80", "http://x:80", "::1"]
        {
            assert_eq!(HostPort::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_we_lack_is_no_verdict_about_the_service() {
        use rustix::io::Errno;
        let target = HostPort::parse("db:5432").unwrap();
        let explain = |errno: Errno| {
            let result = target.explain(&errno.into(), Duration::from_secs(5));
            (result.ok, result.fault, result.message.unwrap())
        };
        for ours in [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS] {
            let (ok, fault, message) = explain(ours);
            assert_eq!((ok, fault), (None, Some("prober")), "{message}");
        }
        for (errno, fault, message) in [
            (Errno::CONNREFUSED, "refused", "Connection refused on port 5432"),
            (Errno::TIMEDOUT, "timeout", "Timeout after 5.0s"),
            (Errno::HOSTUNREACH, "unreachable", "Host db is unreachable"),
            (Errno::NETUNREACH, "unreachable", "Network of db is unreachable"),
            (Errno::CONNRESET, "unreachable", "Connection closed on port 5432 before an answer"),
        ] {
            assert_eq!(explain(errno), (Some(false), Some(fault), message.to_owned()));
        }
    }
}
