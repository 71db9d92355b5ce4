//! The reasons for which a submission is not a proof.

use der::asn1::ObjectIdentifier;

use crate::CHAIN_CERTIFICATES_MAX;
use crate::ber::BadBer;

/// The first reason found for which a submission is not a proof. It contains nothing of the
/// content, so it is safe to show to the submitter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadProof {
    /// The bytes are not one element of readable BER.
    #[error(transparent)]
    Encoding(#[from] BadBer),
    /// The element is not a well-formed CMS `SignedData`.
    #[error("the message is not a well-formed CMS signed message")]
    Message,
    /// A version number does not match what the message contains.
    #[error("the message has a version that does not fit it")]
    Version,
    /// The encapsulated content type is not id-data, so its bytes have another meaning.
    #[error("the message holds something other than plain data")]
    ContentType,
    /// The content is not in the message.
    #[error("the message does not hold its content")]
    Detached,
    /// The message has revocation lists, which this crate does not read.
    #[error("the message carries revocation lists")]
    RevocationLists,
    /// The message has more certificates than a path can have, the root included.
    #[error("the message carries more than {max} certificates", max = CHAIN_CERTIFICATES_MAX + 1)]
    ManyCertificates,
    /// An embedded certificate is not X.509, or is none of these: the signer's, a certificate of
    /// its verified path, a root.
    #[error("the message carries a certificate that has no place in it")]
    OtherCertificate,
    /// The message has no signer.
    #[error("the message has no signer")]
    NoSigner,
    /// The message has more than one signer.
    #[error("the message has several signers")]
    SeveralSigners,
    /// The signer identifier does not name this certificate.
    #[error("the message names another signer")]
    OtherSigner,
    /// The signer's certificate or one of its path is not in the message, or differs from it by a
    /// byte.
    #[error("the message does not carry the signer's certificate and chain")]
    CertificateAbsent,
    /// The message has no signed attributes. Such a signature is over the content itself, so it
    /// binds no time, no transaction and no certificate.
    #[error("the message has no signed attributes")]
    NoSignedAttributes,
    /// A required signed attribute is missing.
    #[error("the signed attribute {0} is missing")]
    AttributeMissing(Attribute),
    /// A signed attribute is present twice.
    #[error("the signed attribute {0} occurs more than once")]
    AttributeRepeated(Attribute),
    /// A signed attribute does not have exactly one value of its type.
    #[error("the signed attribute {0} is malformed")]
    AttributeMalformed(Attribute),
    /// A signed attribute is unknown, and could change what the signature means.
    #[error(
        "the message has the signed attribute {0}, which is not known here and could change what the \
         signature means"
    )]
    AttributeUnknown(ObjectIdentifier),
    /// The message has unsigned attributes, which the signature does not cover.
    #[error("the message has unsigned attributes")]
    UnsignedAttributes,
    /// The content-type attribute differs from the message's content type.
    #[error("the signed content type is not the message's")]
    OtherContentType,
    /// The `CMSAlgorithmProtection` attribute names other algorithms than the message.
    #[error("the signed algorithms (RFC 6211) are not the message's")]
    OtherAlgorithms,
    /// The message-digest attribute is not the digest of the message's content.
    #[error("the signed digest is not the content's")]
    OtherDigest,
    /// The signing-certificate-v2 attribute identifies another certificate.
    #[error("the signed certificate is not the signer's")]
    OtherSigningCertificate,
    /// The digest algorithm is not SHA-256, SHA-384 or SHA-512. SHA-1 and MD5 are refused too.
    #[error("the digest algorithm is not allowed")]
    DigestAlgorithm,
    /// The signature algorithm is not RSA PKCS #1 v1.5, RSA-PSS, ECDSA or Ed25519, or its
    /// parameters are not the required ones.
    #[error("the signature algorithm is not allowed")]
    SignatureAlgorithm,
    /// The length of a given digest is not the length of the algorithm's hash.
    #[error("the digest is not as long as its algorithm's")]
    DigestLength,
    /// The message, the signer and the signature name different digest algorithms.
    #[error("the algorithms of the message do not agree")]
    AlgorithmsDisagree,
    /// The signature algorithm is for another kind of key.
    #[error("the signature algorithm does not fit the signer's key")]
    OtherKey,
    /// The signature over the signed attributes does not verify with the signer's key.
    #[error("the signature is not valid")]
    Signature,
    /// The signature verifies, but was accepted before for another transaction.
    #[error("the signature has been used before")]
    UsedBefore,
    /// The message is over other bytes than were shown. The signature may verify.
    #[error("the signature is over another content")]
    OtherContent,
    /// The message signs another media type than was shown. The signature may verify.
    #[error("the signature is over content of another media type")]
    OtherMediaType,
    /// The message is for another transaction. The signature may verify.
    #[error("the signature is for another transaction")]
    OtherTransaction,
    /// A certificate is not X.509 v3 in DER, or is too long.
    #[error("the certificate is malformed")]
    Certificate,
    /// A chain has more certificates than are allowed.
    #[error("the chain is too long")]
    ChainTooLong,
    /// The certificate has no path to a root of this tenant.
    #[error("the certificate does not chain to a trusted root")]
    Untrusted,
    /// The constraints of the path's certificates do not allow the path.
    #[error("the certificate's chain is not valid")]
    Chain,
    /// A certificate of the path is not valid yet.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// A certificate of the path is no longer valid.
    #[error("the certificate has expired")]
    Expired,
    /// A certificate of the path is not for the usage that it has in the path.
    #[error("the certificate is not for signatures")]
    KeyUsage,
    /// The kind or size of a key is not allowed.
    #[error("the certificate's key is of a kind or size that is not allowed")]
    Key,
    /// A certificate request is not PKCS#10 in DER, or is too long.
    #[error("the request for a certificate is malformed")]
    Request,
}

/// The signed attributes of a proof: each of these once, but the last, which may be absent; and no
/// other.
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
    /// `CMSAlgorithmProtection` (RFC 6211), which many libraries write unasked.
    AlgorithmProtection,
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
            Self::AlgorithmProtection => "CMSAlgorithmProtection",
        })
    }
}
