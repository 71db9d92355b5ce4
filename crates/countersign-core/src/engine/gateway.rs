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
use crate::device::Device;
use crate::id::{ClientId, RequestKey, SerialNumber, TenantName, UserName};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{Clock, Entropy, Handle, Ledger, Notifier, Part, Query, QuerySubject, Snapshot};
use crate::refusal::{DeviceError, DeviceRefusal};
use crate::spec::{Operation, SignatureFormat, TransactionSpec};
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

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Takes a transaction that no device has taken, for the device of that serial number. A fetch
    /// succeeds once. A repeated fetch for the same device is refused as one for another device is.
    ///
    /// # Errors
    /// [`DeviceRefusal::Unknown`] for a transaction that is unknown, ended, another client's,
    /// taken, not for this device, refused by [`Transaction::may_fetch`], or one that this device
    /// could not complete, because it accepts no code and the device has no valid certificate for
    /// it. For a transaction that
    /// can be fetched, refuses a device or a user that is locked.
    pub async fn fetch(
        &self,
        request: &Request,
        serial: SerialNumber,
    ) -> Result<Taken, DeviceError> {
        let nobody: UserName = serial.to_string().parse().expect("a serial number is printable");
        for _ in 0..COMMIT_TRIES_MAX {
            let tenant = &request.tenant;
            let key = Handle::Key(request.key);
            let parts = &[Part::User, Part::Transaction(&key)];
            let query = Query { subject: QuerySubject::Serial(serial), parts };
            let Snapshot { device, user, transaction, .. } =
                self.store.snapshot(tenant, query).await?;
            if device.is_none() {
                // An unknown serial number causes the same reads as a known one.
                self.store.read().user(tenant, &nobody).await?;
            }
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
                && found.may_fetch(by).is_ok()
                && can_complete(&found.spec, &context.device.value, context.now);
            if !fetchable {
                return Err(DeviceRefusal::Unknown.into());
            }
            context.device.value.check()?;
            let (lock_state, at) = (context.user.value.lock_state, context.now);
            lock_state.check(at)?;
            let (decision, device) = context.decide(Input::Fetch { device: by }, |_| lock_state)?;
            if let Conclusion::Done(transaction) = self.conclude(decision).await? {
                return Ok(Taken { transaction, device, at });
            }
        }
        Err(lost_every_race())
    }

    /// Ends a transaction with a signature by the device that it was fetched for. The client that
    /// got the content sealed for a device at the start may end it with that device's signature,
    /// without a fetch: the person typed the code. With a serial number, it must be that device's.
    ///
    /// # Errors
    /// [`DeviceRefusal::OtherForm`] for a signature that does not name its transaction: a gateway
    /// proves nothing about the device, so it could hand in any signature that the user ever made
    /// over the same content. [`DeviceRefusal::Unknown`] for a transaction that is unknown, ended,
    /// another client's, not this user's, not that device's, or not fetched; otherwise as
    /// [`Engine::finish`].
    pub async fn complete(
        &self,
        request: &Request,
        user: &UserName,
        serial: Option<SerialNumber>,
        submission: &Submission<'_>,
    ) -> Result<Completed, DeviceError> {
        if !submission.format().names_transaction() {
            return Err(DeviceRefusal::OtherForm.into());
        }
        let tenant = &request.tenant;
        let found = self.store.read().transaction(tenant, &Handle::Key(request.key)).await?;
        let found =
            found.filter(|found| found.value.spec.user == *user && request.is_asker(&found.value));
        let found = found.ok_or(DeviceRefusal::Unknown)?.value;
        let by = match (found.takes.first(), &request.client) {
            (Some(first), _) => Some(first.device),
            (None, Some(_)) => found.spec.sealed_for,
            (None, None) => None,
        };
        let by = by.ok_or(DeviceRefusal::Unknown)?;
        if let Some(serial) = serial {
            let named = self.store.read().device_by_serial(tenant, serial).await?;
            if named.is_none_or(|named| named.value.id != by) {
                return Err(DeviceRefusal::Unknown.into());
            }
        }
        if let Some(End::Locked { .. }) = found.end() {
            return Err(DeviceRefusal::UserLocked.into());
        }
        if !request.fits(&found, self.now()) {
            return Err(DeviceRefusal::Unknown.into());
        }
        let completed = self.finish(FinishMode::Taken, tenant, by, found.spec.id, submission).await;
        completed.map_err(hidden)
    }

    /// Ends a transaction because the user declined on the device that fetched it. `named` is the
    /// transaction that the device's message names, and `request` reads the message: it gets the
    /// device and that transaction. Each row is read once.
    ///
    /// # Errors
    /// Refuses as `request` does; [`DeviceRefusal::OtherForm`] if no device has the serial number,
    /// because then no device has sealed the message; [`DeviceRefusal::Unknown`] for a transaction
    /// that is unknown, ended, or another user's; [`DeviceRefusal::OtherDevice`] for any device but
    /// the one that fetched it; otherwise as [`Engine::decline`].
    pub async fn withdraw(
        &self,
        tenant: &TenantName,
        serial: SerialNumber,
        named: &Handle,
        request: impl Fn(&Device, Option<&Transaction>) -> Result<Request, DeviceRefusal> + Send + Sync,
    ) -> Result<Arc<Transaction>, DeviceError> {
        let parts = &[Part::User, Part::Transaction(named)];
        let query = Query { subject: QuerySubject::Serial(serial), parts };
        for _ in 0..COMMIT_TRIES_MAX {
            let Snapshot { device, user, transaction, .. } =
                self.store.snapshot(tenant, query).await?;
            let device = device.ok_or(DeviceRefusal::OtherForm)?;
            let request = request(&device.value, transaction.as_ref().map(|found| &found.value))?;
            device.value.check()?;
            let (user, now) = (user.ok_or(DeviceRefusal::UnknownUser)?, self.now());
            let transaction = transaction
                .filter(|found| found.value.spec.user == device.value.user)
                .filter(|found| request.fits(&found.value, now))
                .ok_or(DeviceRefusal::Unknown)?;
            let by = device.value.id;
            if transaction.value.takes.first().is_none_or(|first| first.device != by) {
                return Err(DeviceRefusal::OtherDevice.into());
            }
            let lock_state = user.value.lock_state;
            lock_state.check(now)?;
            let read_from = ReadFrom::Store;
            let context = StepContext { read_from, device, user, transaction, now };
            let decline =
                Input::Decline { device: by, reason: Decline::User, words: String::new() };
            let decided = context.decide(decline, |_| lock_state);
            let (decision, _) = decided.map_err(|refusal| hidden(refusal.into()))?;
            if let Conclusion::Done(declined) = self.conclude(decision).await? {
                return Ok(declined);
            }
        }
        Err(lost_every_race())
    }

    /// Reads the transaction whose end a caller awaits. With a serial number, it must address that
    /// device. Each row is read once.
    ///
    /// # Errors
    /// [`DeviceRefusal::Unknown`] for a transaction that is unknown, another client's or another
    /// user's, or not for that device; [`DeviceRefusal::UnknownDevice`] if no device has the serial
    /// number.
    pub async fn awaited(
        &self,
        request: &Request,
        user: &UserName,
        serial: Option<SerialNumber>,
    ) -> Result<Arc<Transaction>, DeviceError> {
        let key = Handle::Key(request.key);
        let parts: &[_] = &[Part::Transaction(&key)];
        let query = match serial {
            Some(serial) => Query { subject: QuerySubject::Serial(serial), parts },
            None => Query { subject: QuerySubject::Transaction(&key), parts: &[] },
        };
        let Snapshot { device, transaction, .. } =
            self.store.snapshot(&request.tenant, query).await?;
        let transaction = transaction.ok_or(DeviceRefusal::Unknown)?.value;
        if serial.is_some() && device.is_none() {
            return Err(DeviceRefusal::UnknownDevice.into());
        }
        let spec = &transaction.spec;
        let is_addressed = device.is_none_or(|device| spec.recipients.includes(device.value.id));
        let is_own = request.is_asker(&transaction) && spec.user == *user && is_addressed;
        if !is_own || spec.operation != request.operation {
            return Err(DeviceRefusal::Unknown.into());
        }
        Ok(Arc::new(transaction))
    }
}

/// Whether the device can end the transaction through a gateway: with a code, or with a CMS by an
/// identity whose certificate is valid.
fn can_complete(spec: &TransactionSpec, device: &Device, now: Timestamp) -> bool {
    spec.formats.accept(SignatureFormat::Code)
        || device.fit(spec.usage(), &spec.selectors, now).next().is_some()
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
