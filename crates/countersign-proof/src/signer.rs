//! Signers: certificates that chain to a tenant's roots.

use std::sync::Arc;

use aws_lc_rs::digest;
use der::Decode;
use der::referenced::OwnedToRef;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert,
};
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectKeyIdentifier};
use x509_cert::time::Validity;

use crate::BadProof;
use crate::fields::{Fields, INTEGER, SEQUENCE, context};
use crate::key::PublicKey;
use crate::request::own_scheme;

/// The longest certificate that is read, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// The most certificates that may accompany a signer's own.
pub const CHAIN_CERTIFICATES_MAX: usize = 5;

/// id-kp-emailProtection (RFC 5280 §4.2.1.12), in DER without tag and length.
const EMAIL_PROTECTION: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x04];

/// A tenant's trust anchors, parsed once.
#[derive(Clone, Debug)]
pub struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
    /// The validity of each anchor, at the same index: an anchor itself has none.
    spans: Vec<Span>,
    /// The certificates of the anchors in DER, at the same index.
    certificates: Arc<[Box<[u8]>]>,
}

impl Roots {
    /// Reads CA certificates, each X.509 in DER. An empty list is allowed; it makes every
    /// certificate untrusted.
    ///
    /// # Errors
    /// Refuses bytes that are not a certificate, and a certificate that may not sign others.
    pub fn new<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, BadProof> {
        let (mut anchors, mut spans, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for der in certificates {
            let certificate = parse(der)?;
            check_authority(&certificate)?;
            check_issuer(&certificate)?;
            let anchor = CertificateDer::from(der);
            let anchor = anchor_from_trusted_cert(&anchor).map_err(|_| BadProof::Certificate)?;
            anchors.push(anchor.to_owned());
            spans.push(Span::of(&certificate.tbs_certificate.validity));
            kept.push(der.into());
        }
        Ok(Self { anchors, spans, certificates: kept.into() })
    }

    /// The validity of the root `found`. A root that was renewed with the same key is listed twice.
    fn span(&self, found: &TrustAnchor<'_>, now: u64) -> Result<Span, BadProof> {
        let same = |anchor: &TrustAnchor<'_>| {
            anchor.subject == found.subject
                && anchor.subject_public_key_info == found.subject_public_key_info
        };
        let mut last = Err(BadProof::Untrusted);
        for (_, span) in self.anchors.iter().zip(&self.spans).filter(|(anchor, _)| same(anchor)) {
            last = span.check(now).map(|()| *span);
            if last.is_ok() {
                break;
            }
        }
        last
    }
}

/// A certificate with a verified chain, and its parsed key. It may be cached until
/// [`Signer::valid_until`]. Whether the identity is *enabled* is for the caller to check.
#[derive(Clone)]
pub struct Signer {
    certificate: Box<[u8]>,
    fingerprint: [u8; 32],
    /// The certificates between this one and the root.
    path: Vec<Box<[u8]>>,
    /// All trusted roots, not only the one in which the path ends.
    roots: Arc<[Box<[u8]>]>,
    span: Span,
    names: Names,
    key: PublicKey,
}

/// The names by which a message may identify a certificate, each an encoded value of the
/// certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Names {
    /// The issuer's Name, a whole element.
    pub(crate) issuer: Box<[u8]>,
    /// The serial number, a whole element.
    pub(crate) serial: Box<[u8]>,
    /// The subject key identifier's bytes, if the certificate has one.
    pub(crate) key_identifier: Option<Box<[u8]>>,
}

impl Signer {
    /// Verifies `certificate` at `now` by a path through `chain`, in any order, to one of `roots`.
    /// Certificates are DER; certificates in `chain` that the path does not need are ignored.
    ///
    /// An extended key usage, if present, must include e-mail protection. S/MIME verifiers require
    /// it (RFC 8550 §4.4.4), so they accept every signer that this function accepts.
    ///
    /// # Errors
    /// Refuses a certificate that is malformed, not valid at `now`, not trusted, or not for
    /// signatures.
    pub fn new(
        certificate: &[u8],
        chain: &[Vec<u8>],
        roots: &Roots,
        now: u64,
    ) -> Result<Self, BadProof> {
        if chain.len() > CHAIN_CERTIFICATES_MAX {
            return Err(BadProof::ChainTooLong);
        }
        if chain.iter().any(|der| der.len() > CERTIFICATE_BYTES_MAX) {
            return Err(BadProof::Certificate);
        }
        let parsed = parse(certificate)?;
        let mut span = Span::of(&parsed.tbs_certificate.validity);
        span.check(now)?;
        check_end_entity(&parsed)?;

        let der = CertificateDer::from(certificate);
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let end_entity = EndEntityCert::try_from(&der).map_err(|error| refusal(&error))?;
        let path = end_entity
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &roots.anchors,
                &chain,
                UnixTime::since_unix_epoch(core::time::Duration::from_secs(now)),
                Usage,
                None,
                None,
            )
            .map_err(|error| refusal(&error))?;

