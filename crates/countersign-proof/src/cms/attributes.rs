//! The signed attributes: six that are required and one that is optional, each at most once and
//! with exactly one value.

use der::Decode;
use der::asn1::{ObjectIdentifier, Utf8StringRef};
use spki::AlgorithmIdentifierRef;
use x509_cert::time::Time;

use super::message::ATTRIBUTES_MAX;
use crate::fields::{Fields, OCTET_STRING, SEQUENCE, SET, context};
use crate::key::is_null_or_absent;
use crate::raw::Hash;
use crate::{Attribute, BadProof, Signer, oid};

pub(super) struct Attributes<'a> {
    pub(super) content_type: ObjectIdentifier,
    pub(super) message_digest: &'a [u8],
    /// In seconds since the Unix epoch.
    pub(super) signing_time: u64,
    pub(super) signing_certificate: CertificateId<'a>,
    pub(super) media_type: &'a str,
    pub(super) transaction: [u8; 16],
    pub(super) algorithms: Option<SignedAlgorithms<'a>>,
}

/// `CMSAlgorithmProtection` of a signature (RFC 6211 §2).
pub(super) struct SignedAlgorithms<'a> {
    digest: AlgorithmIdentifierRef<'a>,
    signature: AlgorithmIdentifierRef<'a>,
}

/// `ESSCertIDv2` (RFC 5035 §4).
pub(super) struct CertificateId<'a> {
    hash: Hash,
    digest: &'a [u8],
    /// Two whole elements: the issuer's Name, and the serial number.
    issuer_serial: Option<(&'a [u8], &'a [u8])>,
}

const ALL: [(Attribute, ObjectIdentifier); 7] = [
    (Attribute::ContentType, oid::CONTENT_TYPE),
    (Attribute::MessageDigest, oid::MESSAGE_DIGEST),
    (Attribute::SigningTime, oid::SIGNING_TIME),
    (Attribute::SigningCertificate, oid::SIGNING_CERTIFICATE_V2),
    (Attribute::MimeType, oid::MIME_TYPE),
    (Attribute::ContentIdentifier, oid::CONTENT_IDENTIFIER),
    (Attribute::AlgorithmProtection, oid::ALGORITHM_PROTECTION),
];

impl<'a> Attributes<'a> {
    /// Reads the content of the SET OF Attribute (RFC 5652 §5.3).
    pub(super) fn parse(set: &'a [u8]) -> Result<Self, BadProof> {
        let mut values: [Option<&'a [u8]>; 7] = [None; 7];
        for attribute in Fields::new(set)?.elements(ATTRIBUTES_MAX)? {
            let mut fields = Fields::of(attribute, SEQUENCE)?;
            let kind: ObjectIdentifier = fields.decode()?;
            let place = ALL.iter().position(|(_, known)| *known == kind);
            let place = place.ok_or(BadProof::AttributeUnknown(kind))?;
            let name = ALL[place].0;
            let value = single(fields).map_err(|_| BadProof::AttributeMalformed(name))?;
            if values[place].replace(value).is_some() {
                return Err(BadProof::AttributeRepeated(name));
            }
        }

        let found = |name: Attribute| {
            let place = ALL.iter().position(|(known, _)| *known == name);
            values[place.expect("ALL lists every attribute")]
        };
        let value = |name: Attribute| found(name).ok_or(BadProof::AttributeMissing(name));
        let algorithms = found(Attribute::AlgorithmProtection).map(signed_algorithms).transpose();
        let malformed = BadProof::AttributeMalformed(Attribute::AlgorithmProtection);
        Ok(Self {
            content_type: read(Attribute::ContentType, value, ObjectIdentifier::from_der)?,
            message_digest: read(Attribute::MessageDigest, value, octets)?,
            signing_time: read(Attribute::SigningTime, value, Time::from_der)?
                .to_unix_duration()
                .as_secs(),
            signing_certificate: read(Attribute::SigningCertificate, value, certificate_id)?,
            media_type: read(Attribute::MimeType, value, Utf8StringRef::from_der)?.as_str(),
            transaction: read(Attribute::ContentIdentifier, value, |value| {
                octets(value)?.try_into().map_err(|_| der::ErrorKind::Failed.into())
            })?,
            algorithms: algorithms.map_err(|_| malformed)?,
        })
    }
}

fn read<'a, T>(
    name: Attribute,
    value: impl Fn(Attribute) -> Result<&'a [u8], BadProof>,
    decode: impl Fn(&'a [u8]) -> der::Result<T>,
) -> Result<T, BadProof> {
    decode(value(name)?).map_err(|_| BadProof::AttributeMalformed(name))
}

/// The one value of an attribute, as a whole element.
fn single(mut attribute: Fields<'_>) -> der::Result<&[u8]> {
    let mut values = attribute.open(SET)?;
    attribute.end()?;
    let value = values.element()?;
    values.end()?;
    Ok(value)
}

fn octets(value: &[u8]) -> der::Result<&[u8]> {
    let mut fields = Fields::new(value)?;
    let octets = fields.content(OCTET_STRING)?;
    fields.end()?;
    Ok(octets)
}

/// `CMSAlgorithmProtection` (RFC 6211 §2), whose tags are implicit: a digest algorithm and a
/// signature algorithm, and no algorithm of a MAC.
fn signed_algorithms(value: &[u8]) -> der::Result<SignedAlgorithms<'_>> {
    let mut fields = Fields::of(value, SEQUENCE)?;
    let digest = fields.decode()?;
    let mut signature = fields.open(context(1))?;
    fields.end()?;
    let oid = signature.decode()?;
    let parameters = if signature.is_empty() { None } else { Some(signature.only()?) };
    Ok(SignedAlgorithms { digest, signature: AlgorithmIdentifierRef { oid, parameters } })
}

