//! What a client that knows only a realm's address can learn: where tokens come from, and the key that
//! signs them (RFC 8414; `OpenID` Connect Discovery 1.0).

use aws_lc_rs::digest;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use countersign_core::Fault;
use countersign_core::tenant::Tenant;
use rcgen::{KeyPair, PublicKeyData as _};
use serde::Serialize;

use super::caller::{Gate, Stranger};
use super::token::Issuer;

/// There is no page to log in on and there are no identity tokens: what the specifications require of
/// those is there, and says nothing more.
#[derive(Serialize)]
struct Document {
    issuer: String,
    token_endpoint: String,
    jwks_uri: String,
    grant_types_supported: [&'static str; 1],
    token_endpoint_auth_methods_supported: [&'static str; 2],
    response_types_supported: [&'static str; 0],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 1],
}

/// RFC 7517, section 4, and RFC 7518, section 6.2.
#[derive(Serialize)]
struct Key {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    kid: String,
}

#[derive(Serialize)]
struct Keys {
    keys: [Key; 1],
}

/// The realm's document.
///
/// # Errors
/// [`Stranger::NoTenant`] where there is no such realm.
pub(crate) async fn document(gate: &Gate, realm: &str) -> Result<Response, Stranger> {
    let tenant = gate.tenant(realm).await?;
    let issuer = gate.tokens.issuer(Issuer::Realm, &tenant.name);
    let document = Document {
        token_endpoint: format!("{issuer}/protocol/openid-connect/token"),
        jwks_uri: format!("{issuer}/protocol/openid-connect/certs"),
        issuer,
        grant_types_supported: ["client_credentials"],
        token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
        response_types_supported: [],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: ["ES256"],
    };
    Ok(Json(document).into_response())
}

/// The key that signs the realm's tokens.
///
/// # Errors
/// [`Stranger::NoTenant`] where there is no such realm.
pub(crate) async fn keys(gate: &Gate, realm: &str) -> Result<Response, Stranger> {
    let tenant = gate.tenant(realm).await?;
    let (x, y) = point(&tenant)?;
    let kid = thumbprint(&x, &y);
    let key = Key { kty: "EC", crv: "P-256", x, y, usage: "sig", alg: "ES256", kid };
    Ok(Json(Keys { keys: [key] }).into_response())
}

/// The name of a tenant's token key, in its tokens and among its keys.
///
/// # Errors
/// When the key is broken.
pub(crate) fn key_name(tenant: &Tenant) -> Result<String, Fault> {
    let (x, y) = point(tenant)?;
    Ok(thumbprint(&x, &y))
}

/// The public half of a tenant's token key: the coordinates of a point on P-256, base64url.
fn point(tenant: &Tenant) -> Result<(String, String), Fault> {
    const READING: &str = "reading a tenant's token key";
    let key = KeyPair::try_from(tenant.token_key.expose().as_slice())
        .map_err(Fault::while_doing(READING))?;
    match key.der_bytes() {
        // SEC 1, 2.3.3: uncompressed.
        [0x04, coordinates @ ..] if coordinates.len() == 64 => {
            let (x, y) = coordinates.split_at(32);
            Ok((BASE64URL.encode(x), BASE64URL.encode(y)))
        }
        _ => Err(Fault::new(READING, "it is no key on P-256")),
    }
}

/// RFC 7638, section 3: the required members in order, hashed.
fn thumbprint(x: &str, y: &str) -> String {
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    BASE64URL.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}