        let mut between = Vec::new();
        for issuer in path.intermediate_certificates() {
            let der = issuer.der();
            let issuer = parse(&der)?;
            check_issuer(&issuer)?;
            span = span.within(Span::of(&issuer.tbs_certificate.validity));
            between.push(der.as_ref().into());
        }
        span = span.within(roots.span(path.anchor(), now)?);

        Ok(Self {
            certificate: certificate.into(),
            fingerprint: fingerprint(certificate),
            path: between,
            roots: Arc::clone(&roots.certificates),
            span,
            names: Names::of(certificate)?,
            key: PublicKey::new(&parsed.tbs_certificate.subject_public_key_info.owned_to_ref())?,
        })
    }

    /// The last second at which the whole path is valid, since the Unix epoch.
    #[must_use]
    pub fn valid_until(&self) -> u64 {
        self.span.not_after
    }

    /// The signer's certificate, X.509 in DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The SHA-256 of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The length of the signer's key in bits, if it is an RSA key.
    #[must_use]
    pub fn rsa_bits(&self) -> Option<usize> {
        self.key.rsa_bits()
    }

    /// The roots that were trusted when the path was verified, X.509 in DER, in their order. A
    /// cached signer counts only while these are trusted.
    pub fn roots(&self) -> impl Iterator<Item = &[u8]> {
        self.roots.iter().map(|root| &**root)
    }

    /// The certificates between the signer's own and the root, starting with the issuer's.
    pub(crate) fn path(&self) -> &[Box<[u8]>] {
        &self.path
    }

    /// Returns whether a certificate was verified: it is the signer's own, one of its path, or a
    /// root.
    pub(crate) fn knows(&self, certificate: &[u8]) -> bool {
        let others = self.path.iter().chain(&*self.roots);
        *self.certificate == *certificate || others.into_iter().any(|one| **one == *certificate)
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Checks the validity of the path. A signer may be cached, so this is checked for every
    /// signature.
    pub(crate) fn check_time(&self, now: u64) -> Result<(), BadProof> {
        self.span.check(now)
    }
}

impl core::fmt::Debug for Signer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Signer")
            .field("fingerprint", &hex::encode(self.fingerprint))
            .field("span", &self.span)
            .finish_non_exhaustive()
    }
}

/// The public key of a certificate, DER: its `subjectPublicKey`, without the algorithm.
///
/// # Errors
/// Refuses bytes that are not a certificate.
pub fn public_key(certificate: &[u8]) -> Result<Vec<u8>, BadProof> {
    let parsed = parse(certificate)?;
    let key = parsed.tbs_certificate.subject_public_key_info.subject_public_key;
    Ok(key.raw_bytes().to_vec())
}

/// The first and the last second of a certificate's validity, since the Unix epoch. It does not
/// check who issued the certificate.
///
/// # Errors
/// Refuses bytes that are not a certificate.
pub fn validity(certificate: &[u8]) -> Result<(u64, u64), BadProof> {
    let Span { not_before, not_after } = Span::of(&parse(certificate)?.tbs_certificate.validity);
    Ok((not_before, not_after))
}

/// Verifies that the key of a certificate signed `statement`, by the algorithm of
/// [`crate::Request::check_proof`].
///
/// # Errors
/// Refuses bytes that are not a certificate, and a signature that does not verify.
pub fn check_key_proof(
    certificate: &[u8],
    statement: &[u8],
    signature: &[u8],
) -> Result<(), BadProof> {
    let parsed = parse(certificate)?;
    let info = parsed.tbs_certificate.subject_public_key_info.owned_to_ref();
    let key = info.subject_public_key.as_bytes().ok_or(BadProof::Key)?;
    PublicKey::new(&info)?.verify(own_scheme(&info, key)?, statement, signature)
}

