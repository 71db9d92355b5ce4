//! The rules which addresses may be called: the public internet, and the networks that the
//! configuration allows. The server applies them to callbacks, and a device to documents.
//!
//! The guarantee: an address is judged by where its packets would go. An IPv6 address that contains
//! an IPv4 address, in any of the known ways, is judged by both.

use core::str::FromStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// The allowed addresses.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<IpNet>,
}

/// The reason for which an address is not called, with a sentence for the user who configured it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Forbidden {
    /// The URL's scheme is not https.
    #[error("it must begin with https://")]
    NotHttps,
    /// The port is 0.
    #[error("port 0 cannot be called")]
    NoPort,
    /// The address is private, local or special, or all addresses of the name are.
    #[error("its host is not on the public internet, and the configuration does not allow it")]
    NotPublic,
}

/// The host of a URL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// An address, which has been checked.
    Address,
    /// A name, whose addresses must be checked.
    Name(String),
}

impl Guard {
    /// Allows the public internet and the networks in `allowed`.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Allows every address except metadata services, for hosts that a configuration names.
    #[must_use]
    pub fn everywhere() -> Self {
        Self { allowed: vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())] }
    }

    /// Checks a URL without a DNS lookup.
    ///
    /// # Errors
    /// [`Forbidden`], with the first reason found.
    pub fn check_url(&self, url: &Url) -> Result<Target, Forbidden> {
        if url.scheme() != "https" {
            return Err(Forbidden::NotHttps);
        }
        if url.port() == Some(0) {
            return Err(Forbidden::NoPort);
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(&[address.into()]).map(|()| Target::Address),
            Some(Host::Ipv6(address)) => self.check(&[address.into()]).map(|()| Target::Address),
            Some(Host::Domain(name)) => self.check_name(name).map(Target::Name),
            None => Err(Forbidden::NotPublic),
        }
    }

    /// Checks a name without a DNS lookup: some names are always private, and are refused here if
    /// no network is allowed. Returns the name to look up.
    fn check_name(&self, name: &str) -> Result<String, Forbidden> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_private = !name.contains('.')
            || PRIVATE_ENDINGS.iter().any(|ending| name.ends_with(ending))
            || is_localhost(&name);
        if name.is_empty() || (is_private && self.allowed.is_empty()) {
            return Err(Forbidden::NotPublic);
        }
        Ok(name)
    }

    /// Checks all addresses of one host. One forbidden address forbids the host, and a host without
    /// addresses is forbidden.
    ///
    /// # Errors
    /// [`Forbidden::NotPublic`].
    pub fn check(&self, addresses: &[IpAddr]) -> Result<(), Forbidden> {
        let all = addresses.iter().all(|address| self.permits(*address));
        if all && !addresses.is_empty() { Ok(()) } else { Err(Forbidden::NotPublic) }
    }

    /// Returns whether an address may be called.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let judged = unpacked(address);
        let is_allowed = |address: &IpAddr| self.allowed.iter().any(|net| net.contains(address));
        let may = |address: &IpAddr| is_public(*address) || is_allowed(address);
        judged.iter().all(|address| may(address) && !METADATA.contains(address))
    }

    /// The loopback addresses of `localhost` (RFC 6761 §6.3) that are allowed. `None` for other
    /// names.
    #[must_use]
    pub fn localhost(&self, name: &str) -> Option<Vec<IpAddr>> {
        is_localhost(name).then(|| {
            let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            loopback.into_iter().filter(|address| self.permits(*address)).collect()
        })
    }
}

/// A host that a configuration names, with one port or all ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowedHost {
    /// In a URL's form: lower case, and an IPv6 address in brackets.
    host: String,
    port: Option<u16>,
}

impl AllowedHost {
    /// Returns whether `url` has this host and port.
    #[must_use]
    pub fn includes(&self, url: &Url) -> bool {
        url.host_str() == Some(self.host.as_str())
            && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
    }
}

impl FromStr for AllowedHost {
    type Err = &'static str;

