//! Events: what happened, when, to which subject and by which actor. History, event streams and the
//! audit log read them.
//!
//! An event is written in the commit of its change, so that neither exists without the other. It
//! contains no secret and no content.

use core::fmt;
use core::str::FromStr;

use crate::delivery::Settlement;
use crate::id::{
    ApiKeyId, ClientId, DeliveryId, DeviceId, IdentityId, TenantName, TransactionId, UserName,
};
use crate::outcome::Outcome;
use crate::time::Timestamp;
use crate::transaction::{Event, Transaction};

/// The author of a change. Its text is the kind, a colon, and the name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Actor {
    /// An application, by the client as which it authenticated.
    Client(ClientId),
    /// A device, by its own key or by an activation code.
    Device(DeviceId),
    /// A person at the command line: the account's name, as the system reports it.
    CommandLine(String),
    /// A person in the console: the name that they logged in with.
    Console(String),
    /// The server itself, because a time was reached.
    Server,
    /// A caller that did not authenticate.
    Unknown,
}

/// The subject of an event. Its text is the kind, a colon, and the name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// The tenant itself.
    Tenant,
    /// A client.
    Client(ClientId),
    /// An API key.
    ApiKey(ApiKeyId),
    /// A user.
    User(UserName),
    /// A device.
    Device(DeviceId),
    /// A signing identity.
    Identity(IdentityId),
    /// An activation, by its id, which is not the code.
    Activation(u128),
    /// A transaction.
    Transaction(TransactionId),
    /// A delivery of the outbox.
    Delivery(DeliveryId),
    /// All dead letters of the tenant.
    DeadLetters,
    /// All API keys of the server.
    ApiKeys,
    /// The ledger as a whole.
    Ledger,
}

