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
use crate::refusal::{Error, Refusal};
use crate::terms::{
    Addressed, Callback, Clocks, Content, Forms, Operation, Reference, Surface, Terms,
};
use crate::time::Timestamp;
use crate::transaction::{Event, Input, Transaction};

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
    /// Which devices are offered it.
    pub addressed: Addressed,
    /// What is shown and signed.
    pub content: Content,
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
    /// Whether devices are told of it, or are shown its request key some other way.
    pub announced: bool,
    /// Where its end is told.
    pub callback: Option<Callback>,
    /// Public words for a push.
    pub notice: Option<String>,
}

impl<S: Ledger + Registry, D: Doorbell, W: Clock + Chance> Engine<S, D, W> {
    /// Starts a transaction, and offers it to the addressed devices that are online.
    ///
    /// The same order under the same reference is answered with the transaction that it started.
    ///
    /// # Errors
    /// Refuses users and devices that are unknown or locked, a reference used for something else,
    /// and one open transaction too many.
    pub async fn start(&self, order: Order) -> Result<Arc<Transaction>, Error> {
        for _ in 0..COMMIT_TRIES_MAX {
            let refused = match self.try_start(&order).await {
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
    async fn try_start(&self, order: &Order) -> Result<Option<Arc<Transaction>>, Error> {
        let now = self.now();
        let found = self.store.household(&order.tenant, &order.user).await?;
        let Household { user, devices } = found.ok_or(Refusal::UnknownUser)?;
        let addressed = addressed(order.addressed, &devices)?;
        user.value.standing.check(now)?;

        let grounds = Grounds {
            user: Some(user.version),
            device: match order.addressed {
                Addressed::Any => None,
                Addressed::Device(id) => Some((id, addressed[0].version)),
            },
        };
        let request_key = RequestKey::drawn(self.world.draw());
        let online = self.doorbell.online(&order.tenant, &order.user, order.addressed);
        let (transaction, event) = Transaction::start(order.terms(request_key, now, online));
        let present = |device: &Device| {
            self.doorbell.online(&order.tenant, &order.user, Addressed::Device(device.id))
        };
        let absent: Vec<&Device> =
            addressed.iter().map(|device| &device.value).filter(|d| !present(d)).collect();
        let absent = if order.announced { absent } else { Vec::new() };
        let commit = Commit {
            debts: self.debts(event, &transaction, &absent),
            transaction: transaction.clone(),
            expected: None,
            event,
            grounds,
            standing: None,
            open_max: self.policy.open_per_user_max,
        };
        match self.store.commit(commit).await? {
            Committed::Written => {}
            Committed::Crowded => return Err(Refusal::Crowded.into()),
            Committed::Stale | Committed::ReferenceTaken | Committed::KeyTaken => return Ok(None),
        }
        let first = Versioned { value: transaction.clone(), version: 1 };
        self.scenes.keep(Household { user, devices }, first);
        let transaction = Arc::new(transaction);
        match event {
            Event::Ended(_) => self.doorbell.ring(Bell::Ended(Arc::clone(&transaction))),
            _ if order.announced => self.doorbell.ring(Bell::Offer(Arc::clone(&transaction))),
            _ => {}
        }
        Ok(Some(transaction))
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
}

/// The devices that an order addresses: the user's, fit to sign.
fn addressed(
    addressed: Addressed,
    devices: &[Versioned<Device>],
) -> Result<Vec<&Versioned<Device>>, Refusal> {
    match addressed {
        Addressed::Device(id) => {
            let device = devices.iter().find(|device| device.value.id == id);
            let device = device.ok_or(Refusal::UnknownDevice)?;
            device.value.check()?;
            Ok(vec![device])
        }
        Addressed::Any => {
            let fit: Vec<_> =
                devices.iter().filter(|device| device.value.signs(Purpose::Content)).collect();
            match (fit.is_empty(), devices.is_empty()) {
                (false, _) => Ok(fit),
                (true, true) => Err(Refusal::UnknownDevice),
                (true, false) => Err(Refusal::DeviceLocked),
            }
        }
    }
}

impl Order {
    fn terms(&self, request_key: RequestKey, started_at: Timestamp, online: bool) -> Terms {
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
            content: order.content,
            operation: order.operation,
            forms: order.forms,
            pin_required: order.pin_required,
            once: order.once,
            started_at,
            online,
            clocks: order.clocks,
            callback: order.callback,
            notice: order.notice,
        }
    }
}
