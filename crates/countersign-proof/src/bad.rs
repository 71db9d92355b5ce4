//! Why something is not a proof.

use crate::ber::BadBer;

/// Why a submission was turned down, the first reason found. It says nothing of the content, and is
/// safe to show to whoever submitted it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadProof {
    /// The bytes are not one element of readable BER.
    #[error(transparent)]
    Encoding(#[from] BadBer),
    /// The element is not a CMS `SignedData` in its right form.
    #[error("the message is not a well-formed CMS signed message")]
    Message,
    /// A version number that does not go with what the message holds.
    #[error("the message has a version that does not fit it")]
    Version,
    /// What is inside is not id-data, so it means something else than its bytes.
    #[error("the message holds something other than plain data")]
    ContentType,
    /// The content is elsewhere.
    #[error("the message does not hold its content")]
    Detached,
    /// Revocation lists, which nobody here reads.
    #[error("the message carries revocation lists")]
    RevocationLists,
    /// An embedded certificate of another kind than X.509, or one that is neither the signer's, nor
    /// one that it chains by, nor a root.
    #[error("the message carries a certificate that has no place in it")]
    OtherCertificate,
    /// Nobody signed.
    #[error("the message has no signer")]
    NoSigner,
    /// More than one signed.
    #[error("the message has several signers")]
    SeveralSigners,
    /// The signature does not say that it is by this certificate's key.
    #[error("the message names another signer")]
    OtherSigner,
    /// The signer's certificate or one that it chains by is not in the message, or not as it is.
    #[error("the message does not carry the signer's certificate and chain")]
    CertificateAbsent,
    /// The signature is over the content itself, so it says nothing of when, what for, or by whom.
    #[error("the message has no signed attributes")]
    NoSignedAttributes,
    /// A signed attribute that must be there is not.
    #[error("the signed attribute {0} is missing")]
    AttributeMissing(Attribute),
    /// A signed attribute is there twice.
    #[error("the signed attribute {0} occurs more than once")]
    AttributeRepeated(Attribute),
    /// A signed attribute does not have exactly one value of its type.
    #[error("the signed attribute {0} is malformed")]
    AttributeMalformed(Attribute),
    /// A signed attribute that could change what the signature means.
    #[error("the message has a signed attribute that is not known here")]
    AttributeUnknown,
    /// Attributes that the signature does not cover.
    #[error("the message has unsigned attributes")]
    UnsignedAttributes,
    /// The content-type attribute says something else than the message.
    #[error("the signed content type is not the message's")]
    OtherContentType,
    /// The message-digest attribute is of another content.
    #[error("the signed digest is not the content's")]
    OtherDigest,
    /// The signing-certificate-v2 attribute names another certificate.
    #[error("the signed certificate is not the signer's")]
    OtherSigningCertificate,
    /// SHA-1, MD5, or anything else than SHA-256, SHA-384 and SHA-512.
    #[error("the digest algorithm is not allowed")]
    DigestAlgorithm,
    /// Not one of RSA PKCS #1 v1.5, RSA-PSS, ECDSA and Ed25519 with parameters as they must be.
    #[error("the signature algorithm is not allowed")]
    SignatureAlgorithm,
    /// A digest that was given, and is not one by the algorithm's hash.
    #[error("the digest is not as long as its algorithm's")]
    DigestLength,
    /// Message, signer and signature name digests that differ.
    #[error("the algorithms of the message do not agree")]
    AlgorithmsDisagree,
    /// The signature algorithm is for another kind of key.
    #[error("the signature algorithm does not fit the signer's key")]
    OtherKey,
    /// The signature is not by the signer over the signed attributes.
    #[error("the signature is not valid")]
    Signature,
    /// Good, and accepted before for another transaction.
    #[error("the signature has been used before")]
    UsedBefore,
    /// Good perhaps, but over other bytes than were shown.
    #[error("the signature is over another content")]
    OtherContent,
    /// Good perhaps, but the bytes were to be read another way.
    #[error("the signature is over content of another media type")]
    OtherMediaType,
    /// Good perhaps, but for something else.
    #[error("the signature is for another transaction")]
    OtherTransaction,
    /// A certificate that is not X.509 v3 in DER, or too long.
    #[error("the certificate is malformed")]
    Certificate,
    /// More certificates than a chain may have.
    #[error("the chain is too long")]
    ChainTooLong,
    /// No path from the certificate to a root of this tenant's.
    #[error("the certificate does not chain to a trusted root")]
    Untrusted,
    /// A path, but one that its certificates' constraints do not allow.
    #[error("the certificate's chain is not valid")]
    Chain,
    /// A certificate of the path is not valid yet.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// A certificate of the path is no longer valid.
    #[error("the certificate has expired")]
    Expired,
    /// A certificate of the path is for something else than it is used for.
    #[error("the certificate is not for signatures")]
    KeyUsage,
    /// A key of a kind or size that is not allowed.
    #[error("the certificate's key is of a kind or size that is not allowed")]
    Key,
    /// A request for a certificate that is not PKCS#10 in DER, or too long.
    #[error("the request for a certificate is malformed")]
    Request,
}

/// The signed attributes of a proof: these six, each once, and no other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attribute {
    /// content-type (RFC 5652 §11.1).
    ContentType,
    /// message-digest (RFC 5652 §11.2).
    MessageDigest,
    /// signing-time (RFC 5652 §11.3).
    SigningTime,
    /// signing-certificate-v2 (RFC 5035 §3).
    SigningCertificate,
    /// mime-type (EN 319 122-1 §5.2.5.2).
    MimeType,
    /// content-identifier (RFC 2634 §2.7).
    ContentIdentifier,
}

impl core::fmt::Display for Attribute {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::ContentType => "content-type",
            Self::MessageDigest => "message-digest",
            Self::SigningTime => "signing-time",
            Self::SigningCertificate => "signing-certificate-v2",
            Self::MimeType => "mime-type",
            Self::ContentIdentifier => "content-identifier",
        })
    }
}
