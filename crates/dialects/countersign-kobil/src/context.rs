//! The common parts of KOBIL's handlers: the caller, the path's parameters, the body, other
//! methods.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Request};
use axum::response::IntoResponse as _;
use axum::routing::MethodRouter;
use bytes::Bytes;
use countersign_core::id::UserName;
use countersign_core::role::Role;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Uri};
use serde::Deserialize;

use super::render::{self, KobilError};
use countersign_http::body_limit;
use countersign_http::caller::{AuthError, Authenticator, Caller};
use countersign_node::task::Shutdown;

/// The state that the handlers share.
#[derive(Clone)]
pub struct Kobil {
    /// Authenticates callers, and holds the engine.
    pub authenticator: Authenticator,
    /// Says whether the process is draining.
    pub tasks: Shutdown,
    /// The settings for activation codes.
    pub invitations: ActivationSettings,
}

/// The settings for all activation codes.
#[derive(Clone, Debug)]
pub struct ActivationSettings {
    /// The address at which devices reach the server.
    pub server: String,
    /// The lifetime of a code, unless its creator sets another.
    pub lifetime: Duration,
    /// SHA-256 of the certificate of the server's own authority, if it has one.
    pub authority: Option<[u8; 32]>,
}

/// A route with these methods; other methods are refused in KOBIL's envelope.
pub(super) fn known(methods: MethodRouter<Kobil>) -> MethodRouter<Kobil> {
    methods.fallback(|| async { render::METHOD_NOT_ALLOWED.into_response() })
}

/// The path's parameters. User and device are optional, so that their absence is reported in
/// KOBIL's format.
#[derive(Deserialize)]
pub(super) struct PathParams {
    realm: Option<String>,
    user: Option<String>,
    pub(super) device: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for PathParams {
    type Rejection = KobilError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, KobilError> {
        let Path(named) = Path::from_request_parts(parts, state).await.map_err(|_| {
            // Percent-encoded text must be UTF-8.
            render::NOT_FOUND
        })?;
        Ok(named)
    }
}

impl Kobil {
    /// The authenticated caller with this role, in the tenant that the realm names, or else the
    /// host.
    pub(super) async fn caller(
        &self,
        role: Role,
        named: &PathParams,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Caller, AuthError> {
        let tenant = match &named.realm {
            Some(realm) => realm.parse().map_err(|_| AuthError::NoTenant)?,
            None => self.authenticator.tenant_of_host(uri, headers)?,
        };
        let caller = self.authenticator.bearer(&tenant, headers).await?;
        caller.check(role)?;
        Ok(caller)
    }
}

impl PathParams {
    /// The user.
    pub(super) fn user(&self) -> Result<UserName, KobilError> {
        let name = self.user.as_deref().unwrap_or("").trim();
        if name.is_empty() {
            return Err(render::NO_USER.into());
        }
        // No user has an invalid name.
        name.parse().map_err(|_| render::USER_NOT_FOUND.into())
    }
}

/// The JSON body of a call. A body without a type is read as JSON, because the vendor's pages list
/// no header but `Authorization`. Another type is refused, so that a form is called one.
pub(super) async fn json(request: Request) -> Result<Bytes, KobilError> {
    let is_typed = request.headers().contains_key(CONTENT_TYPE);
    let body =
        if is_typed { body_limit::json(request).await } else { body_limit::any(request).await };
    body.map_err(|refused| match refused {
        body_limit::BodyRefusal::NotJson => render::UNSUPPORTED_MEDIA_TYPE.into(),
        body_limit::BodyRefusal::TooLarge => render::PAYLOAD_TOO_LARGE.into(),
        body_limit::BodyRefusal::Busy => render::BUSY.into(),
        body_limit::BodyRefusal::Broken => KobilError::Bad("The body did not arrive whole".into()),
    })
}
