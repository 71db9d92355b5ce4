//! What relying parties do: start a transaction, and take it back.

use std::sync::Arc;

use super::{Engine, lost_every_race};
use crate::device::{Device, Usage};
use crate::event::{Actor, NewEvent};
use crate::id::{ClientId, RequestKey, TenantName, TransactionId, UserName};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{
    Change, Clock, Committed, Entropy, Handle, Ledger, Notification, Notifier, Preconditions,
    Registry, TransactionChange, UserWithDevices, Versioned,
};
use crate::refusal::{Error, Quota, Refusal};
use crate::selector::Selector;
use crate::spec::{
    AcceptedFormats, Callback, Clocks, Content, Dialect, Document, Operation, Recipients,
    Reference, SignatureFormat, TransactionSpec,
};
use crate::time::Timestamp;
use crate::transaction::{Event, Input, Transaction};

/// Who is told that a transaction has started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notify {
    /// Nobody: its request key reaches a device some other way.
    Nobody,
    /// Addressed devices that are on the line.
    Online,
    /// These, and by a push those that are not.
    Everybody,
}

/// What a relying party asks for: the terms, before the server has given them a time and a handle.
#[derive(Clone, Debug)]
pub struct SignatureRequest {
    /// The transaction's id, drawn by the caller, so that it can listen before there is news.
    pub id: TransactionId,
    /// Whose transaction it is.
    pub tenant: TenantName,
    /// Where it is started.
    pub dialect: Dialect,
    /// Who asks.
    pub client: ClientId,
    /// Who asks, as people know them.
    pub client_name: String,
    /// Who is asked.
    pub user: UserName,
    /// What the caller calls it.
    pub reference: Option<Reference>,
    /// Which devices are offered it; with selectors, those of them that hold an identity that
    /// matches.
    pub recipients: Recipients,
    /// Which identities may sign it; any, where there is none.
    pub selectors: Vec<Selector>,
    /// What is shown and signed.
    pub content: Content,
    /// What a digest is of.
    pub document: Option<Document>,
    /// What the person is asked for.
    pub operation: Operation,
    /// The forms that its signature may have.
    pub formats: AcceptedFormats,
    /// Whether the PIN is asked for.
    pub pin_required: bool,
    /// Whether only one device may take it.
    pub once: bool,
    /// How long it lives.
    pub clocks: Clocks,
    /// Who is told of it.
    pub announced: Notify,
    /// Where its end is told.
    pub callback: Option<Callback>,
    /// Public words for a push.
    pub notice: Option<String>,
    /// What the dialect keeps of the request.
    pub request: Option<String>,
}

