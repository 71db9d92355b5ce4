//! What callers do in a simulated town, and what must be true when they are answered.

use core::fmt;
use core::time::Duration;
use std::rc::Rc;

use countersign_core::delivery::{Delivery, Room, Settlement, Verdict};
use countersign_core::device::DeviceStatus;
use countersign_core::engine::{Manner, Order, Submission};
use countersign_core::id::{IdentityId, TransactionId};
use countersign_core::port::{Changed, Claim, Handle, Ledger, Registry};
use countersign_core::terms::Form;
use countersign_core::transaction::{Decline, End, Transaction};
use countersign_core::user::{Lock, Standing};
use countersign_core::{Error, Refusal};
use countersign_sim::{Phone, RAW, Unsteady, pin_digest};
use countersign_store::Store;

use super::model::Model;
use crate::play::{Node, WORLD};

pub(super) type Town = Node<Store, Unsteady>;

/// Something that a caller asks of a node, and asks again if it is not answered.
#[derive(Clone)]
pub(super) struct Deed {
    /// Whose, where it is a device's or is about one.
    pub(super) phone: &'static Phone,
    pub(super) what: What,
}

#[derive(Clone)]
pub(super) enum What {
    Start(Box<Order>),
    Offers,
    Take {
        id: TransactionId,
        pin: Option<String>,
    },
    Finish {
        id: TransactionId,
        value: Rc<[u8]>,
        identity: IdentityId,
        form: Form,
        manner: Manner,
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
pub(super) enum Told {
    Transaction(TransactionId),
    Done,
}

impl Deed {
    /// Asks a node.
    pub(super) async fn ask(self, node: &Town) -> Result<Told, Error> {
        let (tenant, device) = (self.phone.tenant(), self.phone.id());
        let told = match self.what {
            What::Start(order) => node.start(*order).await?,
            What::Take { id, pin } => {
                let proof = pin.map(|pin| self.phone.prove_pin(&pin, id));
                node.take(tenant, device, id, proof.as_deref()).await?.transaction
            }
            What::Finish { id, value, identity, form, manner, .. } => {
                let submission = Submission {
                    form,
                    value: &value,
                    identity: Some(identity),
                    algorithm: (form == Form::Raw).then_some(RAW),
                    digest: None,
                };
                node.finish_in(manner, tenant, device, id, &submission).await?.transaction
            }
            What::Decline { id, reason } => node.decline(tenant, device, id, reason).await?,
            What::Fail { id } => node.fail(tenant, device, id, "no screen".into()).await?,
            What::Cancel { id } => {
                let client = &WORLD.house(tenant.as_str()).client;
                node.cancel(tenant, client, self.phone.user(), &Handle::Id(id)).await?
            }
            What::Discard { id } => {
                let client = &WORLD.house(tenant.as_str()).client;
                node.discard(tenant, client, id).await?
            }
            What::Pay => return pay(node).await,
            What::Offers => {
                node.offers(tenant, device).await?;
                return Ok(Told::Done);
            }
            What::Sweep => {
                node.sweep().await?;
                return Ok(Told::Done);
            }
            What::Forget(keep) => {
                node.forget(Some(keep)).await?;
                return Ok(Told::Done);
            }
            What::Pin { version, old, new } => {
                let proof = self.phone.prove_pin(&old, TransactionId(0));
                node.set_pin(tenant, device, &pin_digest(&new, version), Some(&proof)).await?;
                return Ok(Told::Done);
            }
            What::Lock(_) | What::Status(_) | What::Enable(_) => {
                self.administer(&node.store).await?;
                return Ok(Told::Done);
            }
        };
        Ok(Told::Transaction(told.terms.id))
    }

    /// What an administrator does: reads, changes, and begins again if somebody else was faster.
    async fn administer(&self, store: &impl Registry) -> Result<(), Error> {
        let (tenant, user) = (self.phone.tenant(), self.phone.user());
        loop {
            let changed = if let What::Lock(lock) = self.what {
                let found = store.user(tenant, user).await?.ok_or(Refusal::UnknownUser)?;
                let standing = Standing { lock, ..found.value.standing };
                store.set_standing(tenant, user, found.version, standing).await?
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
    pub(super) fn check(&self, told: &Told, model: &Model) {
        let Told::Transaction(id) = told else { return };
        let transaction: &Transaction = model.transaction(*id);
        let device = self.phone.id();
        let is_so = match (&self.what, transaction.end()) {
            (What::Start(order), _) => {
                *id == order.id || transaction.terms.reference == order.reference
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
async fn pay(node: &Town) -> Result<Told, Error> {
    let now = node.now();
    let lease_end = now + Duration::from_secs(2);
    let claim = Claim { now, lease_end, room: Room::new(4, 2), after: None };
    for Delivery { id, lane, lease, .. } in node.store.claim(claim).await?.deliveries {
        let (verdict, outcome) = (Verdict::Done, "200".into());
        let settlement = Settlement { tenant: lane.tenant, id, lease, verdict, outcome, at: now };
        node.store.settle(settlement).await?;
    }
    Ok(Told::Done)
}

/// For the story: who, and what. Nothing of signatures, which differ from run to run.
impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.phone.device.about.name)?;
        match &self.what {
            What::Start(order) => write!(f, "start {} for {:?}", order.id, order.addressed),
            What::Take { id, pin } => write!(f, "take {id} with PIN {pin:?}"),
            What::Finish { id, is_forged: false, form, manner, .. } => {
                write!(f, "finish {id}, {}, {manner:?}", form.as_str())
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
