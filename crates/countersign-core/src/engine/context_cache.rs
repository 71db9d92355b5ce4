//! What steps of open transactions are decided on, remembered: a device's next step on what this
//! node saw last costs no read.
//!
//! It may be stale, so nothing but a commit may rest on it: the ledger judges the versions of all
//! that is in it. Whatever would be answered without one, a refusal or the same again, is decided
//! anew on what is read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device::{Device, Identity};
use crate::id::{DeviceId, TenantName, TransactionId};
use crate::limits::{COMMIT_TRIES_MAX, CONTEXT_CACHE_BYTES_MAX};
use crate::port::{StepSnapshot, UserWithDevices, Versioned};
use crate::refusal::{Error, Refusal};
use crate::transaction::Transaction;

/// Where what a step is decided on is from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReadFrom {
    /// In memory. May find nothing, or what is no longer so.
    Cache,
    /// In the ledger.
    Store,
}

/// What came of a try: nothing yet, where it was decided on what is no longer so; else an answer
/// that was committed or read, which may be a refusal.
pub(super) type StepAttempt<T> = Option<Result<T, Refusal>>;

/// What a use case decides on, one try after the other.
pub(super) fn read_order() -> impl Iterator<Item = ReadFrom> {
    [ReadFrom::Cache].into_iter().chain((0..COMMIT_TRIES_MAX).map(|_| ReadFrom::Store))
}

impl ReadFrom {
    /// The answer, if the try gave one. What was refused without a commit is one only if it was
    /// read.
    pub(super) fn answer<T>(
        self,
        attempt: Result<StepAttempt<T>, Error>,
    ) -> Option<Result<T, Error>> {
        match attempt {
            Ok(attempt) => attempt.map(|answer| answer.map_err(Error::from)),
            Err(Error::Refused(_)) if self == Self::Cache => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Open transactions, and who may act on them.
#[derive(Debug, Default)]
pub(super) struct ContextCache(Mutex<CachedContexts>);

#[derive(Debug, Default)]
struct CachedContexts {
    context_cache: HashMap<TransactionId, CachedContext>,
    bytes: usize,
}

#[derive(Debug)]
struct CachedContext {
    user_with_devices: UserWithDevices,
    transaction: Versioned<Transaction>,
}

impl ContextCache {
    /// Who acts on what, as it was when it was last seen here.
    pub(super) fn get(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Option<StepSnapshot> {
        let cached = self.lock();
        let CachedContext { user_with_devices, transaction } = cached.context_cache.get(&id)?;
        let device = user_with_devices.devices.iter().find(|cached| cached.value.id == device)?;
        (transaction.value.spec.tenant == *tenant).then(|| StepSnapshot {
            device: device.clone(),
            user: Some(user_with_devices.user.clone()),
            transaction: Some(transaction.clone()),
        })
    }

    /// Remembers what was seen of a transaction, unless that is over.
    pub(super) fn insert(
        &self,
        user_with_devices: UserWithDevices,
        transaction: Versioned<Transaction>,
    ) {
        if transaction.value.state.is_ended() {
            return;
        }
        let context = CachedContext { user_with_devices, transaction };
        let bytes = context.bytes();
        let mut cached = self.lock();
        if cached.bytes + bytes > CONTEXT_CACHE_BYTES_MAX {
            // Rare and cheap enough: what goes on is read once more.
            *cached = CachedContexts::default();
        }
        cached.bytes += bytes;
        let before = cached.context_cache.insert(context.transaction.value.spec.id, context);
        cached.bytes -= before.map_or(0, |before| before.bytes());
    }

    /// A transaction that may be remembered has gone on; its device and user have not.
    pub(super) fn advance(&self, to: &Transaction, version: u32) {
        if let Some(context) = self.lock().context_cache.get_mut(&to.spec.id) {
            context.transaction = Versioned { value: to.clone(), version };
        }
    }

    /// It is over, or not as it was remembered.
    pub(super) fn remove(&self, id: TransactionId) {
        let mut cached = self.lock();
        let gone = cached.context_cache.remove(&id);
        cached.bytes -= gone.map_or(0, |gone| gone.bytes());
    }

    fn lock(&self) -> MutexGuard<'_, CachedContexts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedContext {
    /// About what it takes. The same for as long as it is remembered.
    fn bytes(&self) -> usize {
        let identity = |identity: &Identity| {
            identity.certificate.len() + identity.chain.iter().map(Vec::len).sum::<usize>()
        };
        let device = |device: &Versioned<Device>| {
            size_of::<Device>() + device.value.identities.iter().map(identity).sum::<usize>()
        };
        let devices = self.user_with_devices.devices.iter().map(device).sum::<usize>();
        size_of::<Self>() + devices + self.transaction.value.spec.content.bytes.len()
    }
}
