//! The context cache: the step contexts of open transactions that this node has read or written. A
//! device's next step on such a transaction needs no read.
//!
//! A cached context may be stale. Only a commit may rely on one, because the ledger checks the
//! versions of all its rows. An answer without a commit, such as a refusal or a repeated answer, is
//! decided again on a context from the store.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device::{Device, Identity};
use crate::id::{DeviceId, TenantName, TransactionId};
use crate::limited_cache::LimitedCache;
use crate::limits::{COMMIT_TRIES_MAX, CONTEXT_CACHE_BYTES_MAX};
use crate::port::{StepSnapshot, UserWithDevices, Versioned};
use crate::refusal::{DeviceError, DeviceRefusal, Error};
use crate::transaction::Transaction;

/// The source of a step context.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReadFrom {
    /// The cache in memory. It may have no context, or a stale one.
    Cache,
    /// The ledger.
    Store,
}

/// The result of one attempt. `None` if it was decided on stale rows. Otherwise an answer that was
/// committed or read, which may be a refusal.
pub(super) type StepAttempt<T> = Option<Result<T, DeviceRefusal>>;

/// The sources to try, in order.
pub(super) fn read_order() -> impl Iterator<Item = ReadFrom> {
    [ReadFrom::Cache].into_iter().chain((0..COMMIT_TRIES_MAX).map(|_| ReadFrom::Store))
}

impl ReadFrom {
    /// The answer, if the attempt gave one. A refusal without a commit counts only if its context
    /// was read from the store.
    pub(super) fn answer<T>(
        self,
        attempt: Result<StepAttempt<T>, DeviceError>,
    ) -> Option<Result<T, DeviceError>> {
        match attempt {
            Ok(attempt) => attempt.map(|answer| answer.map_err(DeviceError::from)),
            Err(Error::Refused(_)) if self == Self::Cache => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Open transactions, with the devices and users that may act on them.
#[derive(Debug)]
pub(super) struct ContextCache(Mutex<LimitedCache<TransactionId, CachedContext>>);

#[derive(Debug)]
struct CachedContext {
    user_with_devices: UserWithDevices,
    transaction: Versioned<Transaction>,
}

impl Default for ContextCache {
    fn default() -> Self {
        Self(Mutex::new(LimitedCache::new(CONTEXT_CACHE_BYTES_MAX)))
    }
}

impl ContextCache {
    /// The cached context of a device and a transaction.
    pub(super) fn get(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Option<StepSnapshot> {
        let mut cached = self.lock();
        let CachedContext { user_with_devices, transaction } = cached.get(&id)?;
        let device = user_with_devices.devices.iter().find(|cached| cached.value.id == device)?;
        (transaction.value.spec.tenant == *tenant).then(|| StepSnapshot {
            device: device.clone(),
            user: Some(user_with_devices.user.clone()),
            transaction: Some(transaction.clone()),
        })
    }

    /// Caches the context of a transaction, unless the transaction has ended.
    pub(super) fn insert(
        &self,
        user_with_devices: UserWithDevices,
        transaction: Versioned<Transaction>,
    ) {
        if transaction.value.state.is_ended() {
            return;
        }
        let context = CachedContext { user_with_devices, transaction };
        let (id, bytes) = (context.transaction.value.spec.id, context.bytes());
        self.lock().insert(id, context, bytes);
    }

    /// Updates a cached transaction after a step. Its device and user are unchanged.
    pub(super) fn advance(&self, to: &Transaction, version: u32) {
        if let Some(context) = self.lock().get(&to.spec.id) {
            context.transaction = Versioned { value: to.clone(), version };
        }
    }

    /// Removes a transaction that has ended or whose cached context is stale.
    pub(super) fn remove(&self, id: TransactionId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, LimitedCache<TransactionId, CachedContext>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedContext {
    /// The approximate size in memory. It is constant as long as the entry is cached.
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
