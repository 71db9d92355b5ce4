//! Use cases of relying parties: start a transaction, cancel and delete it.

use std::sync::Arc;

use super::{Engine, lost_every_race};
use crate::device::{Device, Usage};
use crate::event::{Actor, NewEvent};
use crate::id::{ClientId, DeviceId, RequestKey, TenantName, TransactionId, UserName};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{
    Change, Clock, Committed, Entropy, Handle, Ledger, Notification, Notifier, Preconditions,
    Presence, TransactionChange, UserWithDevices, Versioned,
};
use crate::refusal::{CancelError, CancelRefusal, Error, Fault, Quota, StartError, StartRefusal};
use crate::selector::Selector;
use crate::spec::{
    AcceptedFormats, Callback, Clocks, Content, Dialect, Document, Notify, Operation, Recipients,
    Reference, SignatureFormat, TransactionSpec,
};
use crate::time::Timestamp;
use crate::transaction::{Event, Transaction};

/// A client's request to start a transaction: the terms, without the start time and the request
/// key, which the engine adds.
#[derive(Clone, Debug)]
pub struct SignatureRequest {
    /// The transaction's id. The caller draws it, so that it can wait for the transaction before it
    /// starts.
    pub id: TransactionId,
    /// The transaction's tenant.
    pub tenant: TenantName,
    /// The dialect through which it is started.
    pub dialect: Dialect,
    /// The client that starts it.
    pub client: ClientId,
    /// The client's name, as it is shown to the user.
    pub client_name: String,
    /// The user who is asked to sign.
    pub user: UserName,
    /// The caller's reference.
    pub reference: Option<Reference>,
    /// The devices that are offered it. With selectors, only those that hold a matching identity.
    pub recipients: Recipients,
    /// The identities that may sign it: those that one of these selectors matches, or any if the
    /// list is empty.
    pub selectors: Vec<Selector>,
    /// The content that is shown and signed.
    pub content: Content,
    /// The digested document, if the content is a digest.
    pub document: Option<Document>,
    /// What the user is asked to do.
    pub operation: Operation,
    /// The accepted signature formats.
    pub formats: AcceptedFormats,
    /// Whether the PIN is required.
    pub pin_required: bool,
    /// Whether only one device may take it.
    pub once: bool,
    /// The time limits.
    pub clocks: Clocks,
    /// The devices that are notified of it.
    pub announced: Notify,
    /// The callback for its end, if the client asked for one.
    pub callback: Option<Callback>,
    /// A public text for a push.
    pub notice: Option<String>,
    /// The dialect's record of the request.
    pub request: Option<String>,
}

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Starts a transaction, and offers it to the addressed devices that are online.
    ///
    /// A repeated request with the same reference returns the transaction that it started before.
    /// `seen` is the user, with the user's devices that the request could address, if the caller
    /// has just read them; `None` reads them.
    ///
    /// # Errors
    /// Refuses users and devices that are unknown or locked, selectors that no enabled identity
    /// matches, a reference that was used for a different request, an open transaction above the
    /// user's maximum, and a start that exceeds a [`Quota`].
    ///
    /// # Panics
    /// If raw signatures are requested for bytes that are not text: see [`countersign_proof::raw`];
    /// and if the rows in `seen` are another user's.
    pub async fn start(
        &self,
        request: SignatureRequest,
        mut seen: Option<UserWithDevices>,
    ) -> Result<Arc<Transaction>, StartError> {
        let rates = self.policy.start_rates;
        let admitted = self.starts.admit(rates, &request.tenant, &request.client, self.now());
        admitted.map_err(StartRefusal::Quota)?;
        for _ in 0..COMMIT_TRIES_MAX {
            let refused = match self.try_start(seen.take(), &request).await {
                Ok(Some(started)) => return Ok(started),
                Ok(None) => None,
                Err(Error::Refused(refusal)) => Some(refusal),
                Err(failed) => return Err(failed),
            };
            // Look up the reference only now. Most requests are new, and for those the commit has
            // checked it.
            if let Some(before) = self.started_before(&request).await? {
                return Ok(before);
            }
            if let Some(refusal) = refused {
                return Err(refusal.into());
            }
        }
        Err(lost_every_race())
    }

    /// Whether one of the recipients is online, and which are connected, at any node. A device
    /// between two polls is online, but has no connection by which it is offered.
    async fn presence(
        &self,
        request: &SignatureRequest,
        addressed: &Recipients,
        recipients: &[&Versioned<Device>],
        now: Timestamp,
    ) -> Result<RecipientPresence, Fault> {
        let (tenant, user) = (&request.tenant, &request.user);
        let ids = || recipients.iter().map(|device| device.value.id);
        let elsewhere = self.presence_elsewhere(tenant, user, ids()).await?;
        let is_here = self.notifier.online(tenant, user, addressed, now);
        let is_online = |one: &Presence| one.is_online() && addressed.includes(one.device);
        let is_connected = |device: &DeviceId| {
            self.notifier.connected(tenant, user, &Recipients::Device(*device))
                || elsewhere.iter().any(|one| one.is_connected() && one.device == *device)
        };
        Ok(RecipientPresence {
            is_online: is_here || elsewhere.iter().any(is_online),
            connected: ids().filter(is_connected).collect(),
        })
    }

    /// `None` if it must be decided again, because a row has changed or the reference is taken.
    async fn try_start(
        &self,
        seen: Option<UserWithDevices>,
        request: &SignatureRequest,
    ) -> Result<Option<Arc<Transaction>>, StartError> {
        let now = self.now();
        let UserWithDevices { user, devices } = self.user_with_devices(seen, request).await?;
        let recipients = recipients(request, &devices, now)?;
        user.value.lock_state.check(now)?;

        let named = match request.recipients {
            Recipients::Any | Recipients::Devices(_) => None,
            Recipients::Device(id) => Some((id, recipients[0].version)),
        };
        let preconditions = Preconditions { user: Some(user.version), device: named };
        let request_key = RequestKey::drawn(self.system.random_u128());
        let mut spec = request.spec(request_key, now);
        let is_chosen = !request.selectors.is_empty() || has_ended(request, &devices, now);
        if is_chosen && !matches!(request.recipients, Recipients::Device(_)) {
            let matched = recipients.iter().map(|device| device.value.id);
            spec.recipients = Recipients::Devices(matched.collect());
        }
        let found = self.presence(request, &spec.recipients, &recipients, now).await?;
        spec.online = found.is_online;
        let present = |device: &Device| found.connected.contains(&device.id);
        let told = recipients.iter().map(|device| (&device.value, present(&device.value)));
        let is_offered = request.announced != Notify::Nobody;
        let told: Vec<_> = told.filter(|_| is_offered).collect();
        spec.sealed_for = recipients.first().filter(|_| !is_offered).map(|device| device.value.id);
        let present = told.iter().filter(|(_, present)| *present).map(|(device, _)| device.id);
        spec.present = present.collect();
        let (transaction, event) = Transaction::start(spec);
        let pushed = if request.announced == Notify::Everybody { &told[..] } else { &[] };
        let deliveries = self.deliveries(event, &transaction, pushed);
        let has_deliveries = !deliveries.is_empty();
        let actor = Actor::Client(request.client.clone());
        let started = NewEvent::of_transaction(event, &transaction, actor, now);
        let change = TransactionChange {
            deliveries,
            transaction: transaction.clone(),
            expected: None,
            event,
            preconditions,
            lock_state: None,
            open_max: self.policy.open_per_user_max,
            stored_max: self.policy.stored_max,
        };
        match self.commit(Change::Transaction(Box::new(change)), vec![started]).await? {
            Committed::Written => {}
            Committed::TooManyOpen => return Err(StartRefusal::TooManyOpen.into()),
            Committed::ClientFull => return Err(StartRefusal::Quota(Quota::ClientStored).into()),
            Committed::TenantFull => return Err(StartRefusal::Quota(Quota::TenantStored).into()),
            _ => return Ok(None),
        }
        let first = Versioned { value: transaction.clone(), version: 1 };
        self.context_cache.insert(UserWithDevices { user, devices }, first);
        let transaction = Arc::new(transaction);
        match event {
            Event::Ended(_) => self.notifier.notify(Notification::Ended(Arc::clone(&transaction))),
            _ if is_offered => self.notifier.notify(Notification::Offer(Arc::clone(&transaction))),
            _ => {}
        }
        if has_deliveries {
            self.notifier.notify(Notification::NewDelivery);
        }
        Ok(Some(transaction))
    }

    /// The user and devices that a request addresses, as just read by the caller or read now.
    async fn user_with_devices(
        &self,
        seen: Option<UserWithDevices>,
        request: &SignatureRequest,
    ) -> Result<UserWithDevices, StartError> {
        let found = match seen {
            None => self.store.read().user_with_devices(&request.tenant, &request.user).await?,
            seen => seen,
        };
        let found = found.ok_or(StartRefusal::UnknownUser)?;
        let user = &found.user.value;
        let is_theirs = user.tenant == request.tenant && user.name == request.user;
        assert!(is_theirs, "an order is decided on whom it is for");
        Ok(found)
    }

    /// The transaction that the same request started before, if there is one.
    async fn started_before(
        &self,
        request: &SignatureRequest,
    ) -> Result<Option<Arc<Transaction>>, StartError> {
        let Some(reference) = &request.reference else { return Ok(None) };
        let handle = Handle::Reference(request.client.clone(), reference.name.clone());
        match self.store.read().transaction(&request.tenant, &handle).await? {
            None => Ok(None),
            Some(before) if before.value.spec.reference.as_ref() == Some(reference) => {
                Ok(Some(Arc::new(before.value)))
            }
            Some(_) => Err(StartRefusal::OtherOrder.into()),
        }
    }

    /// Cancels a transaction, for the client that started it or for an operator. A repeated cancel
    /// gets the same answer as the first one.
    ///
    /// # Errors
    /// Refuses a transaction of another client, one that `fits` does not accept, and one that ended
    /// another way.
    pub async fn cancel(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        handle: &Handle,
        fits: impl Fn(&Transaction) -> bool,
    ) -> Result<Arc<Transaction>, CancelError> {
        let may = |found: &Transaction| match actor {
            Actor::Client(client) => found.spec.client == *client,
            Actor::CommandLine(_) | Actor::Console(_) => true,
            Actor::Device(_) | Actor::Server | Actor::Unknown => false,
        };
        let found = self.store.read().transaction(tenant, handle).await?;
        let found = found.filter(|found| may(&found.value) && fits(&found.value));
        self.apply_to(found.ok_or(CancelRefusal::Unknown)?, Transaction::cancel, actor).await
    }

    /// Deletes a transaction for its client. An open one is cancelled. Its evidence and its
    /// callback stay.
    ///
    /// # Errors
    /// Refuses a transaction that is not this client's, that `fits` does not accept, or that was
    /// deleted already.
    pub async fn discard(
        &self,
        tenant: &TenantName,
        client: &ClientId,
        id: TransactionId,
        fits: impl Fn(&Transaction) -> bool,
    ) -> Result<Arc<Transaction>, CancelError> {
        let found = self.store.read().transaction(tenant, &Handle::Id(id)).await?;
        let found = found.filter(|found| found.value.spec.client == *client && fits(&found.value));
        let actor = Actor::Client(client.clone());
        self.apply_to(found.ok_or(CancelRefusal::Unknown)?, Transaction::discard, &actor).await
    }
}