    /// Reads `HOST` or `HOST:PORT`.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "it is HOST or HOST:PORT";
        if text.contains(['/', '@', '*', '?', '#', '\\']) {
            return Err(WRONG);
        }
        let url = Url::parse(&format!("https://{text}/")).map_err(|_| WRONG)?;
        // `Url` leaves out the default port of its scheme.
        let port = url.port().or_else(|| text.ends_with(":443").then_some(443));
        let host = url.host_str().ok_or(WRONG)?.to_owned();
        if port == Some(0) { Err(WRONG) } else { Ok(Self { host, port }) }
    }
}

/// The endings of names that are never public: RFC 6761, 6762, 8375, 7686, and ICANN's `internal`.
const PRIVATE_ENDINGS: [&str; 7] =
    [".local", ".internal", ".home.arpa", ".onion", ".test", ".invalid", ".localdomain"];

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// The metadata services of clouds, which return credentials to the cloud's own machines. They are
/// forbidden even if a network around them is allowed.
const METADATA: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), // AWS, Azure, Google and most others
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),   // AWS, containers
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure; in public space
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google
];

/// The addresses to check for one address: those that it contains, and itself unless it is only a
/// wrapper.
#[expect(clippy::match_same_arms, reason = "an arm is a document, in the order of its exceptions")]
fn unpacked(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(v6) = address else { return vec![address] };
    let v4 = |high: u16, low: u16| {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match v6.segments() {
        // `::` and `::1` are addresses themselves, not IPv4-compatible ones.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => vec![address],
        // IPv4-compatible (RFC 4291 §2.5.5.1), IPv4-mapped (§2.5.5.2), IPv4-translated (RFC 2765),
        // NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => vec![v4(high, low)],
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => vec![v4(high, low)],
        // Teredo (RFC 4380): its server, and its client with every bit inverted.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            vec![v4(server_high, server_low), v4(!high, !low)]
        }
        // ISATAP (RFC 5214).
        [.., 0 | 0x200, 0x5efe, high, low] => vec![address, v4(high, low)],
        _ => vec![address],
    }
}

