//! Applications' calls on signature creation processes: create, show, wait for, and delete them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use countersign_core::engine::{Notify, SignatureRequest};
use countersign_core::id::{TransactionId, UserName};
use countersign_core::limits::LISTED_MAX;
use countersign_core::port::{DeviceFilter, EndSnapshot, Handle, Page, UserWithDevices};
use countersign_core::refusal::StartRefusal;
use countersign_core::selector::Selector;
use countersign_core::spec::{AcceptedFormats, Clocks, Dialect, RawTerms, Recipients, Reference};
use countersign_core::transaction::Transaction;
use countersign_proof::raw::Hash;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};

use super::access::Either;
use super::body::{Create, ProcessKind};
use super::context::TrustedX;
use super::extension::{Extensions, wait};
use super::problem::{ProcessError, STOPPING};
use super::render::{SignerView, StoredRequest, json};
use countersign_http::body_limit;
use countersign_http::caller::Caller;
use countersign_http::fingerprint::Fingerprint;
use countersign_node::wait;

/// `POST …/signatures/device/raw`
pub(super) async fn create_raw(state: State<TrustedX>, request: Request) -> Answer {
    create(state, ProcessKind::Raw, request).await
}

/// `POST …/signatures/device/commitment/transaction`
pub(super) async fn create_transaction(state: State<TrustedX>, request: Request) -> Answer {
    create(state, ProcessKind::Transaction, request).await
}

/// `POST …/signatures/device/commitment/document`
pub(super) async fn create_document(state: State<TrustedX>, request: Request) -> Answer {
    create(state, ProcessKind::Document, request).await
}

/// `POST …/signatures/device/authentication`: ours, a login in the format of a transaction.
pub(super) async fn create_authentication(state: State<TrustedX>, request: Request) -> Answer {
    create(state, ProcessKind::Authentication, request).await
}

type Answer = Result<Response, ProcessError>;

async fn create(State(trustedx): State<TrustedX>, kind: ProcessKind, request: Request) -> Answer {
    let (rules, core) = (&trustedx.rules, &trustedx.authenticator.core);
    let caller = trustedx.application(request.headers(), &rules.scopes.sign).await?;
    let extensions = Extensions::read(request.uri().query(), request.headers())?;
    let body = body_limit::json(request).await?;
    let create = Create::parse(kind, &body, rules.allows_sha1(&caller.tenant))?;
    if let Some(document) = &create.document {
        rules.fetches.check(&caller.tenant, document)?;
    }
    if let Some(callback) = &extensions.callback {
        let callbacks = &trustedx.authenticator.callbacks;
        let allowed = callbacks.check(&caller.tenant, callback, core.now()).await;
        allowed.map_err(|reason| ProcessError::Bad(format!("callbackUrl: {reason}")))?;
    }
    if trustedx.tasks.is_draining() {
        return Err(STOPPING);
    }
    let (order, seen) = trustedx.order(kind, caller, create, extensions, &body).await?;
    let started = core.start(order, seen).await?;
    let mut response = trustedx.answer(&started, StatusCode::CREATED).await?;
    let address = HeaderValue::try_from(rules.signature(&started.spec));
    response.headers_mut().insert(LOCATION, address.expect("an address is visible ASCII"));
    Ok(response)
}

impl TrustedX {
    /// The signature request; and the user and the devices that could sign, if they were loaded for
    /// it.
    async fn order(
        &self,
        kind: ProcessKind,
        caller: Caller,
        mut create: Create,
        extensions: Extensions,
        body: &[u8],
    ) -> Result<(SignatureRequest, Option<UserWithDevices>), ProcessError> {
        let core = &self.authenticator.core;
        let (selectors, holder) = self.selectors(&caller, &mut create).await?;
        let user = match (create.user.take(), &holder) {
            (Some(user), _) => user,
            (None, Some(holder)) => holder.user.value.name.clone(),
            (None, None) => {
                let usage = create.content.media_type.usage();
                core.whose(&caller.tenant, &selectors, usage).await?
            }
        };
        // One identity is on one device; several may be on several devices.
        let is_whole =
            |holder: &UserWithDevices| selectors.len() == 1 && holder.user.value.name == user;
        let seen = holder.filter(is_whole);
        let reference = extensions.key.map(|name| {
            let mut all = Fingerprint::new();
            all.part(kind.as_str().as_bytes());
            all.duration(extensions.lifetime);
            all.part(body);
            Reference { name, request: all.end_with(extensions.callback.as_ref()) }
        });
        let kept = StoredRequest {
            kind,
            service: create.service,
            named_hash: create.hash.is_some(),
            selectors: create.asked.into_iter().map(|asked| asked.shown).collect(),
        };
        let kept = serde_json::to_string(&kept).expect("the stored request is plain JSON");
        // Connected devices are offered it in any case.
        let announced = if create.notify { Notify::Everybody } else { Notify::Online };
        let order = SignatureRequest {
            id: TransactionId(core.new_id()),
            dialect: Dialect::TrustedX,
            reference,
            recipients: Recipients::Any,
            selectors,
            formats: AcceptedFormats::Raw(
                self.raw_terms(&caller, &user, create.document.is_some(), create.hash).await?,
            ),
            content: create.content,
            document: create.document,
            operation: create.operation,
            pin_required: false,
            once: false,
            clocks: Clocks::One(extensions.lifetime.unwrap_or(self.rules.lifetime)),
            announced,
            callback: extensions.callback,
            notice: None,
            request: Some(kept),
            tenant: caller.tenant,
            client: caller.client,
            client_name: caller.name,
            user,
        };
        Ok((order, seen))
    }