macro_rules! kinds {
    ($($kind:ident = $name:literal: $doc:literal),* $(,)?) => {
        /// The kind of an event.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum EventKind {
            $(#[doc = $doc] $kind,)*
        }

        impl EventKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The kind's name in the ledger and in every API.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    TransactionStarted = "transaction.started": "A transaction was started.",
    TransactionReached = "transaction.reached": "A recipient of a transaction came online.",
    TransactionTaken = "transaction.taken": "A device took a transaction: its content was released to it.",
    TransactionEnded = "transaction.ended": "A transaction ended. Detail `outcome` says how.",
    TransactionDiscarded = "transaction.discarded": "A client deleted a transaction.",
    PinVerified = "pin.verified": "A device proved its PIN.",
    PinRejected = "pin.rejected": "A device gave a wrong PIN.",
    PinChanged = "pin.changed": "A device set its PIN. Detail `version` is the new PIN's.",
    PinForgotten = "device.pin_reset": "An operator had the PIN of a device forgotten, so that the person sets a new one.",
    CodeRejected = "code.rejected": "A device gave a wrong code as its signature.",
    TenantCreated = "tenant.created": "A tenant was created.",
    TenantLocked = "tenant.locked": "A tenant was locked: no call of its clients, keys and devices is accepted.",
    TenantUnlocked = "tenant.unlocked": "A tenant was unlocked.",
    TenantDeletionBegun = "tenant.deletion_begun": "The deletion of a tenant began. Detail `evidence` is `kept` or `removed`.",
    TenantDeleted = "tenant.deleted": "A tenant was deleted: an event of the whole server. Detail `name` is the tenant's, `evidence` is `kept` or `removed`.",
    AuthorityRenewed = "authority.renewed": "A tenant has a new certificate authority beside the old one. Detail `sha256` is its certificate's.",
    RootTrusted = "root.trusted": "A tenant trusts one more root. Detail `sha256` is the certificate's.",
    RootDistrusted = "root.distrusted": "A root was taken back, or an old authority of the tenant. Detail `sha256` is the certificate's.",
    DomainAdded = "domain.added": "A tenant has a further domain. Detail `domain` is its name.",
    DomainRemoved = "domain.removed": "A domain was removed from a tenant. Detail `domain` is its name.",
    TokenKeyReplaced = "token_key.replaced": "A tenant's access tokens are signed with a new key. Detail `before` says what became of the old one.",
    ClientCreated = "client.created": "A client was created. Detail `roles` names its roles.",
    ClientSecretRotated = "client.secret_rotated": "A client has a new secret. Detail `before` says what became of the old one.",
    ClientRolesSet = "client.roles_set": "The roles of a client were set. Detail `roles` names them.",
    ClientPasswordSet = "client.password_set": "A client may obtain tokens with the name and the new password of an account. Detail `account` is the name.",
    ClientPasswordRemoved = "client.password_removed": "A client may no longer obtain tokens with a password.",
    ClientLocked = "client.locked": "A client was locked: none of its calls is accepted.",
    ClientUnlocked = "client.unlocked": "A client was unlocked.",
    ClientDeleted = "client.deleted": "A client was deleted, and its open transactions were cancelled.",
    CallbackKeyRotated = "client.key_rotated": "A client's callbacks are signed with a new key too.",
    CallbackKeyRetired = "client.key_retired": "A client's callbacks are signed with the newest key only.",
    ApiKeyCreated = "api_key.created": "An API key was created.",
    ApiKeyLocked = "api_key.locked": "An API key was locked.",
    ApiKeyUnlocked = "api_key.unlocked": "An API key was unlocked.",
    ApiKeyDeleted = "api_key.deleted": "An API key was deleted.",
    UserCreated = "user.created": "A user was created.",
    UserLocked = "user.locked": "A user was locked. Detail `by` says why.",
    UserUnlocked = "user.unlocked": "A user was unlocked.",
    UserLoggedOut = "user.logged_out": "The channels of a user's devices were closed.",
    UserDeleted = "user.deleted": "A user was deleted.",
    ActivationCreated = "activation.created": "An activation code was created. Detail `user` is its user.",
    ActivationDeleted = "activation.deleted": "An activation code was deleted.",
    DeviceEnrolled = "device.enrolled": "A device was enrolled. Detail `activation` is its code's id.",
    DeviceLocked = "device.locked": "A device was locked.",
    DeviceUnlocked = "device.unlocked": "A device was unlocked.",
    DeviceRetired = "device.retired": "A device was retired.",
    PushAddressChanged = "device.push_changed": "A device changed the address at which it is pushed.",
    PushAddressRetired = "device.push_retired": "A push service refused a device's address for good. Detail `outcome` says how.",
    IdentityAdded = "identity.added": "A device added a signing identity.",
    IdentityRenewed = "identity.renewed": "The certificate of a signing identity was renewed. Detail `key` is `same` or `new`.",
    IdentityEnabled = "identity.enabled": "A signing identity was enabled.",
    IdentityDisabled = "identity.disabled": "A signing identity was disabled.",
    IdentityLabelled = "identity.labelled": "The labels of a signing identity were set.",
    IdentityDeleted = "identity.deleted": "A signing identity was deleted.",
    ClientRefused = "client.refused": "A caller gave a wrong secret for a client, known or not, or a wrong password for its account. Detail `address` is the caller's; `credential` is `secret` or `password`.",
    ApiKeyRefused = "api_key.refused": "A caller gave a wrong API key, or one that is locked or has ended. Detail `address` is the caller's.",
    EnrolmentRefused = "enrolment.refused": "An enrolment was refused, because its code was wrong or expired. Detail `address` is the caller's.",
    DeviceRefused = "device.refused": "A device's token was refused. Detail `reason` says why.",
    DeliveriesReplayed = "deliveries.replayed": "Dead letters became due again.",
    MasterKeyRotated = "master_key.rotated": "All secrets are sealed under the newest master key. Detail `key` is its id.",
    MasterKeyRemoved = "master_key.removed": "A master key that nothing needs was removed. Detail `key` is its id.",
    LedgerRestored = "ledger.restored": "The ledger was restored from a backup. Detail `made_at` is the backup's time.",
    LedgerMoved = "ledger.moved": "The ledger was moved from a file into PostgreSQL, and both were the same. Detail `rows` is the number of rows.",
}

impl EventKind {
    /// Whether it belongs to the usual course of a transaction, so that there are very many.
    #[must_use]
    pub const fn is_frequent(self) -> bool {
        matches!(
            self,
            Self::TransactionStarted
                | Self::TransactionReached
                | Self::TransactionTaken
                | Self::TransactionEnded
                | Self::TransactionDiscarded
                | Self::PinVerified
        )
    }
}

/// The frequent event of a commit, which has at most one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FrequentEvent {
    /// The kind of the event.
    pub kind: Option<EventKind>,
    /// The outcome of the transaction that it ended.
    pub outcome: Option<Outcome>,
}