/// Returns whether an address is public unicast, by IANA's registries of special addresses (RFC
/// 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(matches!(a, 0 | 10 | 127 | 224..)
                || matches!((a, b), (100, 64..=127) | (169, 254) | (172, 16..=31) | (192, 168))
                || matches!((a, b), (198, 18 | 19))
                || matches!((a, b, c), (192, 0, 0 | 2) | (192, 88, 99))
                || matches!((a, b, c), (198, 51, 100) | (203, 0, 113)))
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            // Global unicast is 2000::/3. In it, 2001::/23 is reserved by the IETF, and two
            // networks are for documentation.
            (0x2000..0x4000).contains(&a)
                && !(a == 0x2001 && b < 0x200)
                && !(a == 0x2001 && b == 0xdb8)
                && !(a == 0x3fff && b < 0x1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guard(allowed: &[&str]) -> Guard {
        Guard::new(allowed.iter().map(|net| net.parse().unwrap()).collect())
    }

    fn checked(guard: &Guard, url: &str) -> Result<Target, Forbidden> {
        guard.check_url(&Url::parse(url).unwrap_or_else(|_| panic!("{url} is not a URL")))
    }

    const PRIVATE: [&str; 18] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "255.255.255.255/32",
        "168.63.129.16/32",
        "100.100.100.200/32",
    ];

    /// The spellings of an IPv4 address that a URL parser accepts.
    fn spellings(address: Ipv4Addr) -> Vec<String> {
        let [a, b, c, d] = address.octets();
        let bits = address.to_bits();
        let (low24, low16) = (bits & 0xff_ffff, bits & 0xffff);
        let [high, low] = [(bits >> 16) as u16, bits as u16];
        vec![
            format!("{a}.{b}.{c}.{d}"),
            format!("{a}.{b}.{c}.{d}."),
            format!("{bits}"),
            format!("{bits:#x}"),
            format!("{bits:#X}").replace("0X", "0x"),
            format!("0{bits:o}"),
            format!("{a}.{low24}"),
            format!("{a}.{b}.{low16}"),
            format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
            format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
            format!("00{a:o}.{b}.{c:#x}.{d}"),
            format!("{a}。{b}。{c}。{d}"),
            format!("{a}．{b}．{c}．{d}"),
            format!("[::ffff:{a}.{b}.{c}.{d}]"),
            format!("[::ffff:{high:x}:{low:x}]"),
            format!("[0:0:0:0:0:ffff:{high:x}:{low:x}]"),
            format!("[::ffff:0:{high:x}:{low:x}]"),
            format!("[::{}]", Ipv4Addr::from_bits(bits.max(2))),
            format!("[64:ff9b::{a}.{b}.{c}.{d}]"),
            format!("[2002:{high:x}:{low:x}::1]"),
            format!("[2001:0:808:808:0:0:{:x}:{:x}]", !high, !low),
            format!("[2001:0:{high:x}:{low:x}:0:0:f7f7:f7f7]"),
            format!("[2606:4700::5efe:{high:x}:{low:x}]"),
            format!("[2606:4700::200:5efe:{high:x}:{low:x}]"),
        ]
    }

    fn inside(net: &str) -> impl Strategy<Value = Ipv4Addr> + use<> {
        let net: ipnet::Ipv4Net = net.parse().unwrap();
        (net.network().to_bits()..=net.broadcast().to_bits()).prop_map(Ipv4Addr::from_bits)
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_forbidden_address_is_refused(
            address in prop::sample::select(PRIVATE.to_vec()).prop_flat_map(inside),
        ) {
            for spelling in spellings(address) {
                let url = format!("https://{spelling}:8443/done");
                prop_assert_eq!(checked(&guard(&[]), &url), Err(Forbidden::NotPublic), "{}", url);
            }
        }

        #[test]
        fn every_spelling_of_a_public_address_may_be_called(
            address in any::<Ipv4Addr>().prop_filter("public", |address| {
                !PRIVATE.iter().any(|net| net.parse::<ipnet::Ipv4Net>().unwrap().contains(address))
            }),
        ) {
            for spelling in spellings(address) {
                let url = format!("https://{spelling}/done");
                prop_assert_eq!(checked(&guard(&[]), &url), Ok(Target::Address), "{}", url);
            }
        }
    }

    #[test]
    fn only_global_unicast_is_public_in_ipv6() {
        for address in [
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "100::1",
            "2001:db8::1",
            "2001:1::1",
            "2001:2::1",
            "2001:20::1",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "4000::1",
            "fec0::1",
            "64:ff9b:1::1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
        ] {
            assert!(!guard(&[]).permits(address.parse().unwrap()), "{address}");
        }
        for address in ["2606:4700::1111", "2001:4860:4860::8888", "2a00::1", "3fff:1000::1"] {
            assert!(guard(&[]).permits(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_allowed_network_permits_its_own_addresses_only() {
        let guard = guard(&["127.0.0.0/8", "fd12::/16"]);
        for good in
            ["127.0.0.1", "127.9.9.9", "[::ffff:127.0.0.1]", "[fd12::1]", "2130706433", "8.8.8.8"]
        {
            assert_eq!(checked(&guard, &format!("https://{good}/")), Ok(Target::Address), "{good}");
        }
        for bad in ["10.0.0.1", "[::1]", "[fd13::1]", "[::ffff:10.0.0.1]", "169.254.169.254"] {
            assert!(checked(&guard, &format!("https://{bad}/")).is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata_services_are_forbidden_even_if_their_network_is_allowed() {
        let guard = guard(&["0.0.0.0/0", "::/0"]);
        for bad in [
            "169.254.169.254",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "2852039166",
            "[fd00:ec2::254]",
            "168.63.129.16",
        ] {
            assert!(checked(&guard, &format!("https://{bad}/")).is_err(), "{bad}");
        }
        assert!(checked(&guard, "https://10.0.0.1/").is_ok());
    }

    #[test]
    fn one_forbidden_address_forbids_its_host() {
        let guard = guard(&[]);
        let addresses = |text: &[&str]| text.iter().map(|a| a.parse().unwrap()).collect::<Vec<_>>();
        assert!(guard.check(&addresses(&["8.8.8.8", "2606:4700::1111"])).is_ok());
        assert!(guard.check(&addresses(&["8.8.8.8", "127.0.0.1"])).is_err());
        assert!(guard.check(&addresses(&["8.8.8.8", "::1"])).is_err());
        assert!(guard.check(&[]).is_err());
    }

    #[test]
    fn names_that_can_only_be_private_are_refused_unless_some_network_is_allowed() {
        for name in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "a.localhost.",
            "printer.local",
            "metadata.google.internal",
            "metadata.google.internal.",
            "intranet",
            "a.home.arpa",
            "%6cocalhost",
            "ｌocalhost",
            "a.onion",
        ] {
            let url = format!("https://{name}/");
            assert_eq!(checked(&guard(&[]), &url), Err(Forbidden::NotPublic), "{name}");
            assert!(
                matches!(checked(&guard(&["10.0.0.0/8"]), &url), Ok(Target::Name(_))),
                "{name}"
            );
        }
        let name = |text: &str| Ok(Target::Name(text.into()));
        assert_eq!(checked(&guard(&[]), "https://Shop.Example./x"), name("shop.example"));
        assert_eq!(checked(&guard(&[]), "https://localhost.example/"), name("localhost.example"));
    }

    #[test]
    fn localhost_has_the_allowed_loopback_addresses() {
        let addresses = |allowed: &[&str]| guard(allowed).localhost("a.localhost").unwrap();
        assert_eq!(addresses(&["127.0.0.0/8"]), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses(&["127.0.0.0/8", "::1/128"]).len(), 2);
        assert_eq!(addresses(&["10.0.0.0/8"]), [] as [IpAddr; 0]);
        assert_eq!(guard(&[]).localhost("localhost.example"), None);
    }

    #[test]
    fn everywhere_permits_every_address_except_metadata() {
        for good in ["10.0.0.1", "[::1]", "localhost", "printer.local", "8.8.8.8"] {
            assert!(checked(&Guard::everywhere(), &format!("https://{good}/")).is_ok(), "{good}");
        }
        assert!(checked(&Guard::everywhere(), "https://169.254.169.254/").is_err());
    }

    #[test]
    fn an_allowed_host_is_that_host_and_that_port_only() {
        let includes = |text: &str, url: &str| {
            text.parse::<AllowedHost>().unwrap().includes(&Url::parse(url).unwrap())
        };
        assert!(includes("Localhost", "https://localhost:8443/x"));
        assert!(includes("docs.example:443", "https://docs.example/x"));
        assert!(includes("[::1]:8443", "https://[0:0::1]:8443/"));
        for (text, url) in [
            ("docs.example:443", "https://docs.example:8443/"),
            ("docs.example", "https://docs.example.evil/"),
            ("docs.example", "https://a.docs.example/"),
            ("docs.example", "https://docs.example@evil.example/"),
        ] {
            assert!(!includes(text, url), "{text} {url}");
        }
        for wrong in ["", "*.example", "https://a", "a/b", "a:b", "a:0", "b@a"] {
            assert!(wrong.parse::<AllowedHost>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_schemes_and_port_zero_are_refused() {
        assert_eq!(checked(&guard(&[]), "http://shop.example/"), Err(Forbidden::NotHttps));
        assert_eq!(checked(&guard(&[]), "ftp://shop.example/"), Err(Forbidden::NotHttps));
        assert_eq!(checked(&guard(&[]), "https://shop.example:0/"), Err(Forbidden::NoPort));
        assert!(checked(&guard(&[]), "https://shop.example:22/").is_ok());
    }
}
