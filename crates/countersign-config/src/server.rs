//! `[server]`: the addresses at which applications and devices reach this server.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::ensure;
use countersign_core::id::BadName;
use countersign_core::name::normal_form;
use http::HeaderName;
use ipnet::IpNet;

use super::certificates::CertificatesConfig;
use super::delivery::Network;
use super::key::UncheckedValue;
use super::layers::Layers;

/// The largest part of all connections that may be reserved, in percent.
const RESERVED_PERCENT_MAX: u32 = 90;
/// The divisor of all connections that gives one address's share, if none is configured.
const ADDRESS_SHARE: u32 = 10;
/// The largest amount of memory for bodies, in MiB.
const BODIES_MEBIBYTES_MAX: u32 = 64 * 1024;

/// Limits on open connections.
#[derive(Clone, Debug)]
pub struct Shares {
    /// Connections in all.
    pub connections_max: u32,
    /// Connections from one network.
    pub per_network_max: u32,
    /// The part of all connections that only known networks may use.
    pub reserved: u32,
    /// Networks without a limit of their own, such as those of proxies.
    pub exempt: Vec<IpNet>,
}

impl Shares {
    /// A limit on the total, without a limit for each network.
    pub fn unshared(connections_max: u32) -> Self {
        let per_network_max = connections_max;
        Self { connections_max, per_network_max, reserved: 0, exempt: Vec::new() }
    }

    /// Lowers the total to `connections_max`, and the other limits in proportion.
    pub fn lower(&mut self, connections_max: u32) {
        let before = u64::from(self.connections_max);
        let scaled = |limit: u32| {
            let scaled = u64::from(limit) * u64::from(connections_max) / before.max(1);
            u32::try_from(scaled).unwrap_or(limit).min(limit)
        };
        self.per_network_max = scaled(self.per_network_max).max(1);
        self.reserved = scaled(self.reserved);
        self.connections_max = connections_max;
    }
}

/// The public side of the process.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The listening address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The server's name in the DNS, in lower case; a label before it names a tenant.
    pub hostname: String,
    /// The tenant of a request that names none.
    pub default_tenant: Option<String>,
    /// The name of this server that devices show.
    pub name: String,
    /// The source of the TLS certificate.
    pub tls: Tls,
    /// The lifetimes of certificates, with [`Tls::Own`].
    pub lifetimes: CertificatesConfig,
    /// The header in which the proxy in front gives the client's address.
    pub client_address_header: Option<HeaderName>,
    /// How many connections may be open at once, and from which networks.
    pub shares: Shares,
    /// How long a request's head may take.
    pub header: Duration,
    /// How long a request's body may take.
    pub body: Duration,
    /// How long a connection may be open without a request.
    pub idle: Duration,
    /// How long a peer may leave sent bytes unread.
    pub write: Duration,
    /// Memory for the bodies of all requests, in bytes.
    pub bodies_bytes_max: usize,
    /// How long the server still serves everything after SIGTERM, while `/readyz` answers 503.
    pub lame_duck: Duration,
    /// How long requests may take to end after that.
    pub drain: Duration,
    /// As configured; [`ServerConfig::public_addresses`] fills in the default.
    public_addresses: Vec<PublicAddress>,
}

/// The source of the TLS certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tls {
    /// A certificate authority of the server's own, in the data directory.
    Own,
    /// A certificate from elsewhere.
    Files {
        /// PEM: the server's certificate first, then its issuers.
        certificate: PathBuf,
        /// PEM: the private key.
        key: PathBuf,
    },
    /// TLS ends at a proxy; this server speaks plain HTTP.
    InFront,
}

/// An address under which this server is known: `https://host`, with a port if it is not 443.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicAddress(String);

impl ServerConfig {
    pub(super) fn read(layers: &mut Layers, lifetimes: CertificatesConfig) -> anyhow::Result<Self> {
        let addresses = layers.take("server.public_addresses");
        let header = layers.take("server.client_address_header");
        let default_tenant = layers.take("server.default_tenant");
        let (mode, tls) = read_tls(layers)?;
        let config = Self {
            listen: layers.take("server.listen").parse()?,
            hostname: layers.take("server.hostname").parse::<Hostname>()?.0,
            default_tenant: Some(default_tenant.text()?.to_owned()).filter(|name| !name.is_empty()),
            name: layers.take("server.name").parse::<Name>()?.0,
            shares: read_shares(layers, tls == Tls::InFront)?,
            tls,
            lifetimes,
            header: layers.take("server.header_seconds").seconds()?,
            body: layers.take("server.body_seconds").seconds()?,
            idle: layers.take("server.idle_seconds").seconds()?,
            write: layers.take("server.write_seconds").seconds()?,
            bodies_bytes_max: read_bodies_bytes_max(layers)?,
            client_address_header: match header.text()? {
                "" => None,
                _ => Some(header.parse()?),
            },
            lame_duck: Duration::from_secs(
                layers.take("server.lame_duck_seconds").number()?.into(),
            ),
            drain: layers.take("server.drain_seconds").seconds()?,
            public_addresses: addresses.list()?,
        };
        ensure!(
            config.tls != Tls::InFront || !config.public_addresses.is_empty(),
            "{} must name the proxy's address when TLS ends in front",
            addresses.beside(&mode)
        );
        ensure!(
            config.tls == Tls::InFront || config.client_address_header.is_none(),
            "{header} needs `tls = \"in_front\"`; without a proxy, clients would name themselves"
        );
        Ok(config)
    }

