//! Discovery for a client that knows only a realm's address: the token endpoint, and the key that
//! signs tokens (RFC 8414; `OpenID` Connect Discovery 1.0).

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::caller::{AuthError, Authenticator};
use super::token::Issuer;
use super::token_key::{point, thumbprint};

/// There is no login page and there are no identity tokens. The members that the specifications
/// require for them are present, with the smallest content that is allowed.
#[derive(Serialize)]
struct Document {
    issuer: String,
    token_endpoint: String,
    jwks_uri: String,
    grant_types_supported: &'static [&'static str],
    token_endpoint_auth_methods_supported: [&'static str; 2],
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 1],
    #[serde(flatten)]
    scoped: Option<Scoped>,
}

/// The members of an issuer whose tokens have scopes.
#[derive(Serialize)]
struct Scoped {
    introspection_endpoint: String,
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    scopes_supported: [String; 4],
}

/// The well-known names of the document (RFC 8414, section 7.3; `OpenID` Connect Discovery 1.0,
/// section 4).
pub const DOCUMENTS: [&str; 2] = ["oauth-authorization-server", "openid-configuration"];

/// The ways in which a client authenticates itself.
const METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];

/// RFC 7517, section 4, and RFC 7518, section 6.2.
#[derive(Serialize)]
struct Jwk {
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
struct JwkSet {
    keys: Vec<Jwk>,
}

/// The metadata document of a tenant's issuer.
///
/// # Errors
/// [`AuthError::NoTenant`] if the tenant does not exist.
pub async fn document(
    authenticator: &Authenticator,
    kind: Issuer,
    tenant: &str,
) -> Result<Response, AuthError> {
    let tenant = tenant.parse().map_err(|_| AuthError::NoTenant)?;
    authenticator.check_tenant(&tenant).await?;
    let issuer = authenticator.tokens.issuer(kind, &tenant);
    let (token, keys) = match kind {
        Issuer::Realm => ("/protocol/openid-connect/token", "/protocol/openid-connect/certs"),
        Issuer::AuthServer => ("/token", "/keys"),
    };
    let document = Document {
        token_endpoint: format!("{issuer}{token}"),
        jwks_uri: format!("{issuer}{keys}"),
        grant_types_supported: match kind {
            Issuer::Realm => &["client_credentials", "password"],
            Issuer::AuthServer => &["client_credentials"],
        },
        token_endpoint_auth_methods_supported: METHODS,
        // RFC 8414 requires the member (section 2) and forbids an empty array (section 3.2). `none`
        // is registered, and no client can ask for it: there is no authorization endpoint.
        response_types_supported: ["none"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: ["ES256"],
        scoped: (kind == Issuer::AuthServer).then(|| Scoped {
            introspection_endpoint: format!("{issuer}/introspect"),
            introspection_endpoint_auth_methods_supported: METHODS,
            scopes_supported: authenticator.scopes().all().map(str::to_owned),
        }),
        issuer,
    };
    Ok(Json(document).into_response())
}

/// The keys that verify the realm's tokens, the one that signs first.
///
/// # Errors
/// [`AuthError::NoTenant`] if the realm does not exist.
pub async fn keys(authenticator: &Authenticator, realm: &str) -> Result<Response, AuthError> {
    let tenant = authenticator.tenant(realm).await?;
    let jwk = |key| {
        let (x, y) = point(key);
        let kid = thumbprint(&x, &y);
        Jwk { kty: "EC", crv: "P-256", x, y, usage: "sig", alg: "ES256", kid }
    };
    let keys = tenant.token_keys.valid(authenticator.core.now()).map(jwk).collect();
    Ok(Json(JwkSet { keys }).into_response())
}
