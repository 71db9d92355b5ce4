//! The token endpoint: client credentials (RFC 6749, section 4.4), by form fields or HTTP Basic.

use std::net::{IpAddr, Ipv4Addr};

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use countersign_core::id::TenantName;
use countersign_core::port::Chance as _;
use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tracing::error;

use super::caller::{Gate, Stranger, basic};
use super::intake;
use crate::listen::Peer;

/// RFC 6749, section 5.1.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the RFC's names")]
struct Token {
    access_token: String,
    expires_in: u64,
    token_type: &'static str,
}

/// RFC 6749, section 5.2.
#[derive(Serialize)]
struct RefusalBody {
    error: &'static str,
    error_description: &'static str,
}

/// A status, the RFC's word, and a sentence.
struct Refusal(StatusCode, &'static str, &'static str);

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
const FAILED: Refusal =
    Refusal(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the server failed; try again");

/// Answers a request for a token of this tenant.
pub(crate) async fn token(gate: &Gate, tenant: &str, request: Request) -> Response {
    match issue(gate, tenant, request).await {
        Ok(token) => {
            let no_store = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
            ([no_store], Json(token)).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn issue(gate: &Gate, tenant: &str, request: Request) -> Result<Token, Refusal> {
    let address = request.extensions().get::<Peer>();
    let address = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let basic = basic(request.headers());
    if !intake::is(request.headers(), "application/x-www-form-urlencoded") {
        return Err(NOT_A_FORM);
    }
    let body = intake::any(request).await.map_err(|_| BROKEN)?;
    let field = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(&body);
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    match field("grant_type").as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(OTHER_GRANT),
        None => return Err(NO_GRANT),
    }
    let by_form = field("client_id").zip(field("client_secret"));
    let (id, secret) = basic.or(by_form).ok_or(UNKNOWN_CLIENT)?;
    let tenant: TenantName = tenant.parse().map_err(|_| UNKNOWN_CLIENT)?;
    let proved = gate.credentials(&tenant, &id, &secret, address).await;
    let (tenant, client) = proved.map_err(|stranger| match stranger {
        // Whether there is such a tenant is told to its clients only.
        Stranger::NoTenant | Stranger::NotAuthenticated => UNKNOWN_CLIENT,
        Stranger::TooManyTries => TOO_MANY_TRIES,
        Stranger::Failed => FAILED,
    })?;
    let (now, jti) = (gate.core.now(), gate.core.world.draw());
    let access_token = gate.tokens.issue(&tenant, &client.id, jti, now).map_err(|fault| {
        error!("Failed while issuing a token: {fault:#}");
        FAILED
    })?;
    let expires_in = gate.tokens.lifetime().as_secs();
    Ok(Token { access_token, expires_in, token_type: "Bearer" })
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