    /// The addresses under which this server is known, never empty. `port` is the listening port.
    pub fn public_addresses(&self, port: u16) -> Vec<PublicAddress> {
        if self.public_addresses.is_empty() {
            let local = |host| format!("https://{host}:{port}").parse().expect("an https address");
            return ["localhost", "127.0.0.1", "[::1]"].map(local).to_vec();
        }
        self.public_addresses.clone()
    }
}

/// The key and what it says.
fn read_tls(layers: &mut Layers) -> anyhow::Result<(UncheckedValue, Tls)> {
    let tls = layers.take("server.tls");
    let certificate = layers.take("server.certificate_file");
    let key = layers.take("server.key_file");
    let needed = |file: &UncheckedValue| {
        anyhow::anyhow!("{} must name a file when `tls` is \"files\"", file.beside(&tls))
    };
    let read = match (tls.text()?, certificate.path()?, key.path()?) {
        ("own", None, None) => Tls::Own,
        ("in_front", None, None) => Tls::InFront,
        ("files", Some(certificate), Some(key)) => Tls::Files { certificate, key },
        ("files", None, _) => return Err(needed(&certificate)),
        ("files", _, None) => return Err(needed(&key)),
        ("own" | "in_front", Some(_), _) => anyhow::bail!("{certificate} needs `tls = \"files\"`"),
        ("own" | "in_front", _, _) => anyhow::bail!("{key} needs `tls = \"files\"`"),
        (other, ..) => {
            anyhow::bail!("{tls} is \"own\", \"files\" or \"in_front\", not \"{other}\"")
        }
    };
    Ok((tls, read))
}

/// Reads the limits on connections. `in_front` says that all connections come from a proxy.
fn read_shares(layers: &mut Layers, in_front: bool) -> anyhow::Result<Shares> {
    let connections_max = layers.take("server.connections_max").count()?;
    let per_address = layers.take("server.connections_per_address_max").number()?;
    let reserved = layers.take("server.connections_reserved_percent");
    let percent = reserved.number()?;
    ensure!(percent <= RESERVED_PERCENT_MAX, "{reserved} is at most {RESERVED_PERCENT_MAX}");
    let networks: Vec<Network> = layers.take("server.connections_exempt_networks").list()?;
    let mut exempt: Vec<IpNet> = networks.into_iter().map(|network| network.0).collect();
    if in_front {
        exempt.extend(["0.0.0.0/0", "::/0"].map(|all| all.parse::<IpNet>().expect("a network")));
    }
    let per_network_max = match per_address {
        0 => connections_max.div_ceil(ADDRESS_SHARE),
        some => some,
    };
    // Cannot overflow: a percentage of a number is at most the number.
    let reserved = u64::from(connections_max) * u64::from(percent) / 100;
    let reserved = u32::try_from(reserved).unwrap_or(connections_max);
    Ok(Shares { connections_max, per_network_max, reserved, exempt })
}

fn read_bodies_bytes_max(layers: &mut Layers) -> anyhow::Result<usize> {
    let key = layers.take("server.bodies_mebibytes_max");
    let mebibytes = key.count()?;
    ensure!(mebibytes <= BODIES_MEBIBYTES_MAX, "{key} is at most {BODIES_MEBIBYTES_MAX}");
    Ok(mebibytes as usize * 1024 * 1024)
}

impl PublicAddress {
    /// The origin, without a slash at its end (RFC 6454, section 6.2).
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublicAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PublicAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = url::Url::parse(text).map_err(|_| "it is not a URL")?;
        if url.scheme() != "https" {
            return Err("it begins with https://");
        }
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err("it is only https://host or https://host:port");
        }
        Ok(Self(url.origin().ascii_serialization()))
    }
}

/// RFC 1123, section 2.1.
struct Hostname(String);

