//! The routes of `TrustedX`'s calls.

use axum::Router;
use axum::routing::{MethodRouter, any, get, post, put};

use super::context::{PREFIX, TrustedX};
use super::problem::{NOT_FOUND, OTHER_METHOD};
use super::{device, identity, links, oauth, process};

/// The beginning of the authorization server's addresses.
const AUTHORIZATION: &str = "/trustedx-authserver/oauth";

/// The routes of `TrustedX`'s calls. They are not nested, because a device's token names the whole
/// path.
pub fn router(trustedx: TrustedX) -> Router {
    let resources = [
        ("/signatures/device/raw", post(process::create_raw)),
        ("/signatures/device/commitment/transaction", post(process::create_transaction)),
        ("/signatures/device/commitment/document", post(process::create_document)),
        ("/signatures/device/authentication", post(process::create_authentication)),
        ("/signatures/{id}", get(process::show).delete(process::delete)),
        ("/signatures/{id}/result", get(process::result)),
        ("/signatures/{id}/finish", put(links::finish)),
        ("/signatures/{id}/fail", put(links::fail)),
        ("/signatures/{id}/cancel", put(links::cancel)),
        ("/sign_identities", get(identity::list)),
        ("/sign_identities/{id}", get(identity::show).delete(identity::delete)),
        ("/sign_identities/{id}/status", put(identity::set_status)),
        ("/sign_identities/{id}/labels", put(identity::set_labels)),
        ("/device_configuration/{device_type}", get(device::configuration)),
        ("/device_configuration/", get(device::configuration)),
    ];
    let authorization = [
        ("/{tenant}/token", post(oauth::token)),
        ("/{tenant}/introspect", post(oauth::introspect)),
        ("/{tenant}/keys", get(oauth::keys)),
        ("/{tenant}/.well-known/oauth-authorization-server", get(oauth::metadata)),
        ("/{tenant}/.well-known/openid-configuration", get(oauth::metadata)),
        ("/keys", get(oauth::own_keys)),
    ];
    let at = |prefix: &str, path: &str| format!("{prefix}{path}");
    let resources = resources.map(|(path, methods)| (at(PREFIX, path), methods));
    let authorization = authorization.map(|(path, methods)| (at(AUTHORIZATION, path), methods));
    resources
        .into_iter()
        .chain(authorization)
        .fold(Router::new(), |router, (path, methods)| router.route(&path, known(methods)))
        .route("/trustedx-resources/{*rest}", any(async || NOT_FOUND))
        .route("/trustedx-authserver/{*rest}", any(async || NOT_FOUND))
        .with_state(trustedx)
}

/// A route with these methods, and a refusal of the others.
fn known(methods: MethodRouter<TrustedX>) -> MethodRouter<TrustedX> {
    methods.fallback(async || OTHER_METHOD)
}
