//! The guard on addresses.

use std::net::{IpAddr, Ipv4Addr};

use countersign_egress::guard::{Guard, Target};
use url::{Host, Url};

/// A URL that the guard lets through without asking anybody names a public address in it, or a
/// name.
pub fn guard(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let Ok(url) = Url::parse(text) else { return };
    let Ok(target) = Guard::default().check_url(&url) else { return };
    assert_eq!(url.scheme(), "https");
    match (target, url.host()) {
        (Target::Address, Some(Host::Ipv4(address))) => is_elsewhere(address.into()),
        (Target::Address, Some(Host::Ipv6(address))) => is_elsewhere(address.into()),
        (Target::Name(name), Some(Host::Domain(_))) => {
            assert!(name.parse::<IpAddr>().is_err(), "an address is no name: {name}");
            assert!(![".localhost", ".internal"].iter().any(|end| name.ends_with(end)), "{name}");
            assert_ne!(name, "localhost");
        }
        (target, host) => panic!("{target:?} of {host:?}"),
    }
}

/// What the standard library can tell of an address by itself.
fn is_elsewhere(address: IpAddr) {
    let judged = match address {
        IpAddr::V6(v6) => v6.to_ipv4().map_or(address, IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    };
    let v4_is_not = |v4: Ipv4Addr| v4.is_private() || v4.is_link_local() || v4.is_broadcast();
    let is_not = match judged {
        IpAddr::V4(v4) => v4_is_not(v4) || v4.is_documentation(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    assert!(!is_not && !judged.is_loopback() && !judged.is_unspecified(), "{address}");
    assert!(!judged.is_multicast(), "{address}");
}
