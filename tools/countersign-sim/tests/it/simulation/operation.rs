//! The operations of callers in a simulation, and the checks of their answers.

use core::fmt;
use core::time::Duration;
use std::rc::Rc;

use countersign_core::delivery::capacity::Capacity;
use countersign_core::delivery::{Delivery, Settlement, Verdict};
use countersign_core::device::DeviceStatus;
use countersign_core::engine::{FinishMode, Keep, RawSubmission, SignatureRequest, Submission};
use countersign_core::enrolment::{Activation, ActivationState};
use countersign_core::event::Actor;
use countersign_core::id::{ApiKeyId, IdentityId, TransactionId};
use countersign_core::port::{Claim, Handle, StoredKey};
use countersign_core::push::{Provider, PushAddress};
use countersign_core::refusal::{Error, Fault, Refusal};
use countersign_core::role::Roles;
use countersign_core::secret::Secret;
use countersign_core::spec::SignatureFormat;
use countersign_core::tenant::{
    ApiKey, Client, ClientSecret, CredentialState, KeyKind, PasswordGrant,
};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Decline, End, Transaction};
use countersign_sim::{Phone, RAW, RandomFaults, pin_digest};
use countersign_store::Store;

use super::model::Model;
use crate::fixture::{Node, POPULATION};

pub(super) type SimulatedNode = Node<Store, RandomFaults>;

/// A call to a node, which the caller repeats if it gets no answer.
#[derive(Clone)]
pub(super) struct Operation {
    /// The device of the call, or the device that the call is about.
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
    /// Retention of transactions that ended so long ago.
    Forget(Duration),
    Pay,
    /// An administrator locks or unlocks the user.
    Lock(bool),
    /// An administrator changes the device's status.
    Status(DeviceStatus),
    /// An administrator enables or disables the device's identities.
    Enable(bool),
    Administer(Act),
    Pin {
        version: u32,
        old: String,
        new: String,
    },
}

/// An operator's operation on which no transaction depends. Numbers represent names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    CreateUser(u32),
    DeleteUser(u32),
    CreateActivation(u128),
    CreateClient(u32),
    CreateApiKey(u32),
    /// Begins with a new key, or removes the older one.
    RotateCallbackKey(bool),
    TrustRoot(u32),
    /// Called by the device itself.
    SetPush(Option<u32>),
    LogOut,
    Replay,
    LockTenant(bool),
    /// Leaves the evidence.
    DeleteTenant,
}

/// The answer to an operation.
pub(super) enum Answer {
    Transaction(TransactionId),
    Done,
}

/// The error of any operation.
pub(super) enum SimulatedError {
    Refused(Box<dyn Refusal>),
    Failed(Fault),
}

impl<R: Refusal + 'static> From<Error<R>> for SimulatedError {
    fn from(error: Error<R>) -> Self {
        match error {
            Error::Refused(refusal) => Self::Refused(Box::new(refusal)),
            Error::Failed(fault) => Self::Failed(fault),
        }
    }
}

