//! What relying parties do: start a transaction, and take it back.

use std::sync::Arc;

use super::{Engine, lost_every_race};
use crate::device::{Device, Purpose};
use crate::id::{ClientId, RequestKey, TenantName, TransactionId, UserName};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{
    Bell, Chance, Clock, Commit, Committed, Doorbell, Grounds, Handle, Household, Ledger, Registry,
    Versioned,
};
use crate::refusal::{Error, Quota, Refusal};
use crate::selector::Selector;
use crate::terms::{
    Addressed, Callback, Clocks, Content, Document, Form, Forms, Operation, Reference, Surface,
    Terms,
};
use crate::time::Timestamp;
use crate::transaction::{Event, Input, Transaction};

/// Who is told that a transaction has started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Announcement {
    /// Nobody: its request key reaches a device some other way.
    Nobody,
    /// Addressed devices that are on the line.
    Online,
    /// These, and by a push those that are not.
    Everybody,
}

/// What a relying party asks for: the terms, before the server has given them a time and a handle.
#[derive(Clone, Debug)]
pub struct Order {
    /// The transaction's id, drawn by the caller, so that it can listen before there is news.
    pub id: TransactionId,
    /// Whose transaction it is.
    pub tenant: TenantName,
    /// Where it is started.
    pub surface: Surface,
    /// Who asks.
    pub client: ClientId,
    /// Who asks, as people know them.
    pub client_name: String,
    /// Who is asked.
    pub user: UserName,
    /// What the caller calls it.
    pub reference: Option<Reference>,
    /// Which devices are offered it; with selectors, those of them that hold an identity that matches.
    pub addressed: Addressed,
    /// Which identities may sign it; any, where there is none.
    pub selectors: Vec<Selector>,
    /// What is shown and signed.
    pub content: Content,
    /// What a digest is of.
    pub document: Option<Document>,
    /// What the person is asked for.
    pub operation: Operation,
    /// The forms that its signature may have.
    pub forms: Forms,
    /// Whether the PIN is asked for.
    pub pin_required: bool,
    /// Whether only one device may take it.
    pub once: bool,
    /// How long it lives.
    pub clocks: Clocks,
    /// Who is told of it.
    pub announced: Announcement,
    /// Where its end is told.
    pub callback: Option<Callback>,
    /// Public words for a push.
    pub notice: Option<String>,
    /// What the surface keeps of the request.
    pub request: Option<String>,
}

impl<S: Ledger + Registry, D: Doorbell, W: Clock + Chance> Engine<S, D, W> {
    /// Starts a transaction, and offers it to the addressed devices that are online.
    ///
    /// The same order under the same reference is answered with the transaction that it started.
    ///
    /// # Errors
    /// Refuses users and devices that are unknown or locked, selectors that no enabled identity matches, a
    /// reference used for something else, one open transaction too many, and what exceeds a [`Quota`].
    ///
    /// # Panics
    /// If raw signatures are asked for over bytes that are no text: see [`countersign_proof::raw`].
    pub async fn start(&self, order: Order) -> Result<Arc<Transaction>, Error> {
        self.start_among(None, order).await
    }

    /// As [`start`](Self::start), by a caller that has just read the user, and those of their devices that the
    /// order could address, to make it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Panics
    /// As [`start`](Self::start); and if what was read is another user's.
    pub async fn start_among(
        &self,
        mut seen: Option<Household>,
        order: Order,
    ) -> Result<Arc<Transaction>, Error> {
        let rates = self.policy.start_rates;
        let admitted = self.starts.admit(rates, &order.tenant, &order.client, self.now());
        admitted.map_err(Refusal::Quota)?;
        for _ in 0..COMMIT_TRIES_MAX {
            let refused = match self.try_start(seen.take(), &order).await {
                Ok(Some(started)) => return Ok(started),
                Ok(None) => None,
                Err(Error::Refused(refusal)) => Some(refusal),
                Err(failed) => return Err(failed),
            };
            // Looked for only now: most orders are new, and for those the commit has looked.
            if let Some(before) = self.started_before(&order).await? {
                return Ok(before);
            }
            if let Some(refusal) = refused {
                return Err(refusal.into());
            }
        }
        Err(lost_every_race())
    }

