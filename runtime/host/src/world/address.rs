//! Classifies addresses: public, private, or never reached. It is pure: it decides by numbers alone.
//!
//! Some addresses are never reached: link-local ones, on which clouds answer with credentials; those that belong to no
//! single host; and those that wrap another address to look like something else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The class of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressClass {
    /// An address of the internet.
    Public,
    /// An address of this machine or this site: reached only where the operator means it.
    Private,
    /// An address that is never reached, and why.
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

/// The class of an address, or of the address that is hidden in it.
pub(crate) fn class(ip: IpAddr) -> AddressClass {
    if METADATA.contains(&ip) {
        return AddressClass::Never("it is a cloud's metadata service");
    }
    match ip {
        IpAddr::V4(ip) => class_v4(ip),
        IpAddr::V6(ip) => class_v6(ip),
    }
}

fn class_v4(ip: Ipv4Addr) -> AddressClass {
    let [a, b, c, _] = ip.octets();
    if ip.is_link_local() {
        // 169.254.169.254 and its neighbours.
        AddressClass::Never("it is link-local, where clouds keep their metadata")
    } else if a == 0 {
        AddressClass::Never("it is unspecified")
    } else if ip.is_multicast() {
        AddressClass::Never("it is multicast")
    } else if a >= 240 {
        AddressClass::Never("it is broadcast or reserved")
    } else if (a, b, c) == (192, 0, 0) {
        AddressClass::Never("it is reserved for protocols")
    } else if ip.is_loopback() || ip.is_private() || is_shared(a, b) || (a == 198 && (b & 0xfe) == 18) {
        AddressClass::Private
    } else {
        AddressClass::Public
    }
}

/// 100.64.0.0/10, which providers use between them and their customers.
const fn is_shared(a: u8, b: u8) -> bool {
    a == 100 && (b & 0xc0) == 64
}

fn class_v6(ip: Ipv6Addr) -> AddressClass {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = ip.segments();
    let last = embedded(s6, s7);
    match (s0, s1) {
        _ if ip.is_unspecified() => AddressClass::Never("it is unspecified"),
        _ if ip.is_loopback() => AddressClass::Private,
        _ if ip.is_multicast() => AddressClass::Never("it is multicast"),
        // Link-local, and the former site-local.
        _ if (s0 & 0xff80) == 0xfe80 => AddressClass::Never("it is link-local"),
        _ if (s0 & 0xfe00) == 0xfc00 => AddressClass::Private,
        // Mapped (::ffff:a.b.c.d), translated (::ffff:0:a.b.c.d) and compatible (::a.b.c.d): the inner address counts.
        (0, 0) if (s2, s3) == (0, 0) && matches!((s4, s5), (0, 0xffff) | (0xffff, 0) | (0, 0)) => class(last),
        // NAT64, and 6to4.
        (0x64, 0xff9b) if (s2, s3, s4, s5) == (0, 0, 0, 0) => class(last),
        (0x64, 0xff9b) => AddressClass::Never("it is translated to an address that cannot be told"),
        (0x2002, _) => class(embedded(s1, s2)),
        (0x2001, 0) => AddressClass::Never("it is a Teredo tunnel's"),
        _ => AddressClass::Public,
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
            assert!(matches!(class(text.parse().unwrap()), AddressClass::Never(_)), "{text}");
        }
        for text in private {
            assert_eq!(class(text.parse().unwrap()), AddressClass::Private, "{text}");
        }
        for text in public {
            assert_eq!(class(text.parse().unwrap()), AddressClass::Public, "{text}");
        }
    }
}
