//! The common parts of an authorization server's calls: a form, from a client that authenticates
//! with form fields or HTTP Basic; and tokens for the client itself (RFC 6749, section 4.4).

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use countersign_core::id::TenantName;
use countersign_core::tenant::Tenant;
use http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use tracing::error;
use zeroize::Zeroizing;

use super::caller::password::PasswordError;
use super::caller::{AuthError, AuthenticatedClient, Authenticator, basic};
use super::token::{Grant, Issuer};
use crate::body_limit;
use crate::challenge;
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
const TWO_CREDENTIALS: Refusal = Refusal(
    StatusCode::BAD_REQUEST,
    "invalid_request",
    "there are two credentials: send either HTTP Basic or client_id and client_secret",
);
const OTHER_CLIENT: Refusal = Refusal(
    StatusCode::BAD_REQUEST,
    "invalid_request",
    "client_id is another client than the one in HTTP Basic",
);
const NO_GRANT: Refusal =
    Refusal(StatusCode::BAD_REQUEST, "invalid_request", "grant_type is required");
const OTHER_GRANT: Refusal = Refusal(
    StatusCode::BAD_REQUEST,
    "unsupported_grant_type",
    "only client_credentials is granted here",
);
const OTHER_REALM_GRANT: Refusal = Refusal(
    StatusCode::BAD_REQUEST,
    "unsupported_grant_type",
    "only client_credentials and password are granted here",
);
const NO_PASSWORD: Refusal =
    Refusal(StatusCode::BAD_REQUEST, "invalid_request", "username and password are required");
const NOT_ALLOWED: Refusal = Refusal(
    StatusCode::BAD_REQUEST,
    "unauthorized_client",
    "this client has no account with a password; an operator can give it one",
);
const WRONG_PASSWORD: Refusal = Refusal(
    StatusCode::BAD_REQUEST,
    "invalid_grant",
    "no such account of this client, or another password",
);
const TOO_MANY_PASSWORDS: Refusal =
    Refusal(StatusCode::TOO_MANY_REQUESTS, "invalid_grant", "too many wrong tries; wait a minute");
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
        let by_password = form.asks_by_password()?;
        let (tenant, mut client) = form.client(authenticator, tenant).await?;
        if by_password {
            client = form.password(authenticator, client).await?;
        }
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
    let AuthenticatedClient { client, secret_number, password_number } = client;
    let (client, secret_number, password_number) = (&client.id, *secret_number, *password_number);
    let grant = Grant { issuer, tenant, client, secret_number, password_number, scope: &scope };
    let access_token = authenticator.tokens.issue(grant, jti, now).await.map_err(|fault| {
        error!("Failed while issuing a token: {fault:#}");
        FAILED
    })?;
    let expires_in = authenticator.tokens.lifetime().as_secs();
    Ok(TokenResponse { access_token, expires_in, token_type: "Bearer", scope })
}

/// A form from a client, in which each parameter occurs once.
pub struct Form {
    body: Bytes,
    basic: Basic,
    address: IpAddr,
}

/// The credentials in HTTP Basic.
enum Basic {
    Absent,
    /// The header is no pair of id and secret.
    Broken,
    Client(String, String),
}

/// The parameters that may occur several times (RFC 8707, section 2; RFC 8693, section 2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

impl Form {
    /// Reads a form, within the limits of a body.
    ///
    /// # Errors
    /// `invalid_request` if the body is not a form.
    pub async fn read(request: Request) -> Result<Self, Refusal> {
        let address = request.extensions().get::<Peer>();
        let address = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
        let basic = Basic::of(request.headers())?;
        if !body_limit::is(request.headers(), "application/x-www-form-urlencoded") {
            return Err(NOT_A_FORM);
        }
        let body = body_limit::of_stranger(request, FORM_BYTES_MAX).await;
        let body = body.map_err(|refused| match refused {
            body_limit::BodyRefusal::Busy => BUSY,
            _ => BROKEN,
        })?;
        match repeated(&body) {
            Some(sentence) => Err(Refusal(StatusCode::BAD_REQUEST, "invalid_request", sentence)),
            None => Ok(Self { body, basic, address }),
        }
    }