    /// `None` where it has to be looked at again: something changed meanwhile, or the reference is taken.
    async fn try_start(
        &self,
        seen: Option<Household>,
        order: &Order,
    ) -> Result<Option<Arc<Transaction>>, Error> {
        let now = self.now();
        let Household { user, devices } = self.household(seen, order).await?;
        let addressed = addressed(order, &devices)?;
        user.value.standing.check(now)?;

        let grounds = Grounds {
            user: Some(user.version),
            device: match order.addressed {
                Addressed::Any | Addressed::Devices(_) => None,
                Addressed::Device(id) => Some((id, addressed[0].version)),
            },
        };
        let request_key = RequestKey::drawn(self.world.draw());
        let mut terms = order.terms(request_key, now);
        if !order.selectors.is_empty() && !matches!(order.addressed, Addressed::Device(_)) {
            let matched = addressed.iter().map(|device| device.value.id);
            terms.addressed = Addressed::Devices(matched.collect());
        }
        terms.online = self.doorbell.online(&order.tenant, &order.user, &terms.addressed);
        let present = |device: &Device| {
            self.doorbell.online(&order.tenant, &order.user, &Addressed::Device(device.id))
        };
        let told = addressed.iter().map(|device| (&device.value, present(&device.value)));
        let told: Vec<_> = match order.announced {
            Announcement::Nobody => Vec::new(),
            _ => told.collect(),
        };
        let present = told.iter().filter(|(_, present)| *present).map(|(device, _)| device.id);
        terms.present = present.collect();
        let (transaction, event) = Transaction::start(terms);
        let pushed = if order.announced == Announcement::Everybody { &told[..] } else { &[] };
        let debts = self.debts(event, &transaction, pushed);
        let owes = !debts.is_empty();
        let commit = Commit {
            debts,
            transaction: transaction.clone(),
            expected: None,
            event,
            grounds,
            standing: None,
            open_max: self.policy.open_per_user_max,
            stored_max: self.policy.stored_max,
        };
        match self.store.commit(commit).await? {
            Committed::Written => {}
            Committed::Crowded => return Err(Refusal::Crowded.into()),
            Committed::ClientFull => return Err(Refusal::Quota(Quota::ClientStored).into()),
            Committed::TenantFull => return Err(Refusal::Quota(Quota::TenantStored).into()),
            Committed::Stale | Committed::ReferenceTaken | Committed::KeyTaken => return Ok(None),
            Committed::SignatureUsed => unreachable!("a start has no signature"),
        }
        let first = Versioned { value: transaction.clone(), version: 1 };
        self.scenes.keep(Household { user, devices }, first);
        let transaction = Arc::new(transaction);
        match event {
            Event::Ended(_) => self.doorbell.ring(Bell::Ended(Arc::clone(&transaction))),
            _ if order.announced == Announcement::Nobody => {}
            _ => self.doorbell.ring(Bell::Offer(Arc::clone(&transaction))),
        }
        if owes {
            self.doorbell.ring(Bell::Owed);
        }
        Ok(Some(transaction))
    }

    /// Whom an order is for, as just seen or as read.
    async fn household(&self, seen: Option<Household>, order: &Order) -> Result<Household, Error> {
        let found = match seen {
            None => self.store.household(&order.tenant, &order.user).await?,
            seen => seen,
        };
        let found = found.ok_or(Refusal::UnknownUser)?;
        let user = &found.user.value;
        let is_theirs = user.tenant == order.tenant && user.name == order.user;
        assert!(is_theirs, "an order is decided on whom it is for");
        Ok(found)
    }

