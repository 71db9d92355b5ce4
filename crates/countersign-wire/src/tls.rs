//! Refusals of a TLS connection as sentences that tell people what to do.
//!
//! `docs/callbacks.md` has a table of these sentences, and a test compares both.

use core::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// The reason why a TLS connection was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsRefusal {
    /// The fault of the other side, as a sentence without a full stop.
    pub sentence: String,
    /// Whether its certificate is the reason.
    pub by_certificate: bool,
}

/// The refusal in a chain of causes; `None` if TLS is not the cause.
#[must_use]
pub fn refusal(error: &(dyn Error + 'static)) -> Option<TlsRefusal> {
    let mut at = error;
    loop {
        if let Some(tls) = at.downcast_ref::<rustls::Error>() {
            return Some(of(tls));
        }
        // The source of an `io::Error` is the source of the inner error, so `source` would skip the
        // inner error.
        let inner = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        at = match inner.map(|inner| inner as &(dyn Error + 'static)) {
            Some(inner) => inner,
            None => at.source()?,
        };
    }
}

const MALFORMED: &str = "its certificate is malformed";
const EXPIRED: &str = "its certificate has expired";
const NOT_YET: &str = "its certificate is not valid yet, or the clock of this machine is late";
const REVOKED: &str = "its certificate was revoked";
const UNKNOWN_ISSUER: &str = "its certificate comes from an authority that is not trusted here, or \
                              it does not send the certificates in between";
const BAD_SIGNATURE: &str = "its certificate is not signed by the authority that it names";
const WEAK: &str = "its certificate is signed by an algorithm that is not accepted";
const OTHER_PURPOSE: &str = "its certificate is not for servers (extended key usage)";
const AN_AUTHORITYS: &str = "its certificate is an authority's own, and not one that the authority \
                             issued for the server";
const EXTENSION: &str = "its certificate has a critical extension that is not known here";
const NO_CERTIFICATE: &str = "it sent no certificate";
const NO_TLS: &str = "it does not answer in TLS; is this the port of http://?";
const NOTHING_SHARED: &str = "it offers neither TLS 1.3 nor TLS 1.2 with ECDHE";
const WANTS_ONE: &str = "it requires a certificate of its client";
const OTHER_HOST: &str = "it does not serve this host name";

fn of(error: &rustls::Error) -> TlsRefusal {
    let connection =
        |sentence: &str| TlsRefusal { sentence: sentence.to_owned(), by_certificate: false };
    match error {
        rustls::Error::InvalidCertificate(why) => {
            TlsRefusal { sentence: of_certificate(why), by_certificate: true }
        }
        rustls::Error::NoCertificatesPresented => connection(NO_CERTIFICATE),
        rustls::Error::InvalidMessage(_) => connection(NO_TLS),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity,
        ) => connection(NOTHING_SHARED),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            connection(WANTS_ONE)
        }
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => connection(OTHER_HOST),
        rustls::Error::AlertReceived(alert) => {
            connection(&format!("it broke the connection off with the TLS alert {alert:?}"))
        }
        other => connection(&format!("its TLS cannot be used: {other}")),
    }
}

fn of_certificate(why: &CertificateError) -> String {
    let sentence = match why {
        CertificateError::BadEncoding => MALFORMED,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => EXPIRED,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => NOT_YET,
        CertificateError::Revoked => REVOKED,
        CertificateError::UnknownIssuer => UNKNOWN_ISSUER,
        CertificateError::BadSignature => BAD_SIGNATURE,
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => WEAK,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            OTHER_PURPOSE
        }
        CertificateError::UnhandledCriticalExtension => EXTENSION,
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = match presented.as_slice() {
                [] => "no name".to_owned(),
                names => names.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", "),
            };
            return format!("its certificate is for {presented}, not for {}", expected.to_str());
        }
        CertificateError::NotValidForName => {
            return "its certificate is for another name".to_owned();
        }
        // The verifier's own errors, which have no variants here.
        CertificateError::Other(other) => match other.to_string().as_str() {
            "CaUsedAsEndEntity" => AN_AUTHORITYS,
            "UnsupportedCriticalExtension" => EXTENSION,
            _ => return format!("its certificate cannot be used: {why}"),
        },
        other => return format!("its certificate cannot be used: {other}"),
    };
    sentence.to_owned()
}

/// The name in a verifier's `DnsName("name")` or `IpAddress(address)`.
fn bare(name: &str) -> &str {
    let inside = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(name).trim_matches('"')
}

#[cfg(test)]
mod tests {
    use core::fmt;
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{OtherError, PeerIncompatible};

    use super::*;

    #[derive(Debug)]
    struct CaUsedAsEndEntity;

    impl fmt::Display for CaUsedAsEndEntity {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("CaUsedAsEndEntity")
        }
    }

    impl Error for CaUsedAsEndEntity {}

    fn certificate(why: CertificateError) -> TlsRefusal {
        let wrapped = rustls::Error::InvalidCertificate(why);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, wrapped);
        refusal(&io::Error::other(wrapped)).unwrap()
    }

    #[test]
    fn every_sentence_is_in_the_table_of_the_page() {
        let page = include_str!("../../../docs/callbacks.md");
        for sentence in [
            MALFORMED,
            EXPIRED,
            NOT_YET,
            REVOKED,
            UNKNOWN_ISSUER,
            BAD_SIGNATURE,
            WEAK,
            OTHER_PURPOSE,
            AN_AUTHORITYS,
            EXTENSION,
            NO_CERTIFICATE,
            NO_TLS,
            NOTHING_SHARED,
            WANTS_ONE,
            OTHER_HOST,
        ] {
            assert!(page.contains(&format!("| {sentence} |")), "{sentence}");
        }
    }

    #[test]
    fn a_refusal_is_found_at_the_bottom_of_its_causes_and_said_in_words() {
        let own = CertificateError::Other(OtherError(Arc::new(CaUsedAsEndEntity)));
        assert_eq!(certificate(own).sentence, AN_AUTHORITYS);
        assert_eq!(certificate(CertificateError::UnknownIssuer).sentence, UNKNOWN_ISSUER);
        assert!(certificate(CertificateError::Expired).by_certificate);
        let named = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("hooks.example").unwrap(),
            presented: vec!["DnsName(\"a.example\")".into()],
        };
        let sentence = certificate(named).sentence;
        assert_eq!(sentence, "its certificate is for a.example, not for hooks.example");
        let old = rustls::Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon);
        let old = refusal(&old).unwrap();
        assert_eq!((old.sentence.as_str(), old.by_certificate), (NOTHING_SHARED, false));
        assert_eq!(refusal(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }
}
