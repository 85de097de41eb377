//! A fresh TCP connection to where a check looks, and what its failing means.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::result::Look;

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Place {
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

    /// The addresses behind the name. An address is itself, and `localhost` is the loopback by definition (RFC 6761): only
    /// true names cost a resolver.
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, Look> {
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

    fn unknown(&self, why: &str) -> Look {
        Look::failed("dns", format!("Cannot resolve host {}: {why}", self.host))
    }

    /// Connects to the first of the addresses that answers. Each gets an equal share of the time, so that a black hole in
    /// front does not hide one that works.
    pub(crate) async fn connect(&self, addresses: &[SocketAddr], within: Duration) -> Result<TcpStream, Look> {
        let share = within / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut failure = None;
        for address in addresses {
            match timeout(share, attempt(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = Some(error),
                Err(_) if addresses.len() == 1 => return Err(Look::timed_out(within)),
                Err(_) => failure = Some(Error::from(ErrorKind::TimedOut)),
            }
        }
        Err(self.explain(&failure.unwrap_or_else(|| Error::from(ErrorKind::NotFound)), within))
    }

    /// What an error while connecting or talking says about the service, or about us.
    pub(crate) fn explain(&self, error: &Error, within: Duration) -> Look {
        use rustix::io::Errno;
        // Out of descriptors, memory or local ports: nobody asked the service anything.
        let ours = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ADDRNOTAVAIL, Errno::PERM];
        if Errno::from_io_error(error).is_some_and(|errno| ours.contains(&errno)) {
            return Look::unable("connecting", error);
        }
        let Self { host, port } = self;
        match error.kind() {
            ErrorKind::ConnectionRefused => Look::failed("refused", format!("Connection refused on port {port}")),
            ErrorKind::TimedOut => Look::timed_out(within),
            ErrorKind::HostUnreachable => Look::failed("unreachable", format!("Host {host} is unreachable")),
            ErrorKind::NetworkUnreachable => Look::failed("unreachable", format!("Network of {host} is unreachable")),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
                Look::failed("unreachable", format!("Connection closed on port {port} before an answer"))
            }
            _ => Look::failed("unreachable", format!("Cannot talk to {host}:{port}: {error}")),
        }
    }
}

async fn attempt(address: SocketAddr) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect(address).await?;
    // A loopback port in the ephemeral range that nobody listens on can, once in some ten thousand tries, be connected to
    // itself. That is nobody's answer.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(Error::from(ErrorKind::ConnectionRefused));
    }
    Ok(stream)
}

/// Checks that somebody accepts connections.
pub(crate) async fn look(place: &Place, within: Duration) -> Look {
    let addresses = match place.resolve().await {
        Ok(addresses) => addresses,
        Err(look) => return look,
    };
    let begun = tokio::time::Instant::now();
    match place.connect(&addresses, within).await {
        Ok(_) => Look { latency: Some(begun.elapsed()), ..Look::passed() },
        Err(look) => look,
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
            assert_eq!(Place::parse(text), Some(Place { host: host.to_owned(), port }), "{text}");
        }
        for wrong in ["", "db", "db:", ":80", "db:0", "db:70000", "[::1:80", "[db]:80", "a b:80", "http://x:80", "::1"]
        {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_we_lack_is_no_verdict_about_the_service() {
        use rustix::io::Errno;
        let place = Place::parse("db:5432").unwrap();
        let explain = |errno: Errno| {
            let look = place.explain(&errno.into(), Duration::from_secs(5));
            (look.ok, look.fault, look.message.unwrap())
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
