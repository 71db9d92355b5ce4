//! What callers do in a simulated town, and what must be true when they are answered.

use core::fmt;
use core::time::Duration;
use std::rc::Rc;

use countersign_core::delivery::{Capacity, Delivery, Settlement, Verdict};
use countersign_core::device::DeviceStatus;
use countersign_core::engine::{FinishMode, SignatureRequest, Submission};
use countersign_core::id::{IdentityId, TransactionId};
use countersign_core::port::{Changed, Claim, Handle, Ledger, Registry};
use countersign_core::spec::SignatureFormat;
use countersign_core::transaction::{Decline, End, Transaction};
use countersign_core::user::{Lock, LockState};
use countersign_core::{Error, Refusal};
use countersign_sim::{Phone, RAW, RandomFaults, pin_digest};
use countersign_store::Store;

use super::model::Model;
use crate::fixture::{Node, POPULATION};

pub(super) type SimulatedNode = Node<Store, RandomFaults>;

/// Something that a caller asks of a node, and asks again if it is not answered.
#[derive(Clone)]
pub(super) struct Operation {
    /// Whose, where it is a device's or is about one.
    pub(super) phone: &'static Phone,
    pub(super) what: What,
}

#[derive(Clone)]
pub(super) enum What {
    Start(Box<SignatureRequest>),
    Offers,
    Take {
        id: TransactionId,
        pin: Option<String>,
    },
    Finish {
        id: TransactionId,
        value: Rc<[u8]>,
        identity: IdentityId,
        form: SignatureFormat,
        mode: FinishMode,
        is_forged: bool,
    },
    Decline {
        id: TransactionId,
        reason: Decline,
    },
    Fail {
        id: TransactionId,
    },
    Cancel {
        id: TransactionId,
    },
    Discard {
        id: TransactionId,
    },
    Sweep,
    /// Retention, of what ended so long ago.
    Forget(Duration),
    Pay,
    /// The user's lock, by an administrator.
    Lock(Lock),
    /// The device's status, by an administrator.
    Status(DeviceStatus),
    /// Whether its identities are enabled.
    Enable(bool),
    Pin {
        version: u32,
        old: String,
        new: String,
    },
}

/// How it was answered.
pub(super) enum Answer {
    Transaction(TransactionId),
    Done,
}

impl Operation {
    /// Asks a node.
    pub(super) async fn ask(self, node: &SimulatedNode) -> Result<Answer, Error> {
        let (tenant, device) = (self.phone.tenant(), self.phone.id());
        let told = match self.what {
            What::Start(request) => node.start(*request).await?,
            What::Take { id, pin } => {
                let proof = pin.map(|pin| self.phone.prove_pin(&pin, id));
                node.take(tenant, device, id, proof.as_deref()).await?.transaction
            }
            What::Finish { id, value, identity, form, mode, .. } => {
                let submission = Submission {
                    form,
                    value: &value,
                    identity: Some(identity),
                    algorithm: (form == SignatureFormat::Raw).then_some(RAW),
                    digest: None,
                };
                node.finish_in(mode, tenant, device, id, &submission).await?.transaction
            }
            What::Decline { id, reason } => node.decline(tenant, device, id, reason).await?,
            What::Fail { id } => node.fail(tenant, device, id, "no screen".into()).await?,
            What::Cancel { id } => {
                let client = &POPULATION.test_tenant(tenant.as_str()).client;
                node.cancel(tenant, client, self.phone.user(), &Handle::Id(id)).await?
            }
            What::Discard { id } => {
                let client = &POPULATION.test_tenant(tenant.as_str()).client;
                node.discard(tenant, client, id).await?
            }
            What::Pay => return settle_one(node).await,
            What::Offers => {
                node.offers(tenant, device).await?;
                return Ok(Answer::Done);
            }
            What::Sweep => {
                node.sweep().await?;
                return Ok(Answer::Done);
            }
            What::Forget(keep) => {
                node.purge(Some(keep)).await?;
                return Ok(Answer::Done);
            }
            What::Pin { version, old, new } => {
                let proof = self.phone.prove_pin(&old, TransactionId(0));
                node.set_pin(tenant, device, &pin_digest(&new, version), Some(&proof)).await?;
                return Ok(Answer::Done);
            }
            What::Lock(_) | What::Status(_) | What::Enable(_) => {
                self.administer(&node.store).await?;
                return Ok(Answer::Done);
            }
        };
        Ok(Answer::Transaction(told.spec.id))
    }

