//! The common parts of an authorization server's calls: a form, from a client that authenticates
//! with form fields or HTTP Basic; and tokens for the client itself (RFC 6749, section 4.4).

use std::net::{IpAddr, Ipv4Addr};

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use countersign_core::id::TenantName;
use countersign_core::tenant::Tenant;
use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tracing::error;

use super::caller::{AuthError, AuthenticatedClient, Authenticator, basic};
use super::token::{Grant, Issuer};
use crate::body_limit;
use crate::listen::Peer;

/// The largest form: much more than a token to introspect and a client's credentials, form-encoded.
const FORM_BYTES_MAX: usize = 16 * 1024;

/// RFC 6749, section 5.1.
#[derive(Serialize)]
pub struct TokenResponse {
    access_token: String,
    expires_in: u64,
    token_type: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
}

/// RFC 6749, section 5.2.
#[derive(Serialize)]
struct RefusalBody {
    error: &'static str,
    error_description: &'static str,
}

/// A status, the RFC's error code, and a sentence.
pub struct Refusal(pub StatusCode, pub &'static str, pub &'static str);

const NOT_A_FORM: Refusal = Refusal(
    StatusCode::BAD_REQUEST,
    "invalid_request",
    "the body must be application/x-www-form-urlencoded",
);
const BROKEN: Refusal =
    Refusal(StatusCode::BAD_REQUEST, "invalid_request", "the body is too large, or broken");
const NO_GRANT: Refusal =
    Refusal(StatusCode::BAD_REQUEST, "invalid_request", "grant_type is required");
const OTHER_GRANT: Refusal = Refusal(
    StatusCode::BAD_REQUEST,
    "unsupported_grant_type",
    "only client_credentials is granted here",
);
const UNKNOWN_CLIENT: Refusal =
    Refusal(StatusCode::UNAUTHORIZED, "invalid_client", "no such client, or another secret");
const TOO_MANY_TRIES: Refusal =
    Refusal(StatusCode::TOO_MANY_REQUESTS, "invalid_client", "too many wrong tries; wait a minute");
const BUSY: Refusal = Refusal(
    StatusCode::SERVICE_UNAVAILABLE,
    "temporarily_unavailable",
    "too much at once; try again",
);
const FAILED: Refusal =
    Refusal(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the server failed; try again");

/// Answers a token request to this tenant's realm.
pub async fn token(authenticator: &Authenticator, tenant: &str, request: Request) -> Response {
    let token = async {
        let form = Form::read(request).await?;
        form.asks_for_own_token()?;
        let (tenant, client) = form.client(authenticator, tenant).await?;
        issue(authenticator, Issuer::Realm, &tenant.name, &client, String::new()).await
    };
    token.await.into_response()
}

/// Issues a token to an authenticated client.
///
/// # Errors
/// If the tenant's key is broken.
pub async fn issue(
    authenticator: &Authenticator,
    issuer: Issuer,
    tenant: &TenantName,
    client: &AuthenticatedClient,
    scope: String,
) -> Result<TokenResponse, Refusal> {
    let (now, jti) = (authenticator.core.now(), authenticator.core.random_u128());
    let AuthenticatedClient { client, secret_number } = client;
    let secret_number = *secret_number;
    let grant = Grant { issuer, tenant, client: &client.id, secret_number, scope: &scope };
    let access_token = authenticator.tokens.issue(grant, jti, now).await.map_err(|fault| {
        error!("Failed while issuing a token: {fault:#}");
        FAILED
    })?;
    let expires_in = authenticator.tokens.lifetime().as_secs();
    Ok(TokenResponse { access_token, expires_in, token_type: "Bearer", scope })
}

/// A form from a client.
pub struct Form {
    body: Bytes,
    basic: Option<(String, String)>,
    address: IpAddr,
}

impl Form {
    /// Reads a form, within the limits of a body.
    ///
    /// # Errors
    /// `invalid_request` if the body is not a form.
    pub async fn read(request: Request) -> Result<Self, Refusal> {
        let address = request.extensions().get::<Peer>();
        let address = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
        let basic = basic(request.headers());
        if !body_limit::is(request.headers(), "application/x-www-form-urlencoded") {
            return Err(NOT_A_FORM);
        }
        let body = body_limit::of_stranger(request, FORM_BYTES_MAX).await;
        let body = body.map_err(|refused| match refused {
            body_limit::BodyRefusal::Busy => BUSY,
            _ => BROKEN,
        })?;
        Ok(Self { body, basic, address })
    }

    /// The first field of that name.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(&self.body);
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// Checks that the grant is `client_credentials`.
    ///
    /// # Errors
    /// If the grant is another one, or absent.
    pub fn asks_for_own_token(&self) -> Result<(), Refusal> {
        match self.field("grant_type").as_deref() {
            Some("client_credentials") => Ok(()),
            Some(_) => Err(OTHER_GRANT),
            None => Err(NO_GRANT),
        }
    }

    /// Authenticates the client of this tenant that sent the form.
    ///
    /// # Errors
    /// `invalid_client`, equally for an unknown tenant, another tenant's client and a wrong secret.
    pub async fn client(
        &self,
        authenticator: &Authenticator,
        tenant: &str,
    ) -> Result<(Tenant, AuthenticatedClient), Refusal> {
        let by_form = || self.field("client_id").zip(self.field("client_secret"));
        let (id, secret) = self.basic.clone().or_else(by_form).ok_or(UNKNOWN_CLIENT)?;
        let tenant: TenantName = tenant.parse().map_err(|_| UNKNOWN_CLIENT)?;
        let proved = authenticator.credentials(&tenant, &id, &secret, self.address).await;
        proved.map_err(|stranger| match stranger {
            // Only its own clients learn whether a tenant exists.
            AuthError::NoTenant | AuthError::NotAuthenticated | AuthError::NoRole(_) => {
                UNKNOWN_CLIENT
            }
            AuthError::TooManyTries => TOO_MANY_TRIES,
            AuthError::Failed => FAILED,
        })
    }
}

impl IntoResponse for TokenResponse {
    fn into_response(self) -> Response {
        ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(self)).into_response()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, error, error_description) = self;
        let mut response = (status, Json(RefusalBody { error, error_description })).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
            }
            _ => {}
        }
        response
    }
}
