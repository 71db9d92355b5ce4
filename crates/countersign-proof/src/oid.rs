//! The object identifiers that a proof may name, each with the document that assigned it.

use der::asn1::ObjectIdentifier;

const fn oid(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(dotted)
}

/// id-data (RFC 5652 §4).
pub const DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.1");
/// id-signedData (RFC 5652 §5.1).
pub const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");

/// id-contentType (RFC 5652 §11.1).
pub const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
/// id-messageDigest (RFC 5652 §11.2).
pub const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");
/// id-signingTime (RFC 5652 §11.3).
pub const SIGNING_TIME: ObjectIdentifier = oid("1.2.840.113549.1.9.5");
/// id-aa-signingCertificateV2 (RFC 5035 §3).
pub const SIGNING_CERTIFICATE_V2: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.47");
/// id-aa-ets-mimeType (EN 319 122-1 §5.2.5.2).
pub const MIME_TYPE: ObjectIdentifier = oid("0.4.0.1733.2.1");
/// id-aa-contentIdentifier (RFC 2634 §2.7).
pub const CONTENT_IDENTIFIER: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.7");

/// id-aa-CMSAlgorithmProtection (RFC 6211 §2).
pub const ALGORITHM_PROTECTION: ObjectIdentifier = oid("1.2.840.113549.1.9.52");

/// id-sha256 (RFC 5754 §2).
pub const SHA256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
/// id-sha384 (RFC 5754 §2).
pub const SHA384: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.2");
/// id-sha512 (RFC 5754 §2).
pub const SHA512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");

/// rsaEncryption (RFC 8017 appendix C): an RSA key, or PKCS #1 v1.5 if another field names the
/// digest.
pub const RSA_ENCRYPTION: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
/// id-mgf1 (RFC 8017 appendix C).
pub const MGF1: ObjectIdentifier = oid("1.2.840.113549.1.1.8");
/// id-RSASSA-PSS (RFC 8017 appendix C).
pub const RSA_PSS: ObjectIdentifier = oid("1.2.840.113549.1.1.10");
/// sha256WithRSAEncryption (RFC 8017 appendix C).
pub const RSA_SHA256: ObjectIdentifier = oid("1.2.840.113549.1.1.11");
/// sha384WithRSAEncryption (RFC 8017 appendix C).
pub const RSA_SHA384: ObjectIdentifier = oid("1.2.840.113549.1.1.12");
/// sha512WithRSAEncryption (RFC 8017 appendix C).
pub const RSA_SHA512: ObjectIdentifier = oid("1.2.840.113549.1.1.13");
/// id-ecPublicKey (RFC 5480 §2.1.1).
pub const EC_PUBLIC_KEY: ObjectIdentifier = oid("1.2.840.10045.2.1");
/// secp256r1 (RFC 5480 §2.1.1.1).
pub const P256: ObjectIdentifier = oid("1.2.840.10045.3.1.7");
/// secp384r1 (RFC 5480 §2.1.1.1).
pub const P384: ObjectIdentifier = oid("1.3.132.0.34");
/// secp521r1 (RFC 5480 §2.1.1.1).
pub const P521: ObjectIdentifier = oid("1.3.132.0.35");
/// ecdsa-with-SHA256 (RFC 5758 §3.2).
pub const ECDSA_SHA256: ObjectIdentifier = oid("1.2.840.10045.4.3.2");
/// ecdsa-with-SHA384 (RFC 5758 §3.2).
pub const ECDSA_SHA384: ObjectIdentifier = oid("1.2.840.10045.4.3.3");
/// ecdsa-with-SHA512 (RFC 5758 §3.2).
pub const ECDSA_SHA512: ObjectIdentifier = oid("1.2.840.10045.4.3.4");
/// id-Ed25519 (RFC 8410 §3).
pub const ED25519: ObjectIdentifier = oid("1.3.101.112");
