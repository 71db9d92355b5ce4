//! The server's address, and the trusted certificates.

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::sync::Arc;
use url::{Host, Url};

use crate::error::Error;

/// `https://host[:port]`, or `http://` with a local host.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    url: Url,
    origin: String,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let refused = || Error::Address(crate::display::line(text));
        let url = Url::parse(text).map_err(|_| refused())?;
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.path() == "/";
        // Without TLS, every proxy sees who signs and when, so plain HTTP is allowed on the same
        // machine only.
        let sheltered = url.scheme() == "https" || (url.scheme() == "http" && is_local(&url));
        if !plain || !sheltered || url.host().is_none() {
            return Err(refused());
        }
        let origin = url.origin().ascii_serialization();
        Ok(Self { url, origin })
    }

    /// Scheme, host and port, without a trailing slash.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The URL of a path that begins with a slash.
    pub(crate) fn url(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.origin)
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The host in the form for certificates and DNS: an IPv6 address has no brackets.
    pub(crate) fn host(&self) -> String {
        match self.url.host().expect("an address has a host") {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.port_or_known_default().expect("http and https have default ports")
    }

    /// The value of the `Host` header.
    pub(crate) fn authority(&self) -> &str {
        self.origin.split_once("//").expect("an origin has a scheme").1
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A TLS configuration that trusts only the certificates of `server_ca` (PEM), or the system's if
/// it is absent.
pub(crate) fn tls(server_ca: Option<&str>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the protocol's versions");
    let Some(pem) = server_ca else {
        let builder = builder.with_platform_verifier();
        return Ok(builder
            .map_err(|error| Error::Untrusted(error.to_string()))?
            .with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|_| Error::Ca)?).map_err(|_| Error::Ca)?;
    }
    if roots.is_empty() {
        return Err(Error::Ca);
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        for (typed, origin) in [
            ("https://Sign.Example.com", "https://sign.example.com"),
            ("https://sign.example.com:443/", "https://sign.example.com"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://bank.localhost:8080", "http://bank.localhost:8080"),
        ] {
            assert_eq!(Address::parse(typed).unwrap().origin(), origin);
        }
        let address = Address::parse("https://[::1]:8443").unwrap();
        let parts = (address.host(), address.port(), address.authority());
        assert_eq!(parts, ("::1".to_owned(), 8443, "[::1]:8443"));
    }

    #[test]
    fn ambiguous_addresses_are_refused() {
        for bad in [
            "",
            "sign.example.com",
            "http://sign.example.com",
            "http://localhost.example.com",
            "https://user@sign.example.com",
            "https://sign.example.com/path",
            "https://sign.example.com/?query",
            "https://sign.example.com/#part",
            "ftp://localhost",
            "file:///etc/passwd",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        for bad in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            assert!(matches!(tls(Some(bad)), Err(Error::Ca)), "{bad:?}");
        }
    }
}