impl FrequentEvent {
    /// The frequent event among these.
    #[must_use]
    pub fn of(events: &[NewEvent]) -> Self {
        let Some(event) = events.iter().find(|event| event.kind.is_frequent()) else {
            return Self::default();
        };
        let told = event.details.iter().find(|(name, _)| *name == "outcome");
        let outcome = told.and_then(|(_, told)| {
            Outcome::ALL.iter().copied().find(|outcome| outcome.as_str() == told)
        });
        Self { kind: Some(event.kind), outcome }
    }
}

/// An event that a commit writes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewEvent {
    /// The event's tenant; `None` for an event of the whole server.
    pub tenant: Option<TenantName>,
    /// The time of the event.
    pub at: Timestamp,
    /// The kind of the event.
    pub kind: EventKind,
    /// The author of the change.
    pub actor: Actor,
    /// The subject of the change.
    pub subject: Subject,
    /// Further fields, by name. They contain no secret and no content.
    pub details: Vec<(&'static str, String)>,
}

/// An event in the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordedEvent {
    /// The event's number within its tenant: 1, 2, 3, … in the order of the commits.
    pub number: u64,
    /// The time of the event.
    pub at: Timestamp,
    /// The kind of the event.
    pub kind: EventKind,
    /// The author of the change.
    pub actor: Actor,
    /// The subject of the change.
    pub subject: Subject,
    /// Further fields, by name.
    pub details: Vec<(String, String)>,
}

impl NewEvent {
    /// The ledger's kind for a transaction's `event`.
    #[must_use]
    pub fn of_transaction(
        event: Event,
        transaction: &Transaction,
        actor: Actor,
        at: Timestamp,
    ) -> Self {
        let spec = &transaction.spec;
        let (kind, details) = match event {
            Event::Started => {
                (EventKind::TransactionStarted, vec![("user", spec.user.to_string())])
            }
            Event::Reached => (EventKind::TransactionReached, Vec::new()),
            Event::Taken => (EventKind::TransactionTaken, Vec::new()),
            Event::PinProved => (EventKind::PinVerified, Vec::new()),
            Event::PinMistaken => (EventKind::PinRejected, Vec::new()),
            Event::CodeMistaken => (EventKind::CodeRejected, Vec::new()),
            Event::Discarded => (EventKind::TransactionDiscarded, Vec::new()),
            Event::Ended(outcome) => {
                (EventKind::TransactionEnded, vec![("outcome", outcome.as_str().to_owned())])
            }
        };
        let (tenant, subject) = (Some(spec.tenant.clone()), Subject::Transaction(spec.id));
        Self { tenant, at, kind, actor, subject, details }
    }

    /// The event of a push address that its service refused for good, with this settlement.
    #[must_use]
    pub fn of_retired_push(settlement: &Settlement, device: DeviceId) -> Self {
        Self {
            tenant: Some(settlement.tenant.clone()),
            at: settlement.at,
            kind: EventKind::PushAddressRetired,
            actor: Actor::Server,
            subject: Subject::Device(device),
            details: vec![("outcome", settlement.outcome.clone())],
        }
    }
}