/// The presence of the recipients of a transaction.
struct RecipientPresence {
    is_online: bool,
    connected: Vec<DeviceId>,
}

/// The devices that a request addresses: those of the user's devices that can sign.
fn recipients<'a>(
    request: &SignatureRequest,
    devices: &'a [Versioned<Device>],
    now: Timestamp,
) -> Result<Vec<&'a Versioned<Device>>, StartRefusal> {
    if let Recipients::Device(id) = request.recipients {
        let device = devices.iter().find(|device| device.value.id == id);
        device.ok_or(StartRefusal::UnknownDevice)?.value.check()?;
    }
    let covered = || devices.iter().filter(|device| request.recipients.includes(device.value.id));
    let usage = request.content.media_type.usage();
    // A code needs no certificate.
    let takes_code = request.formats.accept(SignatureFormat::Code);
    let fit = |device: &&Versioned<Device>| {
        let mut enabled = device.value.enabled(usage, &request.selectors);
        device.value.check().is_ok() && enabled.any(|one| takes_code || one.is_valid(now))
    };
    let fit: Vec<_> = covered().filter(fit).collect();
    if !fit.is_empty() {
        return Ok(fit);
    }
    match &request.recipients {
        _ if has_ended(request, devices, now) => Err(StartRefusal::CertificateEnded),
        _ if !request.selectors.is_empty() || usage == Usage::Digest => {
            Err(StartRefusal::NoIdentity)
        }
        _ if devices.is_empty() => Err(StartRefusal::UnknownDevice),
        Recipients::Device(_) => Ok(covered().collect()),
        Recipients::Any | Recipients::Devices(_) => Err(StartRefusal::DeviceLocked),
    }
}

