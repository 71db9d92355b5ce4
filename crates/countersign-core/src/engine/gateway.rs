//! Use cases of a gateway: fetch a transaction for a device, complete it, or decline it. A gateway
//! is an application that knows a request key and a serial number, and proves nothing else about
//! the device.
//!
//! A request key finds a transaction, but does not authorise. Every invalid request key is
//! therefore the same [`DeviceRefusal::Unknown`], and a fetch makes the same three reads in every
//! case.

use std::sync::Arc;

use super::answer::{Completed, FinishMode, Submission, Taken};
use super::context::StepContext;
use super::context_cache::ReadFrom;
use super::{Conclusion, Engine, lost_every_race};
use crate::id::{ClientId, DeviceId, RequestKey, SerialNumber, TenantName, UserName};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{Clock, Entropy, Handle, Ledger, Notifier, Registry};
use crate::refusal::{DeviceError, DeviceRefusal};
use crate::spec::Operation;
use crate::time::Timestamp;
use crate::transaction::{Decline, End, Input, Transaction};

/// A gateway's request for a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// The transaction's tenant.
    pub tenant: TenantName,
    /// The transaction's request key.
    pub key: RequestKey,
    /// The requested operation. A transaction with the other operation is not found.
    pub operation: Operation,
    /// The client that must have started it; `None`, for a gateway of phones, allows any client.
    pub client: Option<ClientId>,
}

impl Request {
    /// Whether this transaction is the requested one, and open.
    fn fits(&self, transaction: &Transaction, now: Timestamp) -> bool {
        transaction.spec.operation == self.operation
            && self.is_asker(transaction)
            && !transaction.state.is_ended()
            && now < transaction.deadline()
    }

    /// Whether the caller may act on transactions of this client.
    fn is_asker(&self, transaction: &Transaction) -> bool {
        self.client.as_ref().is_none_or(|client| *client == transaction.spec.client)
    }
}

impl<S: Ledger + Registry, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Takes a transaction that no device has taken, for the device of that serial number. A fetch
    /// succeeds once. A repeated fetch for the same device is refused as one for another device is.
    ///
    /// # Errors
    /// [`DeviceRefusal::Unknown`] for a transaction that is unknown, ended, another client's,
    /// taken, not for this device, or refused by [`Transaction::may_fetch`]. For a transaction that
    /// can be fetched, refuses a device or a user that is locked.
    pub async fn fetch(
        &self,
        request: &Request,
        serial: SerialNumber,
    ) -> Result<Taken, DeviceError> {
        let nobody: UserName = serial.to_string().parse().expect("a serial number is printable");
        for _ in 0..COMMIT_TRIES_MAX {
            let tenant = &request.tenant;
            let device = self.store.device_by_serial(tenant, serial).await?;
            let name = device.as_ref().map_or(&nobody, |device| &device.value.user);
            let user = self.store.user(tenant, name).await?;
            let transaction = self.store.load(tenant, &Handle::Key(request.key)).await?;
            let (Some(device), Some(user), Some(transaction)) = (device, user, transaction) else {
                return Err(DeviceRefusal::Unknown.into());
            };
            let context = StepContext {
                read_from: ReadFrom::Store,
                device,
                user,
                transaction,
                now: self.now(),
            };
            let (found, by) = (&context.transaction.value, context.device.value.id);
            let fetchable = request.fits(found, context.now)
                && found.spec.user == context.user.value.name
                && found.may_fetch(by).is_ok();
            if !fetchable {
                return Err(DeviceRefusal::Unknown.into());
            }
            context.device.value.check()?;
            let lock_state = context.user.value.lock_state;
            lock_state.check(context.now)?;
            let (decision, device) = context.decide(Input::Fetch { device: by }, |_| lock_state)?;
            if let Conclusion::Done(transaction) = self.conclude(decision).await? {
                return Ok(Taken { transaction, device });
            }
        }
        Err(lost_every_race())
    }

    /// Ends a transaction with a signature by the device that it was fetched for.
    ///
    /// # Errors
    /// [`DeviceRefusal::OtherForm`] for a signature that does not name its transaction: a gateway
    /// proves nothing about the device, so it could hand in any signature that the user ever made
    /// over the same content. [`DeviceRefusal::Unknown`] for a transaction that is unknown, ended,
    /// another client's, not this user's, or not fetched; otherwise as [`Engine::finish`].
    pub async fn complete(
        &self,
        request: &Request,
        user: &UserName,
        submission: &Submission<'_>,
    ) -> Result<Completed, DeviceError> {
        if !submission.format().names_transaction() {
            return Err(DeviceRefusal::OtherForm.into());
        }
        let tenant = &request.tenant;
        let found = self.store.load(tenant, &Handle::Key(request.key)).await?;
        let found =
            found.filter(|found| found.value.spec.user == *user && request.is_asker(&found.value));
        let found = found.ok_or(DeviceRefusal::Unknown)?.value;
        let by = found.takes.first().ok_or(DeviceRefusal::Unknown)?.device;
        if let Some(End::Locked { .. }) = found.end() {
            return Err(DeviceRefusal::UserLocked.into());
        }
        if !request.fits(&found, self.now()) {
            return Err(DeviceRefusal::Unknown.into());
        }
        let completed = self.finish(FinishMode::Taken, tenant, by, found.spec.id, submission).await;
        completed.map_err(hidden)
    }

    /// Ends a transaction because the user declined on the device that fetched it.
    ///
    /// # Errors
    /// [`DeviceRefusal::Unknown`] for a transaction that is unknown, ended, or another user's;
    /// [`DeviceRefusal::OtherDevice`] for any device but the one that fetched it; otherwise as
    /// [`Engine::decline`].
    pub async fn withdraw(
        &self,
        request: &Request,
        device: DeviceId,
    ) -> Result<Arc<Transaction>, DeviceError> {
        let tenant = &request.tenant;
        let (step_snapshot, _) = self.load_actor(tenant, device).await?;
        let found = self.store.load(tenant, &Handle::Key(request.key)).await?;
        let found = found.filter(|found| {
            found.value.spec.user == step_snapshot.value.user
                && request.fits(&found.value, self.now())
        });
        let found = found.ok_or(DeviceRefusal::Unknown)?.value;
        if found.takes.first().is_none_or(|first| first.device != device) {
            return Err(DeviceRefusal::OtherDevice.into());
        }
        let (reason, words) = (Decline::User, String::new());
        let declined = self.decline(tenant, device, found.spec.id, reason, words).await;
        declined.map_err(hidden)
    }
}

/// Reports an ended transaction as not found, so that its existence does not leak.
fn hidden(error: DeviceError) -> DeviceError {
    match error {
        DeviceError::Refused(
            DeviceRefusal::Ended(_) | DeviceRefusal::Late | DeviceRefusal::NotTaken,
        ) => DeviceRefusal::Unknown.into(),
        other => other,
    }
}
