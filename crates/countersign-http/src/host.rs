//! The host that a request names, as `Host` or `:authority` has it.

/// The name of the host, without its port and without the dot of the root. A name with that dot is
/// the same name (RFC 1034, section 3.1).
pub(crate) fn name(host: &str) -> &str {
    split(host).0
}

/// Whether two hosts are the same: the same name, however it is spelled, and the same port.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let ((one, port), (other, others)) = (split(one), split(other));
    one.eq_ignore_ascii_case(other) && port == others
}

fn split(host: &str) -> (&str, Option<&str>) {
    // A port follows the last colon, unless that colon is within an IPv6 address's brackets.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    (name.strip_suffix('.').unwrap_or(name), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_name_has_no_port_and_no_root() {
        for host in
            ["acme.localhost", "acme.localhost.", "acme.localhost:8443", "acme.localhost.:1"]
        {
            assert_eq!(name(host), "acme.localhost", "{host}");
        }
        assert_eq!(name("[::1]"), "[::1]");
        assert_eq!(name("[::1]:8443"), "[::1]");
        assert_eq!(name("acme.localhost.."), "acme.localhost.", "two dots are no name");
        assert_eq!(name(""), "");
    }

    #[test]
    fn hosts_are_the_same_in_any_spelling_at_one_port() {
        assert!(is_same("Acme.localhost.:8443", "acme.localhost:8443"));
        assert!(is_same("[::1]:1", "[::1]:1"));
        for (one, other) in [("a:1", "a:2"), ("a:1", "a"), ("a", "b"), ("a..", "a")] {
            assert!(!is_same(one, other), "{one} {other}");
        }
    }
}