/// The SHA-256 of a certificate.
pub(crate) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, certificate);
    digest.as_ref().try_into().expect("SHA-256 is 32 bytes")
}

impl Names {
    pub(crate) fn of(certificate: &[u8]) -> Result<Self, BadProof> {
        let read = || -> der::Result<_> {
            let mut tbs = Fields::of(certificate, SEQUENCE)?.open(SEQUENCE)?;
            tbs.optional(context(0))?; // version
            if !tbs.next_is(INTEGER) {
                return Err(der::ErrorKind::Failed.into());
            }
            let serial = tbs.element()?;
            tbs.content(SEQUENCE)?; // signature
            Ok((tbs.element()?, serial))
        };
        let (issuer, serial) = read().map_err(|_| BadProof::Certificate)?;
        let key_identifier = parse(certificate)?
            .tbs_certificate
            .get::<SubjectKeyIdentifier>()
            .map_err(|_| BadProof::Certificate)?
            .map(|(_, identifier)| identifier.0.as_bytes().into());
        Ok(Self { issuer: issuer.into(), serial: serial.into(), key_identifier })
    }
}

/// The first and the last second of validity since the Unix epoch, both inclusive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Span {
    not_before: u64,
    not_after: u64,
}

impl Span {
    fn of(validity: &Validity) -> Self {
        Self {
            not_before: validity.not_before.to_unix_duration().as_secs(),
            not_after: validity.not_after.to_unix_duration().as_secs(),
        }
    }

    fn within(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    fn check(self, now: u64) -> Result<(), BadProof> {
        match now {
            _ if now < self.not_before => Err(BadProof::NotYetValid),
            _ if now > self.not_after => Err(BadProof::Expired),
            _ => Ok(()),
        }
    }
}

fn parse(der: &[u8]) -> Result<Certificate, BadProof> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(BadProof::Certificate);
    }
    Certificate::from_der(der).map_err(|_| BadProof::Certificate)
}

/// Checks the key usage of the signer's certificate, because the path builder checks it for none.
fn check_end_entity(certificate: &Certificate) -> Result<(), BadProof> {
    match key_usage(certificate)? {
        Some(usage) if !usage.digital_signature() && !usage.non_repudiation() => {
            Err(BadProof::KeyUsage)
        }
        _ => Ok(()),
    }
}

/// Checks that a root may sign certificates. The path builder checks this for intermediates only.
fn check_authority(certificate: &Certificate) -> Result<(), BadProof> {
    match certificate.tbs_certificate.get::<BasicConstraints>() {
        Ok(Some((_, constraints))) if constraints.ca => Ok(()),
        Ok(_) => Err(BadProof::KeyUsage),
        Err(_) => Err(BadProof::Certificate),
    }
}

fn check_issuer(certificate: &Certificate) -> Result<(), BadProof> {
    match key_usage(certificate)? {
        Some(usage) if !usage.key_cert_sign() => Err(BadProof::KeyUsage),
        _ => Ok(()),
    }
}

fn key_usage(certificate: &Certificate) -> Result<Option<KeyUsage>, BadProof> {
    let found = certificate.tbs_certificate.get::<KeyUsage>();
    Ok(found.map_err(|_| BadProof::Certificate)?.map(|(_, usage)| usage))
}

/// The extended key usage: absent, or including e-mail protection.
struct Usage;

impl ExtendedKeyUsageValidator for Usage {
    fn validate(&self, iter: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        webpki::KeyUsage::required_if_present(EMAIL_PROTECTION).validate(iter)
    }
}

fn refusal(error: &webpki::Error) -> BadProof {
    use webpki::Error;
    match error {
        Error::BadDer
        | Error::BadDerTime
        | Error::TrailingData(_)
        | Error::UnsupportedCertVersion
        | Error::InvalidSerialNumber
        | Error::MalformedExtensions => BadProof::Certificate,
        Error::CertExpired { .. } => BadProof::Expired,
        Error::CertNotValidYet { .. } => BadProof::NotYetValid,
        Error::CaUsedAsEndEntity | Error::RequiredEkuNotFoundContext(_) => BadProof::KeyUsage,
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => BadProof::Untrusted,
        _ => BadProof::Chain,
    }
}