    /// What an administrator does: reads, changes, and begins again if somebody else was faster.
    async fn administer(&self, store: &impl Registry) -> Result<(), Error> {
        let (tenant, user) = (self.phone.tenant(), self.phone.user());
        loop {
            let changed = if let What::Lock(lock) = self.what {
                let found = store.user(tenant, user).await?.ok_or(Refusal::UnknownUser)?;
                let lock_state = LockState { lock, ..found.value.lock_state };
                store.set_lock_state(tenant, user, found.version, lock_state).await?
            } else {
                let found = store.device(tenant, self.phone.id()).await?;
                let found = found.ok_or(Refusal::UnknownDevice)?;
                let mut device = found.value;
                match self.what {
                    What::Status(status) => device.status = status,
                    What::Enable(is_on) => {
                        device.identities.iter_mut().for_each(|i| i.enabled = is_on);
                    }
                    _ => unreachable!("not an administrator's"),
                }
                store.change_device(device, found.version).await?
            };
            if changed == Changed::Written {
                return Ok(());
            }
        }
    }

    /// What must be true now that it was answered with yes.
    pub(super) fn check(&self, told: &Answer, model: &Model) {
        let Answer::Transaction(id) = told else { return };
        let transaction: &Transaction = model.transaction(*id);
        let device = self.phone.id();
        let is_so = match (&self.what, transaction.end()) {
            (What::Start(request), _) => {
                *id == request.id || transaction.spec.reference == request.reference
            }
            (What::Take { .. }, _) => transaction.taken_by(device),
            (What::Finish { is_forged: true, .. }, _) => false,
            (What::Finish { value, .. }, Some(End::Finished { by, proof })) => {
                *by == device && proof.repeats(value)
            }
            (What::Decline { reason, .. }, Some(end)) => {
                *end == End::Declined { by: device, reason: *reason, words: String::new() }
            }
            (What::Fail { .. }, Some(End::Failed { by, .. })) => *by == device,
            (What::Cancel { .. }, Some(End::Cancelled)) => true,
            (What::Discard { .. }, Some(_)) => transaction.discarded,
            _ => false,
        };
        assert!(is_so, "{self} was answered with yes, and the ledger has {:?}", transaction.state);
    }

    /// Whether this refusal is itself an event: a wrong PIN, committed before it is answered.
    pub(super) fn is_event(&self, refusal: &Refusal) -> bool {
        let proves = matches!(self.what, What::Take { .. } | What::Pin { .. });
        proves && matches!(refusal, Refusal::PinWrong { .. } | Refusal::UserLocked)
    }
}

/// Pays some debts, as a worker does; each attempt succeeds.
async fn settle_one(node: &SimulatedNode) -> Result<Answer, Error> {
    let now = node.now();
    let lease_end = now + Duration::from_secs(2);
    let claim = Claim { now, lease_end, capacity: Capacity::new(4, 2), after: None };
    for Delivery { id, destination, lease, .. } in node.store.claim(claim).await?.deliveries {
        let (verdict, outcome) = (Verdict::Done, "200".into());
        let settlement =
            Settlement { tenant: destination.tenant, id, lease, verdict, outcome, at: now };
        node.store.settle(settlement).await?;
    }
    Ok(Answer::Done)
}

/// For the story: who, and what. Nothing of signatures, which differ from run to run.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.phone.device.about.name)?;
        match &self.what {
            What::Start(request) => write!(f, "start {} for {:?}", request.id, request.recipients),
            What::Take { id, pin } => write!(f, "take {id} with PIN {pin:?}"),
            What::Finish { id, is_forged: false, form, mode, .. } => {
                write!(f, "finish {id}, {}, {mode:?}", form.as_str())
            }
            What::Finish { id, is_forged: true, .. } => write!(f, "finish {id} forged"),
            What::Decline { id, reason } => write!(f, "decline {id}: {reason:?}"),
            What::Fail { id } => write!(f, "fail {id}"),
            What::Cancel { id } => write!(f, "cancel {id}"),
            What::Discard { id } => write!(f, "discard {id}"),
            What::Lock(lock) => write!(f, "the user is {lock:?}"),
            What::Status(status) => write!(f, "the device is {status:?}"),
            What::Enable(is_on) => write!(f, "identities enabled: {is_on}"),
            What::Pin { version, .. } => write!(f, "PIN {version}"),
            What::Offers => f.write_str("offers"),
            What::Sweep => f.write_str("sweep"),
            What::Forget(keep) => write!(f, "forget what is older than {keep:?}"),
            What::Pay => f.write_str("pay"),
        }
    }
}