impl From<Fault> for SimulatedError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl Operation {
    /// Calls a node.
    pub(super) async fn ask(self, node: &SimulatedNode) -> Result<Answer, SimulatedError> {
        let (tenant, device) = (self.phone.tenant(), self.phone.id());
        let told = match self.what {
            What::Start(request) => node.start(*request, None).await?,
            What::Take { id, pin } => {
                let proof = pin.map(|pin| self.phone.prove_pin(&pin, id));
                node.take(tenant, device, id, proof.as_deref()).await?.transaction
            }
            What::Finish { id, value, identity, form, mode, .. } => {
                let (value, identity) = (&*value, Some(identity));
                let submission = match form {
                    SignatureFormat::Cms => Submission::Cms { message: value, identity },
                    SignatureFormat::Raw => Submission::Raw(RawSubmission {
                        signature: value,
                        identity,
                        algorithm: RAW,
                        digest: None,
                    }),
                    SignatureFormat::Code => Submission::Code { digits: value },
                };
                node.finish(mode, tenant, device, id, &submission).await?.transaction
            }
            What::Decline { id, reason } => {
                node.decline(tenant, device, id, reason, String::new()).await?
            }
            What::Fail { id } => node.fail(tenant, device, id, "no screen".into()).await?,
            What::Cancel { id } => {
                let client = &POPULATION.test_tenant(tenant.as_str()).client;
                let actor = Actor::Client(client.clone());
                node.cancel(&actor, tenant, &Handle::Id(id), |found| {
                    found.spec.user == *self.phone.user()
                })
                .await?
            }
            What::Discard { id } => {
                let client = &POPULATION.test_tenant(tenant.as_str()).client;
                node.discard(tenant, client, id, |_| true).await?
            }
            What::Pay => return settle_one(node).await,
            What::Offers => {
                node.offers(tenant, device, None).await?;
                return Ok(Answer::Done);
            }
            What::Sweep => {
                node.sweep().await?;
                return Ok(Answer::Done);
            }
            What::Forget(keep) => {
                node.purge(Keep { ended_transactions: Some(keep), events: None }).await?;
                return Ok(Answer::Done);
            }
            What::Pin { version, old, new } => {
                let proof = self.phone.prove_pin(&old, TransactionId(0));
                node.set_pin(tenant, device, &pin_digest(&new, version), Some(&proof)).await?;
                return Ok(Answer::Done);
            }
            What::Lock(_) | What::Status(_) | What::Enable(_) => {
                self.administer(node).await?;
                return Ok(Answer::Done);
            }
            What::Administer(act) => {
                self.act(act, node).await?;
                return Ok(Answer::Done);
            }
        };
        Ok(Answer::Transaction(told.spec.id))
    }

    /// Runs an operator's operation.
    async fn administer(&self, node: &SimulatedNode) -> Result<(), SimulatedError> {
        let (tenant, user, device) = (self.phone.tenant(), self.phone.user(), self.phone.id());
        let operator = &Actor::CommandLine("operator".into());
        match self.what {
            What::Lock(locked) => {
                node.set_user_lock(operator, tenant, user, locked).await?;
            }
            What::Status(status) => {
                node.set_device_status(operator, tenant, device, status).await?;
            }
            What::Enable(is_on) => {
                for identity in &self.phone.device.identities {
                    node.set_identity_status(operator, tenant, identity.id, is_on, "").await?;
                }
            }
            _ => unreachable!("not an operator's"),
        }
        Ok(())
    }

    async fn act(&self, act: Act, node: &SimulatedNode) -> Result<(), SimulatedError> {
        let (tenant, user) = (self.phone.tenant(), self.phone.user());
        let operator = &Actor::CommandLine("operator".into());
        let client = || &POPULATION.test_tenant(tenant.as_str()).client;
        let guest = |number| format!("guest-{number}").parse().expect("a name");
        match act {
            Act::CreateUser(number) => {
                Ok(node.create_user(operator, tenant, &guest(number), None).await?)
            }
            Act::DeleteUser(number) => {
                Ok(node.delete_user(operator, tenant, &guest(number)).await?)
            }
            Act::CreateActivation(id) => {
                let activation = activation(self.phone, id, node.now());
                Ok(node.create_activation(operator, activation).await?)
            }
            Act::CreateClient(number) => {
                let new = new_client(self.phone, number, node.now());
                Ok(node.create_client(operator, new, callback_key(number)).await?)
            }
            Act::CreateApiKey(number) => {
                let digest = [number as u8; 32];
                let (id, kind) = (ApiKeyId(number.into()), KeyKind::FrontEnd);
                let tenant = Some(tenant.clone());
                let (state, not_after) = (CredentialState::Active, None);
                let created_at = node.now();
                let tenant_locked = false;
                let key = ApiKey {
                    id,
                    tenant,
                    kind,
                    digest,
                    state,
                    tenant_locked,
                    not_after,
                    created_at,
                };
                Ok(node.create_api_key(operator, key).await?)
            }
            Act::RotateCallbackKey(begins) => {
                let new = begins.then(|| callback_key(1));
                Ok(node.rotate_callback_key(operator, tenant, client(), new).await?)
            }
            Act::TrustRoot(number) => {
                let root = number.to_be_bytes();
                Ok(node.trust_root(operator, tenant, &root, "00").await?)
            }
            Act::SetPush(number) => {
                let address = number.map(|number| {
                    let (provider, token) = (Provider::Fcm, format!("token-{number}"));
                    (PushAddress { provider, token, keys: None }, None)
                });
                Ok(node.set_push(tenant, self.phone.id(), address).await?)
            }
            Act::LogOut => Ok(node.log_out(operator, tenant, user).await?),
            Act::LockTenant(is_locked) => {
                Ok(node.set_tenant_lock(operator, tenant, is_locked).await?)
            }
            Act::DeleteTenant => Ok(node.delete_tenant(operator, tenant, false).await?),
            Act::Replay => Ok(node.replay(operator, tenant, None).await.map(|_| ())?),
        }
    }

