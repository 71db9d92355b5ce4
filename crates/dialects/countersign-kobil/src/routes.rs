//! The routes of KOBIL's calls, each under its two addresses, and the handlers.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use countersign_core::engine::{Notify, SignatureRequest};
use countersign_core::event::Actor;
use countersign_core::id::{TransactionId, UserName};
use countersign_core::port::Handle;
use countersign_core::role::Role;
use countersign_core::spec::{AcceptedFormats, Dialect, Operation};
use countersign_core::transaction::Transaction;

use super::body::{Cancel, Start, bad_callback};
use super::context::{Kobil, PathParams, json, known};
use super::render::{self, KobilError};
use super::{activations, devices, users};
use countersign_http::caller::Caller;
use countersign_http::discovery;
use countersign_http::oauth;
use countersign_http::token::Issuer;
use countersign_node::wait;

/// KOBIL's calls at both of their addresses.
pub fn router(kobil: Kobil) -> Router {
    Router::new()
        .merge(users::routes())
        .merge(devices::routes())
        .merge(activations::routes())
        .route("/digitanium/v4/users/{user}/signature", known(post(start)))
        .route("/digitanium/v4/users//signature", known(post(start)))
        .route("/auth/realms/{realm}/v3_user/digitaniumsignature/{user}", known(post(start)))
        .route("/auth/realms/{realm}/v3_user/digitaniumsignature/", known(post(start)))
        .route("/auth/realms/{realm}/v3_user/digitaniumsignature", known(post(start)))
        .route("/digitanium/v4/users/signature/{user}", known(delete(cancel)))
        .route("/digitanium/v4/users/signature/", known(delete(cancel)))
        .route("/digitanium/v4/users/signature", known(delete(cancel)))
        .route("/auth/realms/{realm}/v3_user/cancelsignature/{user}", known(delete(cancel)))
        .route("/auth/realms/{realm}/v3_user/cancelsignature/", known(delete(cancel)))
        .route("/auth/realms/{realm}/v3_user/cancelsignature", known(delete(cancel)))
        .route("/auth/realms/{realm}/protocol/{*rest}", post(token).get(certs).fallback(not_found))
        .route("/auth/realms/{realm}/.well-known/{*rest}", get(discovery).fallback(not_found))
        .route("/.well-known/{document}/auth/realms/{realm}", get(metadata).fallback(not_found))
        .route("/digitanium/{*rest}", axum::routing::any(not_found))
        .route("/auth/realms/{realm}/{*rest}", axum::routing::any(not_found))
        .with_state(kobil)
}

/// `POST …/users/{userId}/signature`: starts a signature.
///
/// With a `callbackUrl` the answer is immediate; without one it comes when the transaction ends.
async fn start(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, KobilError> {
    let caller = kobil.caller(Role::Ask, &named, request.uri(), request.headers()).await?;
    let user = named.user()?;
    // The body is dropped before the wait.
    let start = Start::parse(&json(request).await?, &user)?;
    if let Some(callback) = &start.callback {
        let (callbacks, now) = (&kobil.authenticator.callbacks, kobil.authenticator.core.now());
        let allowed = callbacks.check(&caller.tenant, callback, now).await;
        allowed.map_err(|reason| bad_callback(&reason))?;
    }
    if kobil.tasks.is_draining() {
        return Err(render::SERVICE_UNAVAILABLE.into());
    }

    let core = &kobil.authenticator.core;
    let id = TransactionId(core.new_id());
    if start.callback.is_some() {
        return Ok(render::created(&*core.start(order(id, caller, user, start), None).await?));
    }
    // The waiter is registered before the start, so that no end is missed in between.
    let waiter = core.notifier().wait(&caller.tenant, &caller.client, id)?;
    let started = core.start(order(id, caller, user, start), None).await?;
    let ended = wait::wait_for_end(core, started, waiter, &kobil.tasks).await?;
    let ended = ended.ok_or(render::SERVICE_UNAVAILABLE)?;
    let end = ended.end().expect("the awaited transaction has ended");
    Ok(render::result(&ended, end))
}

fn order(id: TransactionId, caller: Caller, user: UserName, start: Start) -> SignatureRequest {
    SignatureRequest {
        id,
        tenant: caller.tenant,
        dialect: Dialect::Kobil,
        client: caller.client,
        client_name: caller.name,
        user,
        reference: Some(start.reference),
        recipients: start.recipients,
        selectors: Vec::new(),
        content: start.content,
        document: None,
        operation: Operation::Sign,
        formats: AcceptedFormats::Cms,
        pin_required: start.pin_required,
        once: false,
        clocks: start.clocks,
        announced: Notify::Everybody,
        callback: start.callback,
        notice: start.notice,
        request: None,
    }
}

/// `DELETE …/users/signature/{userId}`, with a JSON body: cancels a signature.
async fn cancel(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, KobilError> {
    let caller = kobil.caller(Role::Ask, &named, request.uri(), request.headers()).await?;
    let user = named.user()?;
    let body = json(request).await?;
    let cancel = Cancel::parse(&body)?;
    let core = &kobil.authenticator.core;
    if core.read().user(&caller.tenant, &user).await?.is_none() {
        return Err(render::USER_NOT_FOUND.into());
    }
    let handle = Handle::Reference(caller.client.clone(), cancel.transaction_id.clone());
    let fits = |found: &Transaction| found.spec.user == user && cancel.covers(found);
    let actor = Actor::Client(caller.client.clone());
    let cancelled = core.cancel(&actor, &caller.tenant, &handle, fits).await?;
    let contacts = core.read().contacts(&caller.tenant, cancelled.spec.id).await?;
    Ok(render::cancelled(&cancelled, &contacts))
}

/// `POST /auth/realms/{realm}/protocol/openid-connect/token`, also with repeated slashes.
async fn token(
    State(kobil): State<Kobil>,
    Path((realm, rest)): Path<(String, String)>,
    request: Request,
) -> Response {
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    if parts != ["openid-connect", "token"] {
        return render::NOT_FOUND.into_response();
    }
    oauth::token(&kobil.authenticator, &realm, request).await
}

/// `GET /auth/realms/{realm}/protocol/openid-connect/certs`: the key that signs the realm's tokens.
async fn certs(
    State(kobil): State<Kobil>,
    Path((realm, rest)): Path<(String, String)>,
) -> Result<Response, KobilError> {
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    if parts != ["openid-connect", "certs"] {
        return Err(render::NOT_FOUND.into());
    }
    Ok(discovery::keys(&kobil.authenticator, &realm).await?)
}

/// `GET /auth/realms/{realm}/.well-known/openid-configuration`
async fn discovery(
    State(kobil): State<Kobil>,
    Path((realm, rest)): Path<(String, String)>,
) -> Result<Response, KobilError> {
    document(&kobil, rest.trim_matches('/'), &realm).await
}

/// `GET /.well-known/oauth-authorization-server/auth/realms/{realm}`: the same where RFC 8414,
/// section 3.1 has it, with the issuer's path behind the well-known one.
async fn metadata(
    State(kobil): State<Kobil>,
    Path((name, realm)): Path<(String, String)>,
) -> Result<Response, KobilError> {
    document(&kobil, &name, &realm).await
}

async fn document(kobil: &Kobil, name: &str, realm: &str) -> Result<Response, KobilError> {
    if !discovery::DOCUMENTS.contains(&name) {
        return Err(render::NOT_FOUND.into());
    }
    Ok(discovery::document(&kobil.authenticator, Issuer::Realm, realm).await?)
}

async fn not_found() -> Response {
    render::NOT_FOUND.into_response()
}
