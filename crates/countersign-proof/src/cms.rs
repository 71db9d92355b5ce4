//! CMS messages (RFC 5652): the form in which a device submits, and in which evidence is handed on.
//!
//! The policy is narrower than the format: one signer, content inside the message, exactly the six
//! signed attributes of CAdES-B-B with mime-type and content-identifier and at most RFC 6211's
//! beside them, no unsigned attributes, and no trailing bytes. An unknown attribute is refused
//! although it is signed: it could change the meaning of the signature, and this crate could not
//! tell.

mod attributes;
mod message;

use aws_lc_rs::digest;

use self::attributes::Attributes;
use self::message::{Message, SignerId};
use crate::ber::{self, element};
use crate::fields::SET;
use crate::key::Scheme;
use crate::raw::Hash;
use crate::signer::Names;
use crate::{BadProof, Proof, Roots, Signer, oid};

/// The values that a submission must have signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected<'a> {
    /// The transaction's id.
    pub transaction: [u8; 16],
    /// The bytes that the device showed.
    pub content: &'a [u8],
    /// The media type of `content`, with its parameters.
    pub media_type: &'a str,
}

/// Verifies a CMS message, BER or DER, by `signer` over `expected`.
///
/// The signing time is the device's claim; only its form is checked.
///
/// # Errors
/// Returns the first reason found. The order is: the validity of the signer at `now`, the message's
/// form, the content, media type and transaction, the signature, and then the other certificates in
/// the message.
pub fn verify(
    submission: &[u8],
    expected: &Expected<'_>,
    signer: &Signer,
    now: u64,
) -> Result<Proof, BadProof> {
    signer.check_time(now)?;
    let der = to_der(submission)?;
    let message = Message::parse(&der)?;
    let claims = Claims::of(&message, signer)?;
    if message.content != expected.content {
        return Err(BadProof::OtherContent);
    }
    if claims.attributes.media_type != expected.media_type {
        return Err(BadProof::OtherMediaType);
    }
    if claims.attributes.transaction != expected.transaction {
        return Err(BadProof::OtherTransaction);
    }
    claims.verify()?;

    let digest = digest::digest(&digest::SHA256, expected.content);
    let digest = digest.as_ref().try_into().expect("SHA-256 is 32 bytes");
    Ok(Proof::new(expected.transaction, digest, Some(signer.fingerprint()), der))
}

/// The signed values of a message that is verified without an expectation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inspected {
    /// The bytes that were signed.
    pub content: Vec<u8>,
    /// The media type, as signed.
    pub media_type: String,
    /// The transaction's id, as signed.
    pub transaction: [u8; 16],
    /// The time of signing that the device claims, in seconds since the Unix epoch.
    pub signing_time: u64,
    /// The signer's certificate, DER.
    pub certificate: Vec<u8>,
    /// The certificates between it and the root, DER, starting with its issuer's.
    pub chain: Vec<Vec<u8>>,
}

/// Verifies a CMS message by the certificates in it, valid at `now`, up to one of `roots`.
///
/// # Errors
/// As [`verify`], except that every content, media type and transaction is accepted.
pub fn inspect(submission: &[u8], roots: &Roots, now: u64) -> Result<Inspected, BadProof> {
    inspect_at(submission, roots, Some(now))
}

/// As [`inspect`], at the time when the message *claims* to have been signed. Only the signer
/// vouches for that time.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_when_signed(submission: &[u8], roots: &Roots) -> Result<Inspected, BadProof> {
    inspect_at(submission, roots, None)
}