/// The error for a text that names no actor, no subject or no kind of event.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the name of {0}")]
pub struct BadEventName(&'static str);

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(id) => write!(f, "client:{id}"),
            Self::Device(id) => write!(f, "device:{id}"),
            Self::CommandLine(name) => write!(f, "command-line:{name}"),
            Self::Console(name) => write!(f, "console:{name}"),
            Self::Server => f.write_str("server"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl FromStr for Actor {
    type Err = BadEventName;

    fn from_str(text: &str) -> Result<Self, BadEventName> {
        const WRONG: BadEventName = BadEventName("an actor");
        Ok(match text.split_once(':') {
            None if text == "server" => Self::Server,
            None if text == "unknown" => Self::Unknown,
            Some(("client", id)) => Self::Client(id.parse().map_err(|_| WRONG)?),
            Some(("device", id)) => Self::Device(id.parse().map_err(|_| WRONG)?),
            Some(("command-line", name)) => Self::CommandLine(name.to_owned()),
            Some(("console", name)) => Self::Console(name.to_owned()),
            _ => return Err(WRONG),
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("tenant"),
            Self::Client(id) => write!(f, "client:{id}"),
            Self::ApiKey(id) => write!(f, "api-key:{id}"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Device(id) => write!(f, "device:{id}"),
            Self::Identity(id) => write!(f, "identity:{id}"),
            Self::Activation(id) => write!(f, "activation:{id:032x}"),
            Self::Transaction(id) => write!(f, "transaction:{id}"),
            Self::Delivery(id) => write!(f, "delivery:{id}"),
            Self::DeadLetters => f.write_str("dead-letters"),
            Self::ApiKeys => f.write_str("api-keys"),
            Self::Ledger => f.write_str("ledger"),
        }
    }
}

impl FromStr for Subject {
    type Err = BadEventName;

    fn from_str(text: &str) -> Result<Self, BadEventName> {
        const WRONG: BadEventName = BadEventName("what an event is about");
        fn read<T: FromStr>(id: &str) -> Result<T, BadEventName> {
            id.parse().map_err(|_| WRONG)
        }
        Ok(match text.split_once(':') {
            None if text == "tenant" => Self::Tenant,
            None if text == "dead-letters" => Self::DeadLetters,
            None if text == "api-keys" => Self::ApiKeys,
            None if text == "ledger" => Self::Ledger,
            Some(("client", id)) => Self::Client(read(id)?),
            Some(("api-key", id)) => Self::ApiKey(read(id)?),
            Some(("user", name)) => Self::User(read(name)?),
            Some(("device", id)) => Self::Device(read(id)?),
            Some(("identity", id)) => Self::Identity(read(id)?),
            Some(("activation", id)) => {
                Self::Activation(u128::from_str_radix(id, 16).map_err(|_| WRONG)?)
            }
            Some(("transaction", id)) => Self::Transaction(read(id)?),
            Some(("delivery", id)) => Self::Delivery(read(id)?),
            _ => return Err(WRONG),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_actor_and_every_subject_parses_the_text_that_it_writes() {
        let client: ClientId = "shop".parse().unwrap();
        let device: DeviceId = "7".parse().unwrap();
        let actors = [
            Actor::Client(client.clone()),
            Actor::Device(device),
            Actor::CommandLine("root:0".into()),
            Actor::Console("jane@acme.example".into()),
            Actor::Server,
            Actor::Unknown,
        ];
        for actor in actors {
            assert_eq!(actor.to_string().parse(), Ok(actor));
        }
        let subjects = [
            Subject::Tenant,
            Subject::Client(client),
            Subject::ApiKey(ApiKeyId(1)),
            Subject::User("jane:doe".parse().unwrap()),
            Subject::Device(device),
            Subject::Identity(IdentityId(2)),
            Subject::Activation(3),
            Subject::Transaction(TransactionId(4)),
            Subject::Delivery(DeliveryId(5)),
            Subject::DeadLetters,
            Subject::ApiKeys,
            Subject::Ledger,
        ];
        for subject in subjects {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        for bad in ["", "server:", "client", "client:", "device:x", "nobody:1"] {
            assert!(bad.parse::<Actor>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_two_kinds_of_event_have_one_name() {
        let mut names: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), EventKind::ALL.len());
    }
}
