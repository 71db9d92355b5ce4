//! What steps of open transactions are decided on, remembered: a device's next step on what this node
//! saw last costs no read.
//!
//! It may be stale, so nothing but a commit may rest on it: the ledger judges the versions of all that
//! is in it. Whatever would be answered without one, a refusal or the same again, is decided anew on
//! what is read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device::{Device, Identity};
use crate::id::{DeviceId, TenantName, TransactionId};
use crate::limits::{COMMIT_TRIES_MAX, SCENES_BYTES_MAX};
use crate::port::{Acting, Household, Versioned};
use crate::refusal::{Error, Refusal};
use crate::transaction::Transaction;

/// Where what a step is decided on is from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// In memory. May find nothing, or what is no longer so.
    Memory,
    /// In the ledger.
    Ledger,
}

/// What came of a try: nothing yet, where it was decided on what is no longer so; else an answer that
/// was committed or read, which may be a refusal.
pub(super) type Tried<T> = Option<Result<T, Refusal>>;

/// What a use case decides on, one try after the other.
pub(super) fn sources() -> impl Iterator<Item = Source> {
    [Source::Memory].into_iter().chain((0..COMMIT_TRIES_MAX).map(|_| Source::Ledger))
}

impl Source {
    /// The answer, if the try gave one. What was refused without a commit is one only if it was read.
    pub(super) fn answer<T>(self, tried: Result<Tried<T>, Error>) -> Option<Result<T, Error>> {
        match tried {
            Ok(tried) => tried.map(|answer| answer.map_err(Error::from)),
            Err(Error::Refused(_)) if self == Self::Memory => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Open transactions, and who may act on them.
#[derive(Debug, Default)]
pub(super) struct Scenes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    scenes: HashMap<TransactionId, Remembered>,
    bytes: usize,
}

#[derive(Debug)]
struct Remembered {
    household: Household,
    transaction: Versioned<Transaction>,
}

impl Scenes {
    /// Who acts on what, as it was when it was last seen here.
    pub(super) fn recall(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Option<Acting> {
        let known = self.lock();
        let Remembered { household, transaction } = known.scenes.get(&id)?;
        let device = household.devices.iter().find(|known| known.value.id == device)?;
        (transaction.value.terms.tenant == *tenant).then(|| Acting {
            device: device.clone(),
            user: Some(household.user.clone()),
            transaction: Some(transaction.clone()),
        })
    }

    /// Remembers what was seen of a transaction, unless that is over.
    pub(super) fn keep(&self, household: Household, transaction: Versioned<Transaction>) {
        if transaction.value.state.is_ended() {
            return;
        }
        let scene = Remembered { household, transaction };
        let bytes = scene.bytes();
        let mut known = self.lock();
        if known.bytes + bytes > SCENES_BYTES_MAX {
            // Rare and cheap enough: what goes on is read once more.
            *known = Known::default();
        }
        known.bytes += bytes;
        let before = known.scenes.insert(scene.transaction.value.terms.id, scene);
        known.bytes -= before.map_or(0, |before| before.bytes());
    }

    /// A transaction that may be remembered has gone on; its device and user have not.
    pub(super) fn advance(&self, to: &Transaction, version: u32) {
        if let Some(scene) = self.lock().scenes.get_mut(&to.terms.id) {
            scene.transaction = Versioned { value: to.clone(), version };
        }
    }

    /// It is over, or not as it was remembered.
    pub(super) fn forget(&self, id: TransactionId) {
        let mut known = self.lock();
        let gone = known.scenes.remove(&id);
        known.bytes -= gone.map_or(0, |gone| gone.bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    /// About what it takes. The same for as long as it is remembered.
    fn bytes(&self) -> usize {
        let identity = |identity: &Identity| {
            identity.certificate.len() + identity.chain.iter().map(Vec::len).sum::<usize>()
        };
        let device = |device: &Versioned<Device>| {
            size_of::<Device>() + device.value.identities.iter().map(identity).sum::<usize>()
        };
        let devices = self.household.devices.iter().map(device).sum::<usize>();
        size_of::<Self>() + devices + self.transaction.value.terms.content.bytes.len()
    }
}
