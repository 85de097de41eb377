//! What kind of address an address is. Pure; it decides by numbers alone and asks nobody.
//!
//! Some are never reached: those of the link, on which clouds answer with credentials, those that are no one host's, and those
//! that only wrap another so as to look like something else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is to be thought of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of the internet.
    Public,
    /// Of this machine or this site: only where the operator means it.
    Private,
    /// Of nobody's business, and why.
    Never(&'static str),
}

/// Metadata services that are not link-local.
const METADATA: [IpAddr; 8] = [
    // Alibaba, Azure's wire server, Oracle's older one.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // AWS: instances and containers; Google, Oracle, Scaleway.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
];

/// The kind of an address, or of the one that is hidden in it.
pub(crate) fn kind(ip: IpAddr) -> Kind {
    if METADATA.contains(&ip) {
        return Kind::Never("it is a cloud's metadata service");
    }
    match ip {
        IpAddr::V4(ip) => kind_v4(ip),
        IpAddr::V6(ip) => kind_v6(ip),
    }
}

fn kind_v4(ip: Ipv4Addr) -> Kind {
    let [a, b, c, _] = ip.octets();
    if ip.is_link_local() {
        // 169.254.169.254 and its neighbours.
        Kind::Never("it is link-local, where clouds keep their metadata")
    } else if a == 0 {
        Kind::Never("it is unspecified")
    } else if ip.is_multicast() {
        Kind::Never("it is multicast")
    } else if a >= 240 {
        Kind::Never("it is broadcast or reserved")
    } else if (a, b, c) == (192, 0, 0) {
        Kind::Never("it is reserved for protocols")
    } else if ip.is_loopback() || ip.is_private() || is_shared(a, b) || (a == 198 && (b & 0xfe) == 18) {
        Kind::Private
    } else {
        Kind::Public
    }
}

/// 100.64.0.0/10, between a provider and its customers.
const fn is_shared(a: u8, b: u8) -> bool {
    a == 100 && (b & 0xc0) == 64
}

fn kind_v6(ip: Ipv6Addr) -> Kind {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = ip.segments();
    let last = embedded(s6, s7);
    match (s0, s1) {
        _ if ip.is_unspecified() => Kind::Never("it is unspecified"),
        _ if ip.is_loopback() => Kind::Private,
        _ if ip.is_multicast() => Kind::Never("it is multicast"),
        // Link-local, and site-local as it once was.
        _ if (s0 & 0xff80) == 0xfe80 => Kind::Never("it is link-local"),
        _ if (s0 & 0xfe00) == 0xfc00 => Kind::Private,
        // Mapped (::ffff:a.b.c.d), translated (::ffff:0:a.b.c.d) and compatible (::a.b.c.d): what counts is within.
        (0, 0) if (s2, s3) == (0, 0) && matches!((s4, s5), (0, 0xffff) | (0xffff, 0) | (0, 0)) => kind(last),
        // NAT64, and 6to4.
        (0x64, 0xff9b) if (s2, s3, s4, s5) == (0, 0, 0, 0) => kind(last),
        (0x64, 0xff9b) => Kind::Never("it is translated to an address that cannot be told"),
        (0x2002, _) => kind(embedded(s1, s2)),
        (0x2001, 0) => Kind::Never("it is a Teredo tunnel's"),
        _ => Kind::Public,
    }
}

fn embedded(high: u16, low: u16) -> IpAddr {
    let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disguise_is_seen_through() {
        let never = [
            "169.254.169.254",
            "169.254.170.2",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "::",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::ffff:100.100.100.200",
            "2001:0:1::1",
            "::ffff:0.0.0.0",
        ];
        let private = [
            "127.0.0.1",
            "127.255.255.254",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "198.18.0.1",
            "::1",
            "fc00::1",
            "fd12:3456::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "::127.0.0.1",
        ];
        let public = [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "172.15.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "192.169.0.1",
            "11.0.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ];
        for text in never {
            assert!(matches!(kind(text.parse().unwrap()), Kind::Never(_)), "{text}");
        }
        for text in private {
            assert_eq!(kind(text.parse().unwrap()), Kind::Private, "{text}");
        }
        for text in public {
            assert_eq!(kind(text.parse().unwrap()), Kind::Public, "{text}");
        }
    }
}
