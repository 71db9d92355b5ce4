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
struct Token {
    access_token: String,
    expires_in: u64,
    token_type: &'static str,
}

/// RFC 6749, section 5.2.
#[derive(Serialize)]
struct Refusal {
    error: &'static str,
    error_description: &'static str,
}

/// Answers a request for a token of this tenant.
pub(crate) async fn token(gate: &Gate, tenant: &str, request: Request) -> Response {
    match issue(gate, tenant, request).await {
        Ok(token) => {
            let no_store = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
            ([no_store], Json(token)).into_response()
        }
        Err(response) => *response,
    }
}

async fn issue(gate: &Gate, tenant: &str, request: Request) -> Result<Token, Box<Response>> {
    let address = request.extensions().get::<Peer>();
    let address = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let basic = basic(request.headers());
    if !intake::is(request.headers(), "application/x-www-form-urlencoded") {
        let said = "the body must be application/x-www-form-urlencoded";
        return Err(refuse(StatusCode::BAD_REQUEST, "invalid_request", said));
    }
    let body = intake::any(request).await.map_err(|_| {
        refuse(StatusCode::BAD_REQUEST, "invalid_request", "the body is too large, or broken")
    })?;
    let field = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(&body);
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    match field("grant_type").as_deref() {
        Some("client_credentials") => {}
        Some(_) => {
            let said = "only client_credentials is granted here";
            return Err(refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type", said));
        }
        None => {
            let said = "grant_type is required";
            return Err(refuse(StatusCode::BAD_REQUEST, "invalid_request", said));
        }
    }
    let by_form = field("client_id").zip(field("client_secret"));
    let Some((id, secret)) = basic.or(by_form) else {
        return Err(unknown_client());
    };
    let tenant: TenantName = tenant.parse().map_err(|_| unknown_client())?;
    let (tenant, client) = gate.credentials(&tenant, &id, &secret, address).await.map_err(
        |stranger| match stranger {
            // Whether there is such a tenant is told to its clients only.
            Stranger::NoTenant | Stranger::NotAuthenticated => unknown_client(),
            Stranger::TooManyTries => {
                let said = "too many wrong tries; wait a minute";
                refuse(StatusCode::TOO_MANY_REQUESTS, "invalid_client", said)
            }
            Stranger::Failed => failed(),
        },
    )?;
    let (now, jti) = (gate.core.now(), gate.core.world.draw());
    let access_token = gate.tokens.issue(&tenant, &client.id, jti, now).map_err(|fault| {
        error!("Failed while issuing a token: {fault:#}");
        failed()
    })?;
    let expires_in = gate.tokens.lifetime().as_secs();
    Ok(Token { access_token, expires_in, token_type: "Bearer" })
}

fn unknown_client() -> Box<Response> {
    refuse(StatusCode::UNAUTHORIZED, "invalid_client", "no such client, or another secret")
}

fn failed() -> Box<Response> {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the server failed; try again")
}

fn refuse(status: StatusCode, error: &'static str, said: &'static str) -> Box<Response> {
    let mut response = (status, Json(Refusal { error, error_description: said })).into_response();
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
    Box::new(response)
}