    /// The transaction that the same order started before, if one did.
    async fn started_before(&self, order: &Order) -> Result<Option<Arc<Transaction>>, Error> {
        let Some(reference) = &order.reference else { return Ok(None) };
        let handle = Handle::Reference(order.client.clone(), reference.name.clone());
        match self.store.load(&order.tenant, &handle).await? {
            None => Ok(None),
            Some(before) if before.value.terms.reference.as_ref() == Some(reference) => {
                Ok(Some(Arc::new(before.value)))
            }
            Some(_) => Err(Refusal::OtherOrder.into()),
        }
    }

    /// Takes a transaction back. A repeated cancel is answered as the first was.
    ///
    /// # Errors
    /// Refuses a transaction that is not this client's and this user's, or that ended another way.
    pub async fn cancel(
        &self,
        tenant: &TenantName,
        client: &ClientId,
        user: &UserName,
        handle: &Handle,
    ) -> Result<Arc<Transaction>, Error> {
        let found = self.store.load(tenant, handle).await?.ok_or(Refusal::Unknown)?.value;
        if found.terms.client != *client || found.terms.user != *user {
            return Err(Refusal::Unknown.into());
        }
        self.apply(tenant, found.terms.id, Input::Cancel).await
    }

    /// Deletes a transaction for its client: an open one is cancelled; its evidence and its callback stay.
    ///
    /// # Errors
    /// Refuses a transaction that is not this client's, or that it has deleted already.
    pub async fn discard(
        &self,
        tenant: &TenantName,
        client: &ClientId,
        id: TransactionId,
    ) -> Result<Arc<Transaction>, Error> {
        let found = self.store.load(tenant, &Handle::Id(id)).await?.ok_or(Refusal::Unknown)?.value;
        if found.terms.client != *client {
            return Err(Refusal::Unknown.into());
        }
        self.apply(tenant, id, Input::Discard).await
    }
}

/// The devices that an order addresses: the user's, fit to sign.
fn addressed<'a>(
    order: &Order,
    devices: &'a [Versioned<Device>],
) -> Result<Vec<&'a Versioned<Device>>, Refusal> {
    if let Addressed::Device(id) = order.addressed {
        let device = devices.iter().find(|device| device.value.id == id);
        device.ok_or(Refusal::UnknownDevice)?.value.check()?;
    }
    let covered = || devices.iter().filter(|device| order.addressed.covers(device.value.id));
    let purpose = order.content.media_type.purpose();
    let fit = |device: &&Versioned<Device>| {
        device.value.check().is_ok() && device.value.fit(purpose, &order.selectors).next().is_some()
    };
    let fit: Vec<_> = covered().filter(fit).collect();
    if !fit.is_empty() {
        return Ok(fit);
    }
    match &order.addressed {
        _ if !order.selectors.is_empty() || purpose == Purpose::Digest => Err(Refusal::NoIdentity),
        _ if devices.is_empty() => Err(Refusal::UnknownDevice),
        Addressed::Device(_) => Ok(covered().collect()),
        Addressed::Any | Addressed::Devices(_) => Err(Refusal::DeviceLocked),
    }
}

impl Order {
    fn terms(&self, request_key: RequestKey, started_at: Timestamp) -> Terms {
        assert!(
            !self.forms.accept(Form::Raw)
                || self.content.media_type.purpose() == Purpose::Digest
                || str::from_utf8(&self.content.bytes).is_ok(),
            "what is signed raw is text"
        );
        let order = self.clone();
        Terms {
            id: order.id,
            tenant: order.tenant,
            surface: order.surface,
            client: order.client,
            client_name: order.client_name,
            user: order.user,
            request_key,
            reference: order.reference,
            addressed: order.addressed,
            selectors: order.selectors,
            content: order.content,
            document: order.document,
            operation: order.operation,
            forms: order.forms,
            pin_required: order.pin_required,
            once: order.once,
            started_at,
            online: false,
            present: Vec::new(),
            clocks: order.clocks,
            callback: order.callback,
            notice: order.notice,
            request: order.request,
        }
    }
}
