//! The public key of a tenant's tokens, and its key id.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use countersign_core::Fault;
use countersign_core::tenant::Tenant;
use rcgen::{KeyPair, PublicKeyData as _};

/// The id of a tenant's token key, in its tokens and its key set.
///
/// # Errors
/// If the key is broken.
pub(super) fn key_name(tenant: &Tenant) -> Result<String, Fault> {
    let (x, y) = point(tenant)?;
    Ok(thumbprint(&x, &y))
}

/// The public half of a tenant's token key: the coordinates of a point on P-256, base64url.
///
/// # Errors
/// If the key is broken.
pub(super) fn point(tenant: &Tenant) -> Result<(String, String), Fault> {
    const READING: &str = "reading a tenant's token key";
    let key = KeyPair::try_from(tenant.token_key.expose().as_slice())
        .map_err(Fault::while_doing(READING))?;
    match key.der_bytes() {
        // SEC 1, section 2.3.3: an uncompressed point.
        [0x04, coordinates @ ..] if coordinates.len() == 64 => {
            let (x, y) = coordinates.split_at(32);
            Ok((BASE64URL.encode(x), BASE64URL.encode(y)))
        }
        _ => Err(Fault::new(READING, "it is not a key on P-256")),
    }
}

/// The key's thumbprint: a hash of the required members in order (RFC 7638, section 3).
pub(super) fn thumbprint(x: &str, y: &str) -> String {
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    BASE64URL.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}