impl SignedAlgorithms<'_> {
    /// Whether the signer has these algorithms (RFC 6211 §2). Absent parameters and NULL are the
    /// same, because both are written for digests and for RSA (RFC 5754).
    pub(super) fn are(
        &self,
        digest: &AlgorithmIdentifierRef<'_>,
        signature: &AlgorithmIdentifierRef<'_>,
    ) -> bool {
        let is_same = |one: &AlgorithmIdentifierRef<'_>, other: &AlgorithmIdentifierRef<'_>| {
            let no_parameters = is_null_or_absent(one) && is_null_or_absent(other);
            one.oid == other.oid && (no_parameters || one.parameters == other.parameters)
        };
        is_same(&self.digest, digest) && is_same(&self.signature, signature)
    }
}

/// `SigningCertificateV2` (RFC 5035 §3) with one certificate, the signer's, and no policies.
fn certificate_id(value: &[u8]) -> der::Result<CertificateId<'_>> {
    let mut outer = Fields::of(value, SEQUENCE)?;
    let mut list = outer.open(SEQUENCE)?;
    outer.end()?;
    let mut id = list.open(SEQUENCE)?;
    list.end()?;

    // DER leaves the default out, but many encoders write it.
    let hash = if id.next_is(SEQUENCE) {
        let algorithm: AlgorithmIdentifierRef<'_> = id.decode()?;
        Hash::new(&algorithm).map_err(|_| der::ErrorKind::Failed)?
    } else {
        Hash::Sha256
    };
    let digest = id.content(OCTET_STRING)?;
    let issuer_serial = if id.next_is(SEQUENCE) {
        let mut issuer_serial = id.open(SEQUENCE)?;
        // GeneralNames with one directoryName (RFC 5280 §4.2.1.6), whose tag is explicit.
        let mut names = issuer_serial.open(SEQUENCE)?;
        let mut name = names.open(context(4))?;
        names.end()?;
        let issuer = name.element()?;
        name.end()?;
        let serial = issuer_serial.element()?;
        issuer_serial.end()?;
        Some((issuer, serial))
    } else {
        None
    };
    id.end()?;
    Ok(CertificateId { hash, digest, issuer_serial })
}

impl CertificateId<'_> {
    pub(super) fn names(&self, signer: &Signer) -> bool {
        let names = signer.names();
        self.digest == self.hash.digest(signer.certificate()).as_ref()
            && self
                .issuer_serial
                .is_none_or(|(issuer, serial)| *issuer == *names.issuer && *serial == *names.serial)
    }
}
