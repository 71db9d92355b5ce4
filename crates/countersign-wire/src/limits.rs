//! Every bound of the protocol, in one place. A string, list or message that is not bounded here
//! does not exist on the wire.

use core::time::Duration;

/// Largest content a person can be asked to sign.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// Largest signature: a CMS holds its content, its signer's certificate and the chain.
pub const SIGNATURE_BYTES_MAX: usize = CONTENT_BYTES_MAX + 32 * 1024;
/// Longest digest: SHA-512's.
pub const DIGEST_BYTES_MAX: usize = 64;
/// Largest sealed message, as a compact JWE.
pub const SEALED_BYTES_MAX: usize = 120 * 1024;
/// Largest frame on the channel and largest HTTP body, as UTF-8 bytes.
pub const FRAME_BYTES_MAX: usize = base64(SIGNATURE_BYTES_MAX) + 4 * 1024;
/// Largest JWS.
pub const TOKEN_BYTES_MAX: usize = 4 * 1024;

/// Longest tenant, user, client and identity name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest label of an identity, in bytes.
pub const LABEL_BYTES_MAX: usize = 255;
/// Labels of one identity.
pub const LABELS_MAX: usize = 16;
/// Identities that one enrolment may ask for.
pub const IDENTITIES_MAX: usize = 8;
/// Largest PKCS#10 request.
pub const CSR_BYTES_MAX: usize = 8 * 1024;
/// Longest key proof: an RSA signature by a key of 8192 bits.
pub const KEY_PROOF_BYTES_MAX: usize = 1024;
/// Largest certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// Longest push address, in bytes.
pub const PUSH_TOKEN_BYTES_MAX: usize = 4 * 1024;
/// Longest URL of a Web Push subscription, in bytes.
pub const PUSH_ENDPOINT_BYTES_MAX: usize = 2 * 1024;
/// Largest push: every service takes as much, and none must take more (RFC 8030, section 7.2).
pub const PUSH_MESSAGE_BYTES_MAX: usize = 4_096;
/// Longest name of a language, in bytes.
pub const LANGUAGE_BYTES_MAX: usize = 35;
/// Longest activation code, in bytes.
pub const CODE_BYTES_MAX: usize = 128;
/// Longest reason that a device gives for failing, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;
/// Longest match code, in characters.
pub const MATCH_CODE_BYTES_MAX: usize = 8;
/// Longest nonce of a challenge and longest `jti`, in bytes.
pub const NONCE_BYTES_MAX: usize = 64;

/// How far a device's clock may be from the server's, either way.
pub const SKEW_MAX: Duration = Duration::from_mins(1);
/// Greatest `n` of a frame: what every JSON implementation holds exactly (RFC 8259, section 6).
pub const FRAME_NUMBER_MAX: u64 = (1 << 53) - 1;

/// Length of `bytes` bytes in base64, with padding.
const fn base64(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

// A sealed message carries a whole content in base64 inside JSON, and a frame carries a whole
// sealed message or signature; what is left over is for names, headers and brackets.
const _: () = assert!(SEALED_BYTES_MAX > base64(base64(CONTENT_BYTES_MAX) + 2 * 1024));
const _: () = assert!(FRAME_BYTES_MAX > SEALED_BYTES_MAX + 4 * 1024);
const _: () = assert!(
    FRAME_BYTES_MAX
        > IDENTITIES_MAX
            * (base64(CSR_BYTES_MAX) + base64(KEY_PROOF_BYTES_MAX) + LABELS_MAX * LABEL_BYTES_MAX)
);