fn inspect_at(submission: &[u8], roots: &Roots, time: Option<u64>) -> Result<Inspected, BadProof> {
    let der = to_der(submission)?;
    let message = Message::parse(&der)?;
    let signing_time = Attributes::parse(message.signed_attributes)?.signing_time;

    let (mut own, mut chain) = (None, Vec::new());
    for certificate in &message.certificates {
        if own.is_none() && message.signer.names(&Names::of(certificate)?) {
            own = Some(*certificate);
        } else {
            chain.push(certificate.to_vec());
        }
    }
    let own = own.ok_or(BadProof::CertificateAbsent)?;
    let signer = Signer::new(own, &chain, roots, time.unwrap_or(signing_time))?;

    let claims = Claims::of(&message, &signer)?;
    claims.verify()?;
    Ok(Inspected {
        content: message.content.to_vec(),
        media_type: claims.attributes.media_type.to_owned(),
        transaction: claims.attributes.transaction,
        signing_time,
        certificate: own.to_vec(),
        chain: signer.path().iter().map(|certificate| certificate.to_vec()).collect(),
    })
}

/// Normalises a message: BER framing becomes DER, and the message's own SETs get DER's order.
/// Signed attributes are signed in that order (RFC 5652 §5.4). OpenSSL verifies them in the order
/// of the message, so the stored evidence needs DER's order too. Bytes inside certificates are not
/// changed.
pub(crate) fn to_der(submission: &[u8]) -> Result<Vec<u8>, BadProof> {
    let mut der = ber::to_der(submission)?;
    let sorted = Message::parse(&der)?.sets_out_of_order();
    for (start, content) in sorted {
        der[start..start + content.len()].copy_from_slice(&content);
    }
    Ok(der)
}

/// A well-formed message that names `signer` as its signer.
struct Claims<'a> {
    message: &'a Message<'a>,
    signer: &'a Signer,
    attributes: Attributes<'a>,
    hash: Hash,
    scheme: Scheme,
}

impl<'a> Claims<'a> {
    fn of(message: &'a Message<'a>, signer: &'a Signer) -> Result<Self, BadProof> {
        if !message.signer.names(signer.names()) {
            return Err(BadProof::OtherSigner);
        }
        let carries = |certificate: &[u8]| message.certificates.contains(&certificate);
        if !carries(signer.certificate()) || !signer.path().iter().all(|issuer| carries(issuer)) {
            return Err(BadProof::CertificateAbsent);
        }

        let hash = Hash::new(&message.digest_algorithm)?;
        let listed = |hash| message.digest_algorithms.iter().any(|one| Hash::new(one) == Ok(hash));
        if !listed(hash) {
            return Err(BadProof::AlgorithmsDisagree);
        }
        let scheme = Scheme::new(&message.signature_algorithm, hash)?;

        let attributes = Attributes::parse(message.signed_attributes)?;
        if attributes.content_type != oid::DATA {
            return Err(BadProof::OtherContentType);
        }
        let algorithms = (&message.digest_algorithm, &message.signature_algorithm);
        if attributes.algorithms.as_ref().is_some_and(|own| !own.are(algorithms.0, algorithms.1)) {
            return Err(BadProof::OtherAlgorithms);
        }
        if !attributes.signing_certificate.names(signer) {
            return Err(BadProof::OtherSigningCertificate);
        }
        Ok(Self { message, signer, attributes, hash, scheme })
    }

    fn verify(&self) -> Result<(), BadProof> {
        if self.attributes.message_digest != self.hash.digest(self.message.content).as_ref() {
            return Err(BadProof::OtherDigest);
        }
        // The signature is over a SET OF, not over the tag in the message (RFC 5652 §5.4).
        let signed = element(SET, self.message.signed_attributes);
        self.signer.key().verify(self.scheme, &signed, self.message.signature)?;
        // An unverified certificate may be malformed, and OpenSSL reads all certificates, so a
        // later verification of the evidence would fail.
        if !self.message.certificates.iter().all(|certificate| self.signer.knows(certificate)) {
            return Err(BadProof::OtherCertificate);
        }
        Ok(())
    }
}

impl SignerId<'_> {
    fn names(&self, certificate: &Names) -> bool {
        match self {
            Self::IssuerAndSerial { issuer, serial } => {
                **issuer == *certificate.issuer && **serial == *certificate.serial
            }
            Self::KeyIdentifier(identifier) => {
                certificate.key_identifier.as_deref() == Some(*identifier)
            }
        }
    }
}