impl FromStr for Hostname {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let label = |label: &str| {
            let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(inside)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > 253 || !text.split('.').all(label) {
            return Err("it is a name in the DNS, without a port");
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// A line that fits a phone's screen.
struct Name(String);

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !(1..=64).contains(&text.chars().count()) {
            return Err("it is 1 to 64 characters on one line");
        }
        let name = normal_form(text).map_err(|BadName(reason)| reason)?;
        Ok(Self(name.into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ServerConfig, String> {
        let mut layers = Layers::compiled_in();
        layers.lay_file("c.toml".as_ref(), &format!("[server]\n{text}")).unwrap();
        let lifetimes = CertificatesConfig::read(&mut layers).map_err(|error| error.to_string())?;
        ServerConfig::read(&mut layers, lifetimes).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_addresses_carry_the_port_that_is_listened_on() {
        let config = read("").unwrap();
        let addresses = config.public_addresses(1234);
        let addresses: Vec<_> = addresses.iter().map(PublicAddress::as_str).collect();
        assert_eq!(
            addresses,
            ["https://localhost:1234", "https://127.0.0.1:1234", "https://[::1]:1234"]
        );
    }

    #[test]
    fn a_public_address_is_an_origin_and_nothing_more() {
        for (text, origin) in
            [("https://Sign.Example:443/", "https://sign.example"), ("https://a:1", "https://a:1")]
        {
            assert_eq!(text.parse::<PublicAddress>().unwrap().as_str(), origin);
        }
        for text in ["http://a", "https://a/b", "https://u@a", "https://a?q", "https://a/#f", "a:1"]
        {
            assert!(text.parse::<PublicAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn plain_http_needs_the_addresses_of_the_proxy() {
        assert!(read("tls = \"in_front\"").unwrap_err().contains("`server.public_addresses`"));
        let config = read("tls = \"in_front\"\npublic_addresses = [\"https://a\"]").unwrap();
        assert_eq!(config.tls, Tls::InFront);
        assert_eq!(config.public_addresses(1), ["https://a".parse().unwrap()]);
    }

    #[test]
    fn only_a_proxy_in_front_names_its_client() {
        let header = "client_address_header = \"X-Forwarded-For\"";
        assert!(read(header).unwrap_err().contains("`server.client_address_header`"));
        let proxied = format!("tls = \"in_front\"\npublic_addresses = [\"https://a\"]\n{header}");
        let config = read(&proxied).unwrap();
        assert_eq!(config.client_address_header.unwrap(), "x-forwarded-for");
    }

    #[test]
    fn one_address_has_a_tenth_of_the_connections_unless_a_number_says_otherwise() {
        let shares = read("connections_max = 25").unwrap().shares;
        assert_eq!((shares.connections_max, shares.per_network_max, shares.reserved), (25, 3, 2));
        let shares = read("connections_per_address_max = 7\nconnections_reserved_percent = 0");
        let shares = shares.unwrap().shares;
        assert_eq!((shares.per_network_max, shares.reserved), (7, 0));
        let error = read("connections_reserved_percent = 91").unwrap_err();
        assert!(error.contains("`server.connections_reserved_percent` is at most 90"), "{error}");
    }

    #[test]
    fn limits_that_are_lowered_keep_their_proportions() {
        let mut shares = read("").unwrap().shares;
        shares.lower(95);
        assert_eq!((shares.connections_max, shares.per_network_max, shares.reserved), (95, 9, 9));
        shares.lower(3);
        assert_eq!((shares.connections_max, shares.per_network_max, shares.reserved), (3, 1, 0));
    }

    #[test]
    fn behind_a_proxy_no_address_has_a_share() {
        let config = read("tls = \"in_front\"\npublic_addresses = [\"https://a\"]").unwrap();
        let all = ["192.0.2.1", "2001:db8::1"].map(|one| one.parse::<std::net::IpAddr>().unwrap());
        let exempt = |address| config.shares.exempt.iter().any(|net| net.contains(address));
        assert!(all.iter().all(exempt));
        assert!(read("").unwrap().shares.exempt.is_empty());
    }

    #[test]
    fn certificate_files_come_in_pairs_and_only_when_asked_for() {
        for (text, named) in [
            ("tls = \"files\"", "`server.certificate_file`"),
            ("tls = \"files\"\ncertificate_file = \"c\"", "`server.key_file`"),
            ("certificate_file = \"c\"", "`server.certificate_file`"),
            ("key_file = \"k\"", "`server.key_file`"),
            ("tls = \"none\"", "`server.tls`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_hostname_is_lower_case_and_has_no_port() {
        assert_eq!(read("hostname = \"Sign.Example\"").unwrap().hostname, "sign.example");
        for text in ["a:1", "", ".a", "a..b", "-a", "a_b"] {
            assert!(read(&format!("hostname = \"{text}\"")).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_that_fits_no_screen_is_refused() {
        for text in ["", "two\\nlines", &"n".repeat(65)] {
            assert!(read(&format!("name = \"{text}\"")).is_err(), "{text}");
        }
    }
}