    /// The selectors' conditions that some identity can meet; all of them are shown. Also the user
    /// and the last selector's device, if each selector names an identity of the same user.
    async fn selectors(
        &self,
        caller: &Caller,
        create: &mut Create,
    ) -> Result<(Vec<Selector>, Option<UserWithDevices>), ProcessError> {
        let mut holders: Vec<UserWithDevices> = Vec::new();
        for asked in &mut create.asked {
            let Some(Selector { id: Some(id), .. }) = asked.selector else { continue };
            let holder = self.authenticator.core.read().holder(&caller.tenant, id).await?;
            match holder.as_ref().and_then(|holder| holder.identity(id)) {
                Some((device, identity)) => {
                    asked.show_by(device, identity);
                    holders.extend(holder);
                }
                None => asked.selector = None,
            }
        }
        let met = create.asked.iter().filter_map(|asked| asked.selector.clone());
        let selectors: Vec<Selector> = met.collect();
        // An empty list would mean any identity.
        if selectors.is_empty() && !create.asked.is_empty() {
            return Err(StartRefusal::NoIdentity.into());
        }
        let by_id = selectors.iter().all(|selector| selector.id.is_some());
        let user = |holder: &UserWithDevices| holder.user.value.name.clone();
        let one = holders.windows(2).all(|pair| user(&pair[0]) == user(&pair[1]));
        Ok((selectors, holders.pop().filter(|_| by_id && one)))
    }

    /// The terms of the signature. HTML without a named algorithm is hashed as the device's type
    /// says.
    async fn raw_terms(
        &self,
        caller: &Caller,
        user: &UserName,
        is_digest: bool,
        named: Option<Hash>,
    ) -> Result<RawTerms, ProcessError> {
        let rules = &self.rules;
        let sha1 = rules.allows_sha1(&caller.tenant);
        let spec =
            RawTerms { hash: named, by_device: Vec::new(), sha1, rsa_bits_min: rules.rsa_bits_min };
        if is_digest || named.is_some() {
            return Ok(spec);
        }
        let mut by_device = Vec::new();
        if rules.device_types.iter().any(|one| one.digest_algorithm.is_some()) {
            let (filter, page) = (DeviceFilter::User(user), Page::first(LISTED_MAX));
            let devices = self.authenticator.core.read().devices(&caller.tenant, filter, page);
            by_device = rules.hashes(devices.await?.rows.iter().map(|device| &device.value));
        }
        Ok(RawTerms { hash: Some(rules.digest_algorithm), by_device, ..spec })
    }

    /// Loads a process of this caller that it has not deleted.
    async fn own(&self, caller: &Caller, id: &str) -> Result<Arc<Transaction>, ProcessError> {
        let id: TransactionId = id.parse().map_err(|_| ProcessError::Gone)?;
        let read = self.authenticator.core.read();
        let found = read.transaction(&caller.tenant, &Handle::Id(id)).await?;
        let found = found.map(|found| found.value).filter(|found| is_own(caller, found));
        Ok(Arc::new(found.ok_or(ProcessError::Gone)?))
    }

