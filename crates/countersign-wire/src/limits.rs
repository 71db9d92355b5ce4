//! Every bound of the protocol, in one place. Each string, list and message of the protocol has a
//! bound here.

use core::time::Duration;

/// The largest content that a user can be asked to sign.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// The largest signature: a CMS contains its content, its signer's certificate and the chain.
pub const SIGNATURE_BYTES_MAX: usize = CONTENT_BYTES_MAX + 32 * 1024;
/// The longest digest, which is SHA-512's.
pub const DIGEST_BYTES_MAX: usize = 64;
/// The largest sealed message, as a compact JWE.
pub const SEALED_BYTES_MAX: usize = 120 * 1024;
/// The largest frame on the channel and the largest HTTP body, as UTF-8 bytes.
pub const FRAME_BYTES_MAX: usize = base64(SIGNATURE_BYTES_MAX) + 4 * 1024;
/// The largest JWS.
pub const TOKEN_BYTES_MAX: usize = 4 * 1024;

/// The longest tenant, user, client and identity name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// The longest label of an identity, in bytes.
pub const LABEL_BYTES_MAX: usize = 255;
/// The most labels of one identity.
pub const LABELS_MAX: usize = 16;
/// The most identities of one enrolment.
pub const IDENTITIES_MAX: usize = 8;
/// The largest PKCS#10 request.
pub const CSR_BYTES_MAX: usize = 8 * 1024;
/// The longest key proof: an RSA signature by a key of 8192 bits.
pub const KEY_PROOF_BYTES_MAX: usize = 1024;
/// The largest certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// The longest push address, in bytes.
pub const PUSH_TOKEN_BYTES_MAX: usize = 4 * 1024;
/// The longest URL of a Web Push subscription, in bytes.
pub const PUSH_ENDPOINT_BYTES_MAX: usize = 2 * 1024;
/// The largest push. Every service accepts this size, and larger ones are optional (RFC 8030 §7.2).
pub const PUSH_MESSAGE_BYTES_MAX: usize = 4_096;
/// The longest language tag, in bytes.
pub const LANGUAGE_BYTES_MAX: usize = 35;
/// The longest activation code, in bytes.
pub const CODE_BYTES_MAX: usize = 128;
/// The longest reason of a device's failure, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;
/// The longest match code, in characters.
pub const MATCH_CODE_BYTES_MAX: usize = 8;
/// The longest nonce of a challenge and the longest `jti`, in bytes.
pub const NONCE_BYTES_MAX: usize = 64;

/// The largest difference between a device's clock and the server's, in both directions.
pub const SKEW_MAX: Duration = Duration::from_mins(1);
/// The greatest `n` of a frame. Every JSON implementation represents it exactly (RFC 8259 §6).
pub const FRAME_NUMBER_MAX: u64 = (1 << 53) - 1;

/// The length of `bytes` bytes in base64, with padding.
const fn base64(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

// A sealed message has a whole content in base64 inside JSON, and a frame has a whole sealed
// message or signature; the rest is for names, headers and brackets.
const _: () = assert!(SEALED_BYTES_MAX > base64(base64(CONTENT_BYTES_MAX) + 2 * 1024));
const _: () = assert!(FRAME_BYTES_MAX > SEALED_BYTES_MAX + 4 * 1024);
const _: () = assert!(
    FRAME_BYTES_MAX
        > IDENTITIES_MAX
            * (base64(CSR_BYTES_MAX) + base64(KEY_PROOF_BYTES_MAX) + LABELS_MAX * LABEL_BYTES_MAX)
);
