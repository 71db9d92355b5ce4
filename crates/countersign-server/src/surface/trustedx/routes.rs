//! The addresses of `TrustedX`'s calls, and what their handlers share.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, any, get, post};
use http::StatusCode;

use super::oauth;
use crate::config::Scopes;
use crate::surface::caller::Gate;
use crate::surface::oauth::Refusal;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct TrustedX {
    /// Who is asking, and the engine.
    pub(crate) gate: Gate,
    /// What an operator decides about this surface.
    pub(crate) rules: Arc<Rules>,
}

/// What an operator decides about this surface.
#[derive(Debug)]
pub(crate) struct Rules {
    /// What its tokens are good for.
    pub(crate) scopes: Scopes,
}

const NOT_FOUND: Refusal =
    Refusal(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address");
const OTHER_METHOD: Refusal = Refusal(
    StatusCode::METHOD_NOT_ALLOWED,
    "method_not_allowed",
    "this address does not take this method",
);

/// `TrustedX`'s calls.
pub(crate) fn router(trustedx: TrustedX) -> Router {
    Router::new()
        .route("/trustedx-authserver/oauth/{tenant}/token", known(post(oauth::token)))
        .route("/trustedx-authserver/oauth/{tenant}/introspect", known(post(oauth::introspect)))
        .route("/trustedx-authserver/oauth/{tenant}/keys", known(get(oauth::keys)))
        .route("/trustedx-authserver/oauth/keys", known(get(oauth::own_keys)))
        .route("/trustedx-authserver/{*rest}", any(not_found))
        .with_state(trustedx)
}

/// An address takes these methods, and says so of others.
fn known(methods: MethodRouter<TrustedX>) -> MethodRouter<TrustedX> {
    methods.fallback(async || OTHER_METHOD)
}

async fn not_found() -> Response {
    NOT_FOUND.into_response()
}