    /// Waits until a process of this caller has ended, at most for `wait`.
    async fn wait(
        &self,
        caller: &Caller,
        id: &str,
        patience: Duration,
    ) -> Result<(), ProcessError> {
        let core = &self.authenticator.core;
        // The waiter is registered first, so that no end is missed in between.
        let wait = |id: TransactionId| core.notifier().wait(&caller.tenant, &caller.client, id);
        let waiter = id.parse().ok().map(wait).transpose()?;
        let found = self.own(caller, id).await?;
        let Some(waiter) = waiter.filter(|_| !found.state.is_ended()) else { return Ok(()) };
        let ended = wait::wait_for_end(core, found, waiter, &self.tasks);
        match tokio::time::timeout(patience, ended).await {
            Ok(Ok(None)) => Err(STOPPING),
            Ok(Err(failed)) => Err(failed.into()),
            Ok(Ok(Some(_))) | Err(_) => Ok(()),
        }
    }

    /// A whole process, for a caller that may see the content.
    pub(super) async fn answer(
        &self,
        transaction: &Transaction,
        status: StatusCode,
    ) -> Result<Response, ProcessError> {
        self.answer_with(transaction, status, true).await
    }

    async fn answer_with(
        &self,
        transaction: &Transaction,
        status: StatusCode,
        shows_data: bool,
    ) -> Result<Response, ProcessError> {
        let device = self.signer(transaction).await?;
        let signer = SignerView::of(transaction, device.as_ref());
        Ok(json(status, &self.rules.resource(transaction, signer.as_ref(), shows_data)))
    }
}

fn is_own(caller: &Caller, transaction: &Transaction) -> bool {
    transaction.spec.client == caller.client && is_process(transaction)
}

/// Whether this dialect shows it: a process that it started, not deleted, and still complete.
pub(super) fn is_process(transaction: &Transaction) -> bool {
    transaction.spec.dialect == Dialect::TrustedX
        && !transaction.discarded
        && transaction.spec.request.is_some()
}

/// `GET …/signatures/{id}`: for its application, or for a device that the selectors match. A device
/// is shown another dialect's transaction too, because the links end those, but not before it has
/// taken it there or it has ended.
pub(super) async fn show(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let found = match trustedx.either(request).await? {
        Either::Application(caller) => {
            trustedx.permit(&caller, &trustedx.rules.scopes.sign)?;
            trustedx.own(&caller, &id).await?
        }
        Either::Device(device_auth) => {
            let id: TransactionId = id.parse().map_err(|_| ProcessError::Gone)?;
            let core = &trustedx.authenticator.core;
            let found = core.look(&device_auth.tenant, device_auth.device, id).await?;
            let (is_ours, is_taken) =
                (found.spec.dialect == Dialect::TrustedX, found.taken_by(device_auth.device));
            if !is_ours && !found.discarded && (is_taken || found.state.is_ended()) {
                return trustedx.answer_with(&found, StatusCode::OK, is_taken).await;
            }
            if is_process(&found) { found } else { return Err(ProcessError::Gone) }
        }
    };
    trustedx.answer(&found, StatusCode::OK).await
}

/// `GET …/signatures/{id}/result?timeoutMs=`: 200 after its end, 404 before, 410 if it does not
/// exist.
pub(super) async fn result(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let scope = &trustedx.rules.scopes.sign;
    let caller = trustedx.application(request.headers(), scope).await?;
    let patience = wait(request.uri().query())?;
    if !patience.is_zero() {
        trustedx.wait(&caller, &id, patience).await?;
    }
    let id: TransactionId = id.parse().map_err(|_| ProcessError::Gone)?;
    match trustedx.authenticator.core.read().end_snapshot(&caller.tenant, id).await? {
        Some(EndSnapshot::Open { dialect: Dialect::TrustedX, client })
            if client == caller.client =>
        {
            Err(ProcessError::Pending)
        }
        Some(EndSnapshot::Ended { transaction, signer }) if is_own(&caller, &transaction) => {
            let end = transaction.end().ok_or(ProcessError::Pending)?;
            let signer = SignerView::of(&transaction, signer.as_ref());
            let result = trustedx.rules.result(&transaction.spec, end, signer.as_ref());
            Ok(json(StatusCode::OK, &result))
        }
        _ => Err(ProcessError::Gone),
    }
}

/// `DELETE …/signatures/{id}`: returns the deleted process; a running one is cancelled.
pub(super) async fn delete(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let scope = &trustedx.rules.scopes.sign;
    let caller = trustedx.application(request.headers(), scope).await?;
    let id: TransactionId = id.parse().map_err(|_| ProcessError::Gone)?;
    let core = &trustedx.authenticator.core;
    let deleted = core.discard(&caller.tenant, &caller.client, id, is_process).await?;
    trustedx.answer(&deleted, StatusCode::OK).await
}