/// Whether a device that the request addresses cannot sign only because its certificates have
/// ended. Such a device is not offered the transaction.
fn has_ended(request: &SignatureRequest, devices: &[Versioned<Device>], now: Timestamp) -> bool {
    let usage = request.content.media_type.usage();
    let mut covered = devices.iter().map(|device| &device.value);
    !request.formats.accept(SignatureFormat::Code)
        && covered.any(|device| {
            request.recipients.includes(device.id)
                && device.check().is_ok()
                && device.has_only_ended(usage, &request.selectors, now)
        })
}

impl SignatureRequest {
    fn spec(&self, request_key: RequestKey, started_at: Timestamp) -> TransactionSpec {
        assert!(
            !self.formats.accept(SignatureFormat::Raw)
                || self.content.media_type.usage() == Usage::Digest
                || str::from_utf8(&self.content.bytes).is_ok(),
            "what is signed raw is text"
        );
        let request = self.clone();
        TransactionSpec {
            id: request.id,
            tenant: request.tenant,
            dialect: request.dialect,
            client: request.client,
            client_name: request.client_name,
            user: request.user,
            request_key,
            reference: request.reference,
            recipients: request.recipients,
            selectors: request.selectors,
            content: request.content,
            document: request.document,
            operation: request.operation,
            formats: request.formats,
            pin_required: request.pin_required,
            once: request.once,
            started_at,
            announced: request.announced,
            sealed_for: None,
            online: false,
            present: Vec::new(),
            clocks: request.clocks,
            callback: request.callback,
            notice: request.notice,
            request: request.request,
        }
    }
}