    /// Checks what must be true after a successful answer.
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
            (What::Finish { value, .. }, Some(End::Finished { by, proof, .. })) => {
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

    /// Whether this refusal is also an event: a wrong PIN, which is committed before the answer; or
    /// the deletion of a tenant in small commits, which ends because the tenant is unlocked.
    pub(super) fn is_event(&self, refusal: &dyn Refusal) -> bool {
        if let What::Administer(Act::DeleteTenant) = self.what {
            return true;
        }
        let proves = matches!(self.what, What::Take { .. } | What::Pin { .. });
        proves && ["pin_wrong", "user_locked"].contains(&refusal.kind())
    }
}

/// Completes some deliveries, as a worker does. Each attempt succeeds.
async fn settle_one(node: &SimulatedNode) -> Result<Answer, SimulatedError> {
    let now = node.now();
    let lease_end = now + Duration::from_secs(2);
    let claim = Claim { now, lease_end, capacity: Capacity::new(4, 2), after: None };
    for Delivery { id, destination, lease, .. } in node.claim(claim).await?.deliveries {
        let (verdict, outcome) = (Verdict::Done, "200".into());
        let settlement = Settlement {
            tenant: destination.receiver.tenant,
            id,
            lease,
            verdict,
            outcome,
            at: now,
        };
        node.settle(settlement).await?;
    }
    Ok(Answer::Done)
}

/// The line of the trace: the caller and the operation. Signatures are left out, because they
/// differ from run to run.
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
            What::Lock(locked) => write!(f, "the user is locked: {locked}"),
            What::Status(status) => write!(f, "the device is {status:?}"),
            What::Enable(is_on) => write!(f, "identities enabled: {is_on}"),
            What::Pin { version, .. } => write!(f, "PIN {version}"),
            What::Administer(act) => write!(f, "{act:?}"),
            What::Offers => f.write_str("offers"),
            What::Sweep => f.write_str("sweep"),
            What::Forget(keep) => write!(f, "forget what is older than {keep:?}"),
            What::Pay => f.write_str("pay"),
        }
    }
}

fn activation(phone: &Phone, id: u128, now: Timestamp) -> Activation {
    Activation {
        id,
        tenant: phone.tenant().clone(),
        user: phone.user().clone(),
        code: Secret::new(id.to_be_bytes().to_vec()),
        not_after: now + Duration::from_secs(5),
        maker: Actor::Server,
        secret: false,
        chosen: false,
        labels: Vec::new(),
        state: ActivationState::Open,
    }
}

/// Stands for a callback key. The simulation signs no callback.
fn callback_key(number: u32) -> StoredKey {
    StoredKey::new(number.to_be_bytes().to_vec())
}

fn new_client(phone: &Phone, number: u32, now: Timestamp) -> Client {
    Client {
        tenant: phone.tenant().clone(),
        id: format!("client-{number}").parse().expect("a name"),
        name: format!("Client {number}"),
        roles: Roles::default(),
        state: CredentialState::Active,
        tenant_locked: false,
        secret_number: 1,
        secret: ClientSecret { digest: [0; 32], not_after: None },
        secret_before: None,
        password: PasswordGrant::default(),
        scopes: None,
        created_at: now,
    }
}
