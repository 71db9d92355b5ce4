//! The public key of a tenant's tokens, and its key id.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use countersign_core::port::PublicKey;

/// The id of a token key, in its tokens and its tenant's key set.
pub(super) fn key_name(key: &PublicKey) -> String {
    let (x, y) = point(key);
    thumbprint(&x, &y)
}

/// The coordinates of a token key, base64url.
pub(super) fn point(key: &PublicKey) -> (String, String) {
    // SEC 1, section 2.3.3: after one byte, both coordinates.
    let (x, y) = key[1..].split_at(32);
    (BASE64URL.encode(x), BASE64URL.encode(y))
}

/// The key's thumbprint: a hash of the required members in order (RFC 7638, section 3).
pub(super) fn thumbprint(x: &str, y: &str) -> String {
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    BASE64URL.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}
