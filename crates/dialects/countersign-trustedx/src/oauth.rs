//! The authorization server, one for each tenant: tokens with scopes, their introspection (RFC
//! 7662), and the keys that sign them.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use countersign_core::port::Page;
use countersign_core::tenant::{Client, Tenant};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::access::role_of;
use super::context::TrustedX;
use countersign_config::Scopes;
use countersign_http::caller::{AuthError, Authenticator};
use countersign_http::discovery;
use countersign_http::oauth::{Form, Refusal, TokenResponse, issue};
use countersign_http::token::{Issuer, TokenClaims};

const OTHER_SCOPE: Refusal = Refusal(
    StatusCode::BAD_REQUEST,
    "invalid_scope",
    "the scope is none that this client may have",
);
const NO_TOKEN: Refusal = Refusal(StatusCode::BAD_REQUEST, "invalid_request", "token is required");
const NO_TENANT: Refusal =
    Refusal(StatusCode::NOT_FOUND, "not_found", "there is no such authorization server");
const FAILED: Refusal =
    Refusal(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the server failed; try again");

/// RFC 7662, section 2.2.
#[derive(Serialize)]
struct Introspection {
    active: bool,
    #[serde(flatten)]
    token: Option<ActiveToken>,
}

#[derive(Serialize)]
struct ActiveToken {
    scope: String,
    client_id: String,
    token_type: &'static str,
    exp: u64,
    iat: u64,
    sub: String,
    iss: String,
}

/// `POST /trustedx-authserver/oauth/{tenant}/token`
pub(super) async fn token(
    State(trustedx): State<TrustedX>,
    Path(tenant): Path<String>,
    request: Request,
) -> Response {
    let token = async {
        let form = Form::read(request).await?;
        form.asks_for_own_token()?;
        let (tenant, client) = form.client(&trustedx.authenticator, &tenant).await?;
        let asked = form.field("scope");
        let scope = granted(&trustedx.rules.scopes, &client.client, asked.as_deref())?;
        issue(&trustedx.authenticator, Issuer::AuthServer, &tenant.name, &client, scope).await
    };
    let token: Result<TokenResponse, Refusal> = token.await;
    token.into_response()
}

/// The scopes of a client's token: those that it asks for, or all that it may have. A scope needs
/// its role.
fn granted(scopes: &Scopes, client: &Client, asked: Option<&str>) -> Result<String, Refusal> {
    let may = |scope: &str| {
        client.roles.has(role_of(scopes, scope))
            && client.scopes.as_ref().is_none_or(|own| own.iter().any(|own| own == scope))
    };
    let known: Vec<&str> = scopes.all().into_iter().filter(|scope| may(scope)).collect();
    let asked: Vec<&str> =
        asked.unwrap_or("").split(' ').filter(|scope| !scope.is_empty()).collect();
    if asked.iter().any(|scope| !known.contains(scope)) {
        return Err(OTHER_SCOPE);
    }
    let wanted = known.into_iter().filter(|scope| asked.is_empty() || asked.contains(scope));
    Ok(wanted.collect::<Vec<_>>().join(" "))
}

/// `POST /trustedx-authserver/oauth/{tenant}/introspect`: tells the tenant's clients the scopes of
/// a token of this tenant.
pub(super) async fn introspect(
    State(trustedx): State<TrustedX>,
    Path(tenant): Path<String>,
    request: Request,
) -> Response {
    let told = async {
        let form = Form::read(request).await?;
        let (tenant, _) = form.client(&trustedx.authenticator, &tenant).await?;
        let token = form.field("token").ok_or(NO_TOKEN)?;
        introspection(&trustedx.authenticator, &tenant, &token).await
    };
    match told.await {
        Ok(told) => {
            ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(told)).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn introspection(
    authenticator: &Authenticator,
    tenant: &Tenant,
    token: &str,
) -> Result<Introspection, Refusal> {
    let held = authenticator.introspect(Issuer::AuthServer, tenant, token).await;
    let held = held.map_err(|_| FAILED)?;
    let told = |held: TokenClaims| ActiveToken {
        scope: held.scope.to_string(),
        client_id: held.client.to_string(),
        token_type: "Bearer",
        exp: held.expires,
        iat: held.issued,
        sub: held.client.to_string(),
        iss: authenticator.tokens.issuer(Issuer::AuthServer, &tenant.name),
    };
    Ok(Introspection { active: held.is_some(), token: held.map(told) })
}

/// `GET /.well-known/oauth-authorization-server/trustedx-authserver/oauth/{tenant}`: the metadata
/// of the tenant's authorization server (RFC 8414). The same behind the issuer's address.
pub(super) async fn metadata(
    State(trustedx): State<TrustedX>,
    Path(named): Path<Metadata>,
) -> Response {
    if !discovery::DOCUMENTS.contains(&&*named.document) {
        return NO_TENANT.into_response();
    }
    told(discovery::document(&trustedx.authenticator, Issuer::AuthServer, &named.tenant).await)
}

/// The path's parameters, which the two addresses have in different orders.
#[derive(Deserialize)]
pub(super) struct Metadata {
    document: String,
    tenant: String,
}

/// `GET /trustedx-authserver/oauth/{tenant}/keys`: the keys that verify the tenant's tokens.
pub(super) async fn keys(State(trustedx): State<TrustedX>, Path(tenant): Path<String>) -> Response {
    told(discovery::keys(&trustedx.authenticator, &tenant).await)
}

/// `GET /trustedx-authserver/oauth/keys`: the same for the tenant that the host names, or else the
/// default one, or else the only one.
pub(super) async fn own_keys(State(trustedx): State<TrustedX>, request: Request) -> Response {
    let authenticator = &trustedx.authenticator;
    let named = authenticator.tenant_of_host(request.uri(), request.headers());
    drop(request);
    let keys = async {
        if let Ok(tenant) = named {
            return discovery::keys(authenticator, tenant.as_str()).await;
        }
        match authenticator.core.read().tenants(Page::first(2)).await?.rows.as_slice() {
            [only] => discovery::keys(authenticator, only.as_str()).await,
            _ => Err(AuthError::NoTenant),
        }
    };
    told(keys.await)
}

fn told(keys: Result<Response, AuthError>) -> Response {
    keys.unwrap_or_else(|stranger| match stranger {
        AuthError::NoTenant
        | AuthError::NoToken
        | AuthError::NotAuthenticated
        | AuthError::NoRole(_)
        | AuthError::TooManyTries => NO_TENANT.into_response(),
        AuthError::Failed => FAILED.into_response(),
    })
}

#[cfg(test)]
mod tests {
    use countersign_core::role::{Role, Roles};
    use countersign_core::tenant::{ClientSecret, CredentialState, PasswordGrant};
    use countersign_core::time::Timestamp;

    use super::*;

    fn client(roles: &[Role], scopes: Option<&[&str]>) -> Client {
        Client {
            tenant: "acme".parse().unwrap(),
            id: "shop".parse().unwrap(),
            name: "Shop".into(),
            roles: roles.iter().copied().collect::<Roles>(),
            state: CredentialState::Active,
            tenant_locked: false,
            secret_number: 1,
            secret: ClientSecret { digest: [0; 32], not_after: None },
            secret_before: None,
            password: PasswordGrant::default(),
            scopes: scopes.map(|all| all.iter().map(ToString::to_string).collect()),
            created_at: Timestamp(0),
        }
    }

    #[test]
    fn a_token_is_good_for_what_its_client_asks_and_may() {
        let [sign, profile, manage, register] = ["s", "p", "m", "r"].map(str::to_owned);
        let scopes = Scopes { sign, profile, manage, register };
        let with = |roles: &[Role], may: Option<&[&str]>, asked: Option<&str>| {
            granted(&scopes, &client(roles, may), asked).map_err(|Refusal(_, error, _)| error)
        };
        let of = |may, asked| with(&Role::ALL, may, asked);
        assert_eq!(of(None, None), Ok("s p m r".into()));
        assert_eq!(of(None, Some("")), Ok("s p m r".into()));
        assert_eq!(of(None, Some("m  s m")), Ok("s m".into()));
        assert_eq!(of(None, Some("s x")), Err("invalid_scope"));
        assert_eq!(of(Some(&["p", "gone"]), None), Ok("p".into()));
        assert_eq!(of(Some(&["p"]), Some("p s")), Err("invalid_scope"));
        assert_eq!(of(Some(&["gone"]), Some("gone")), Err("invalid_scope"));
        assert_eq!(of(Some(&[]), None), Ok(String::new()));
        for (role, all) in [(Role::Ask, "s"), (Role::People, "p m"), (Role::Enrol, "r")] {
            assert_eq!(with(&[role], None, None), Ok(all.into()));
            assert_eq!(with(&[role], Some(&["s", "p"]), Some("m")), Err("invalid_scope"));
        }
        assert_eq!(with(&[Role::Ask], None, Some("s m")), Err("invalid_scope"));
        assert_eq!(with(&[], None, None), Ok(String::new()));
    }
}