impl<S: Ledger + Registry, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Starts a transaction, and offers it to the addressed devices that are online.
    ///
    /// The same order under the same reference is answered with the transaction that it started.
    ///
    /// # Errors
    /// Refuses users and devices that are unknown or locked, selectors that no enabled identity
    /// matches, a reference used for something else, one open transaction too many, and what
    /// exceeds a [`Quota`].
    ///
    /// # Panics
    /// If raw signatures are asked for over bytes that are no text: see [`countersign_proof::raw`].
    pub async fn start(&self, request: SignatureRequest) -> Result<Arc<Transaction>, Error> {
        self.start_among(None, request).await
    }

    /// As [`start`](Self::start), by a caller that has just read the user, and those of their
    /// devices that the order could address, to make it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Panics
    /// As [`start`](Self::start); and if what was read is another user's.
    pub async fn start_among(
        &self,
        mut seen: Option<UserWithDevices>,
        request: SignatureRequest,
    ) -> Result<Arc<Transaction>, Error> {
        let rates = self.policy.start_rates;
        let admitted = self.starts.admit(rates, &request.tenant, &request.client, self.now());
        admitted.map_err(Refusal::Quota)?;
        for _ in 0..COMMIT_TRIES_MAX {
            let refused = match self.try_start(seen.take(), &request).await {
                Ok(Some(started)) => return Ok(started),
                Ok(None) => None,
                Err(Error::Refused(refusal)) => Some(refusal),
                Err(failed) => return Err(failed),
            };
            // Looked for only now: most orders are new, and for those the commit has looked.
            if let Some(before) = self.started_before(&request).await? {
                return Ok(before);
            }
            if let Some(refusal) = refused {
                return Err(refusal.into());
            }
        }
        Err(lost_every_race())
    }

    /// `None` where it has to be looked at again: something changed meanwhile, or the reference is
    /// taken.
    async fn try_start(
        &self,
        seen: Option<UserWithDevices>,
        request: &SignatureRequest,
    ) -> Result<Option<Arc<Transaction>>, Error> {
        let now = self.now();
        let UserWithDevices { user, devices } = self.user_with_devices(seen, request).await?;
        let recipients = recipients(request, &devices)?;
        user.value.lock_state.check(now)?;

        let named = match request.recipients {
            Recipients::Any | Recipients::Devices(_) => None,
            Recipients::Device(id) => Some((id, recipients[0].version)),
        };
        let preconditions = Preconditions { user: Some(user.version), device: named };
        let request_key = RequestKey::drawn(self.system.random_u128());
        let mut spec = request.spec(request_key, now);
        if !request.selectors.is_empty() && !matches!(request.recipients, Recipients::Device(_)) {
            let matched = recipients.iter().map(|device| device.value.id);
            spec.recipients = Recipients::Devices(matched.collect());
        }
        spec.online = self.notifier.online(&request.tenant, &request.user, &spec.recipients);
        let present = |device: &Device| {
            self.notifier.online(&request.tenant, &request.user, &Recipients::Device(device.id))
        };
        let told = recipients.iter().map(|device| (&device.value, present(&device.value)));
        let told: Vec<_> = match request.announced {
            Notify::Nobody => Vec::new(),
            _ => told.collect(),
        };
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
            Committed::TooManyOpen => return Err(Refusal::TooManyOpen.into()),
            Committed::ClientFull => return Err(Refusal::Quota(Quota::ClientStored).into()),
            Committed::TenantFull => return Err(Refusal::Quota(Quota::TenantStored).into()),
            _ => return Ok(None),
        }
        let first = Versioned { value: transaction.clone(), version: 1 };
        self.context_cache.insert(UserWithDevices { user, devices }, first);
        let transaction = Arc::new(transaction);
        match event {
            Event::Ended(_) => self.notifier.notify(Notification::Ended(Arc::clone(&transaction))),
            _ if request.announced == Notify::Nobody => {}
            _ => self.notifier.notify(Notification::Offer(Arc::clone(&transaction))),
        }
        if has_deliveries {
            self.notifier.notify(Notification::NewDelivery);
        }
        Ok(Some(transaction))
    }

    /// Whom an order is for, as just seen or as read.
    async fn user_with_devices(
        &self,
        seen: Option<UserWithDevices>,
        request: &SignatureRequest,
    ) -> Result<UserWithDevices, Error> {
        let found = match seen {
            None => self.store.user_with_devices(&request.tenant, &request.user).await?,
            seen => seen,
        };
        let found = found.ok_or(Refusal::UnknownUser)?;
        let user = &found.user.value;
        let is_theirs = user.tenant == request.tenant && user.name == request.user;
        assert!(is_theirs, "an order is decided on whom it is for");
        Ok(found)
    }

    /// The transaction that the same order started before, if one did.
    async fn started_before(
        &self,
        request: &SignatureRequest,
    ) -> Result<Option<Arc<Transaction>>, Error> {
        let Some(reference) = &request.reference else { return Ok(None) };
        let handle = Handle::Reference(request.client.clone(), reference.name.clone());
        match self.store.load(&request.tenant, &handle).await? {
            None => Ok(None),
            Some(before) if before.value.spec.reference.as_ref() == Some(reference) => {
                Ok(Some(Arc::new(before.value)))
            }
            Some(_) => Err(Refusal::OtherOrder.into()),
        }
    }

    /// Takes a transaction back. A repeated cancel is answered as the first was.
    ///
    /// # Errors
    /// Refuses a transaction that is not this client's or that `fits` does not accept, and one that ended
    /// another way.
    pub async fn cancel(
        &self,
        tenant: &TenantName,
        client: &ClientId,
        handle: &Handle,
        fits: impl Fn(&Transaction) -> bool,
    ) -> Result<Arc<Transaction>, Error> {
        let found = self.store.load(tenant, handle).await?;
        let found = found.filter(|found| found.value.spec.client == *client && fits(&found.value));
        let actor = Actor::Client(client.clone());
        self.apply_to(found.ok_or(Refusal::Unknown)?, Input::Cancel, &actor).await
    }

    /// Deletes a transaction for its client: an open one is cancelled; its evidence and its
    /// callback stay.
    ///
    /// # Errors
    /// Refuses a transaction that is not this client's, that `fits` does not accept, or that was deleted
    /// already.
    pub async fn discard(
        &self,
        tenant: &TenantName,
        client: &ClientId,
        id: TransactionId,
        fits: impl Fn(&Transaction) -> bool,
    ) -> Result<Arc<Transaction>, Error> {
        let found = self.store.load(tenant, &Handle::Id(id)).await?;
        let found = found.filter(|found| found.value.spec.client == *client && fits(&found.value));
        let actor = Actor::Client(client.clone());
        self.apply_to(found.ok_or(Refusal::Unknown)?, Input::Discard, &actor).await
    }
}

/// The devices that an order addresses: the user's, fit to sign.
fn recipients<'a>(
    request: &SignatureRequest,
    devices: &'a [Versioned<Device>],
) -> Result<Vec<&'a Versioned<Device>>, Refusal> {
    if let Recipients::Device(id) = request.recipients {
        let device = devices.iter().find(|device| device.value.id == id);
        device.ok_or(Refusal::UnknownDevice)?.value.check()?;
    }
    let covered = || devices.iter().filter(|device| request.recipients.includes(device.value.id));
    let usage = request.content.media_type.usage();
    let fit = |device: &&Versioned<Device>| {
        device.value.check().is_ok() && device.value.fit(usage, &request.selectors).next().is_some()
    };
    let fit: Vec<_> = covered().filter(fit).collect();
    if !fit.is_empty() {
        return Ok(fit);
    }
    match &request.recipients {
        _ if !request.selectors.is_empty() || usage == Usage::Digest => Err(Refusal::NoIdentity),
        _ if devices.is_empty() => Err(Refusal::UnknownDevice),
        Recipients::Device(_) => Ok(covered().collect()),
        Recipients::Any | Recipients::Devices(_) => Err(Refusal::DeviceLocked),
    }
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
            online: false,
            present: Vec::new(),
            clocks: request.clocks,
            callback: request.callback,
            notice: request.notice,
            request: request.request,
        }
    }
}