    /// The value of that parameter. One without a value counts as absent (RFC 6749, section 3.2).
    pub fn field(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(&self.body);
        let found = pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        found.filter(|value| !value.is_empty())
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

    /// Whether the grant is `password` and not `client_credentials`.
    fn asks_by_password(&self) -> Result<bool, Refusal> {
        match self.field("grant_type").as_deref() {
            Some("client_credentials") => Ok(false),
            Some("password") => Ok(true),
            Some(_) => Err(OTHER_REALM_GRANT),
            None => Err(NO_GRANT),
        }
    }

    /// The client, if the form has the name and the password of its account.
    async fn password(
        &self,
        authenticator: &Authenticator,
        client: AuthenticatedClient,
    ) -> Result<AuthenticatedClient, Refusal> {
        let given = self.field("username").zip(self.field("password").map(Zeroizing::new));
        let (name, password) = given.ok_or(NO_PASSWORD)?;
        let proved = authenticator.password(client, &name, password, self.address).await;
        proved.map_err(|error| match error {
            PasswordError::NotAllowed => NOT_ALLOWED,
            PasswordError::Wrong => WRONG_PASSWORD,
            PasswordError::TooManyTries => TOO_MANY_PASSWORDS,
            PasswordError::Busy => BUSY,
            PasswordError::Failed(fault) => {
                error!("Failed while verifying a password: {fault:#}");
                FAILED
            }
        })
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
        let (id, secret) = self.credentials()?;
        let tenant: TenantName = tenant.parse().map_err(|_| UNKNOWN_CLIENT)?;
        let proved = authenticator.credentials(&tenant, &id, &secret, self.address).await;
        proved.map_err(|stranger| match stranger {
            // Only its own clients learn whether a tenant exists.
            AuthError::NoTenant
            | AuthError::NoToken
            | AuthError::NotAuthenticated
            | AuthError::NoRole(_) => UNKNOWN_CLIENT,
            AuthError::TooManyTries => TOO_MANY_TRIES,
            AuthError::Failed => FAILED,
        })
    }
}

impl Form {
    /// The client's id and secret, from the one place where they are (RFC 6749, section 2.3).
    fn credentials(&self) -> Result<(String, String), Refusal> {
        let (id, secret) = (self.field("client_id"), self.field("client_secret"));
        match &self.basic {
            Basic::Absent => id.zip(secret).ok_or(UNKNOWN_CLIENT),
            _ if secret.is_some() => Err(TWO_CREDENTIALS),
            Basic::Broken => Err(UNKNOWN_CLIENT),
            // The id alone may be repeated in the form (section 3.2.1).
            Basic::Client(own, _) if id.is_some_and(|id| id != *own) => Err(OTHER_CLIENT),
            Basic::Client(id, secret) => Ok((id.clone(), secret.clone())),
        }
    }
}

impl Basic {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (first, second) = (all.next(), all.next());
        if second.is_some() {
            return Err(TWO_CREDENTIALS);
        }
        let is_basic = |value: &HeaderValue| {
            let scheme = value.as_bytes().split(|byte| *byte == b' ').next();
            scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
        };
        Ok(match (first.is_some_and(is_basic), basic(headers)) {
            (false, _) => Self::Absent,
            (true, None) => Self::Broken,
            (true, Some((id, secret))) => Self::Client(id, secret),
        })
    }
}

/// A sentence on a parameter that occurs more than once (RFC 6749, section 3.2).
fn repeated(form: &[u8]) -> Option<&'static str> {
    let mut seen = HashSet::new();
    let names = url::form_urlencoded::parse(form).map(|(name, _)| name);
    let twice = names.filter(|name| !REPEATABLE.contains(&&**name));
    let twice = twice.into_iter().find(|name| !seen.insert(name.to_string()))?;
    Some(match &*twice {
        "grant_type" => "grant_type is given twice",
        "client_id" => "client_id is given twice",
        "client_secret" => "client_secret is given twice",
        "scope" => "scope is given twice",
        "token" => "token is given twice",
        "username" => "username is given twice",
        "password" => "password is given twice",
        _ => "a parameter is given twice",
    })
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
                headers.insert(WWW_AUTHENTICATE, challenge::BASIC);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    async fn read(authorization: &[&str], body: &str) -> Result<Form, Refusal> {
        let mut request = Request::post("/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned().into())
            .unwrap();
        for value in authorization {
            request.headers_mut().append(AUTHORIZATION, value.parse().unwrap());
        }
        Form::read(request).await
    }

    async fn credentials(authorization: &[&str], body: &str) -> Result<String, String> {
        let told = |Refusal(_, error, sentence)| format!("{error}: {sentence}");
        let form = read(authorization, body).await.map_err(told)?;
        let (id, secret) = form.credentials().map_err(told)?;
        Ok(format!("{id}:{secret}"))
    }

    // "shop:s"
    const SHOP: &str = "Basic c2hvcDpz";

    #[tokio::test]
    async fn credentials_come_from_one_place() {
        let body = "client_id=shop&client_secret=s";
        assert_eq!(credentials(&[], body).await, Ok("shop:s".into()));
        assert_eq!(credentials(&[SHOP], "").await, Ok("shop:s".into()));
        assert_eq!(credentials(&[SHOP], "client_id=shop").await, Ok("shop:s".into()));
        assert_eq!(credentials(&[SHOP], "client_secret=").await, Ok("shop:s".into()));
        for (authorization, body) in [
            (&[SHOP][..], body),
            (&[SHOP], "client_secret=s"),
            (&[SHOP], "client_id=other"),
            (&[SHOP, SHOP], ""),
            (&[SHOP, "Bearer x"], ""),
            (&["Basic !"], body),
        ] {
            let refused = credentials(authorization, body).await.unwrap_err();
            assert!(
                refused.starts_with("invalid_request: "),
                "{authorization:?} {body}: {refused}"
            );
        }
        for (authorization, body) in
            [(&["Basic !"][..], ""), (&[], ""), (&[], "client_id=shop"), (&["Bearer x"], "")]
        {
            let refused = credentials(authorization, body).await.unwrap_err();
            assert!(refused.starts_with("invalid_client: "), "{authorization:?} {body}: {refused}");
        }
    }

    #[tokio::test]
    async fn each_parameter_is_given_once() {
        for (body, told) in [
            ("grant_type=a&grant_type=a", "grant_type is given twice"),
            ("client_id=a&b=c&client_id=a", "client_id is given twice"),
            ("client_secret=&client_secret=a", "client_secret is given twice"),
            ("scope=a&scope=b", "scope is given twice"),
            ("token=a&token=b", "token is given twice"),
            ("x=1&x=2", "a parameter is given twice"),
        ] {
            let Err(Refusal(status, error, sentence)) = read(&[], body).await else {
                panic!("{body} is read")
            };
            assert_eq!((status.as_u16(), error, sentence), (400, "invalid_request", told));
        }
        for body in
            ["", "a=1&b=1", "resource=https://a&resource=https://b", "audience=a&audience=b"]
        {
            assert!(read(&[], body).await.is_ok(), "{body}");
        }
    }
}
