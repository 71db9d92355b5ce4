//! Small tenants, users and transactions for tests. Each function takes names and returns complete
//! values.

#[path = "../../../../tools/countersign-sim/src/changes.rs"]
mod changes;

pub(crate) use changes::Changes;

use std::sync::Arc;
use std::time::Duration;

use countersign_core::Fault;
use countersign_core::delivery::capacity::Capacity;
use countersign_core::delivery::{DeliveryKind, Destination, NewDelivery, Receiver};
use countersign_core::device::{About, Device, DeviceStatus, Identity, PinDigest, Renewed, Usage};
use countersign_core::enrolment::{Activation, ActivationState, Enrolment, IdentityKey};
use countersign_core::event::Actor;
use countersign_core::id::{
    DeliveryId, DeviceId, IdentityId, RequestKey, SerialBase, SerialNumber, TransactionId,
};
use countersign_core::port::{
    Claim, Committed, Keys, Ledger, Preconditions, Signer as _, SigningRole, StoredMax, TokenKeys,
    TransactionChange,
};
use countersign_core::push::{Provider, Push, PushAddress, Registration, SubscriptionKeys};
use countersign_core::role::Roles;
use countersign_core::secret::{Key32, Secret};
use countersign_core::selector::Selector;
use countersign_core::spec::{
    AcceptedFormats, Callback, Clocks, Content, Dialect, Document, MediaType, Notify, Operation,
    Recipients, Reference, TransactionSpec,
};
use countersign_core::tenant::{
    Client, ClientSecret, CredentialState, NewTenant, PasswordGrant, Tenant, TenantState,
};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Event, State, Take, TakeOrigin, Transaction};
use countersign_proof::raw::{Algorithm, Hash};
use countersign_proof::{Proof, Raw};

pub(crate) const CODE: &[u8] = b"ACTIVATION-CODE-IN-THE-CLEAR";
pub(crate) const PAYLOAD_KEY: [u8; 32] = *b"the payload key, 32 bytes, clear";
pub(crate) const CODE_KEY: [u8; 32] = *b"the code key, 32 bytes, in clear";
pub(crate) const PIN_DIGEST: [u8; 32] = *b"the PIN's digest, 32 bytes clear";

pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant {
        name: name.parse().unwrap(),
        authority_certificate: b"certificate".to_vec(),
        roots: vec![b"certificate".to_vec(), vec![0, 255]],
        token_keys: TokenKeys::one([5; 65]),
        state: TenantState::Active,
        created_at: Timestamp(1),
    }
}

/// A store whose private keys can be used.
pub(crate) trait HasKeys {
    fn private_keys(&self) -> impl Keys;
}

/// The tenant [`tenant`], with new private keys.
pub(crate) async fn new_tenant(store: &impl HasKeys, name: &str) -> NewTenant {
    let (keys, tenant) = (store.private_keys(), tenant(name));
    let (_, authority_key) = keys.generate(&tenant.name, SigningRole::Authority).await.unwrap();
    let (tokens, token_key) = keys.generate(&tenant.name, SigningRole::Tokens).await.unwrap();
    let tenant = Tenant { token_keys: TokenKeys::one(*tokens.public_key()), ..tenant };
    NewTenant { tenant, authority_key, token_key }
}

/// Commits a client with a new callback key. Answers the key as well.
pub(crate) async fn create_client(
    store: &(impl Ledger + HasKeys),
    client: Client,
) -> (Result<Committed, Fault>, Key32) {
    let keys = store.private_keys();
    let (secret, key) = keys.generate_callback_key(&client.tenant, &client.id).await.unwrap();
    (store.create_client(client, key).await, secret)
}

pub(crate) fn client(tenant: &str, id: &str, name: &str) -> Client {
    Client {
        tenant: tenant.parse().unwrap(),
        id: id.parse().unwrap(),
        name: name.into(),
        roles: Roles::default(),
        state: CredentialState::Active,
        tenant_locked: false,
        secret_number: 1,
        secret: ClientSecret { digest: [3; 32], not_after: None },
        secret_before: None,
        password: PasswordGrant::default(),
        scopes: None,
        created_at: Timestamp(2),
    }
}

pub(crate) fn activation(tenant: &str, user: &str, id: u128) -> Activation {
    Activation {
        id,
        tenant: tenant.parse().unwrap(),
        user: user.parse().unwrap(),
        code: Secret::new(CODE.to_vec()),
        not_after: Timestamp(1_000),
        maker: Actor::Client("bank".parse().unwrap()),
        secret: false,
        chosen: true,
        labels: vec!["vip".into()],
        state: ActivationState::Open,
    }
}

pub(crate) fn device_id(number: u64) -> DeviceId {
    DeviceId::try_from(number).unwrap()
}

pub(crate) fn device(tenant: &str, user: &str, number: u64, sequence: u32) -> Device {
    Device {
        tenant: tenant.parse().unwrap(),
        id: device_id(number),
        user: user.parse().unwrap(),
        serial_number: SerialNumber { base: SerialBase(1), sequence },
        status: DeviceStatus::Active,
        tenant_locked: false,
        auth_key: [4; 65],
        payload_key: Key32::copied(&PAYLOAD_KEY),
        code_key: Key32::copied(&CODE_KEY),
        pin: Some(PinDigest { digest: Key32::copied(&PIN_DIGEST), version: 1 }),
        identities: vec![Identity {
            id: IdentityId(u128::from(number)),
            usage: Usage::Digest,
            certificate: vec![6, 7],
            chain: vec![vec![8], vec![9]],
            valid_until: Timestamp(2_000_000),
            imported: true,
            renewal: Some(Box::new(Renewed {
                request: [3; 32],
                certificate: vec![10],
                chain: vec![vec![11]],
            })),
            labels: vec!["private".into(), "größer".into()],
            proposed_labels: vec!["ceo".into()],
            enabled: true,
            status_reason: "enrolled".into(),
        }],
        about: About { name: "Jane's".into(), app_version: "1.2".into(), ..About::default() },
        push: push(&format!("https://push.example/{user}/{number}")),
        enrolled_at: Timestamp(3),
    }
}

/// A Web Push address with all optional fields.
pub(crate) fn push(token: &str) -> Push {
    Push::At(Registration {
        address: PushAddress {
            provider: Provider::WebPush,
            token: token.into(),
            keys: Some(SubscriptionKeys { p256dh: [5; 65], auth: [6; 16] }),
        },
        language: Some("de".into()),
        since: Timestamp(4),
    })
}

pub(crate) fn enrolment(activation: Activation, device: Device, user_expected: u32) -> Enrolment {
    let (request, answer) = ([1; 32], b"welcome".to_vec());
    let keys = device.identities.iter().map(|identity| identity_key(identity.id.0)).collect();
    Enrolment { activation, expected: 1, user_expected, request, answer, device, keys }
}

/// The key of the identity with this id. Each id has its own key.
pub(crate) fn identity_key(id: u128) -> IdentityKey {
    let mut key_digest = [0; 32];
    key_digest[..16].copy_from_slice(&id.to_be_bytes());
    IdentityKey { identity: IdentityId(id), key_digest, certificate_serial: Some(id) }
}

/// Creates an activation code, independent of the user's other codes.
pub(crate) async fn create_activation(store: &impl Ledger, activation: Activation) {
    let user =
        store.read().user(&activation.tenant, &activation.user).await.unwrap().unwrap().value;
    let made = store.create_activation(activation, user.activations_made).await.unwrap();
    assert_eq!(made, Committed::Written);
}

/// Creates tenants `acme` and `beta`, each with users `jane` and `joe`, and device 1 of jane.
/// Afterwards jane's version is 2, all others are 1.
pub(crate) async fn populate(store: &(impl Ledger + HasKeys)) {
    for name in ["acme", "beta"] {
        let new = new_tenant(store, name).await;
        assert_eq!(store.create_tenant(new).await.unwrap(), Committed::Written);
        for user in ["jane", "joe"] {
            let (tenant, user) = (name.parse().unwrap(), user.parse().unwrap());
            let made = store.create_user(&tenant, &user, None, Timestamp(9)).await.unwrap();
            assert_eq!(made, Committed::Written);
        }
        let code = activation(name, "jane", 1);
        create_activation(store, code.clone()).await;
        let enrolled = store.enrol(enrolment(code, device(name, "jane", 1, 1), 1)).await.unwrap();
        assert_eq!(enrolled, Committed::Written);
    }
}

/// The terms of a transaction of jane at acme, with all optional fields.
pub(crate) fn spec(id: u128) -> TransactionSpec {
    TransactionSpec {
        id: TransactionId(id),
        tenant: "acme".parse().unwrap(),
        dialect: Dialect::Kobil,
        client: "bank".parse().unwrap(),
        client_name: "The Bank".into(),
        user: "jane".parse().unwrap(),
        request_key: RequestKey::drawn(id),
        reference: Some(Reference { name: format!("order {id}"), request: [10; 32] }),
        recipients: Recipients::Device(device_id(1)),
        selectors: vec![
            Selector {
                id: Some(IdentityId(1)),
                labels: vec!["private".into(), "größer".into()],
                device: Some(device_id(1)),
                certificate: Some(vec![6, 7]),
            },
            Selector::default(),
        ],
        content: Content { media_type: MediaType::Statement, bytes: vec![0, 1, 255] },
        document: Some(Document {
            hash: Some(Hash::Sha384),
            digest_url: Some("https://bank.example/digest".into()),
            document_url: Some("https://bank.example/document".into()),
            alias: Some("Lease \"7\"".into()),
            html: Some("PGI+".into()),
            root_certs: vec![vec![1, 2], vec![3]],
        }),
        operation: Operation::Sign,
        formats: AcceptedFormats::Cms,
        pin_required: true,
        once: true,
        started_at: Timestamp(100),
        announced: Notify::Nobody,
        sealed_for: Some(device_id(1)),
        online: true,
        present: vec![device_id(1)],
        clocks: Clocks::Two {
            go_online: Duration::from_millis(50),
            sign: Duration::from_millis(300),
        },
        callback: Some(Callback {
            url: "https://bank.example/done".into(),
            headers: vec![("X-Order".into(), "7".into())],
        }),
        notice: Some("Something to sign".into()),
        request: Some("{\"größe\": 1}".into()),
    }
}

pub(crate) fn waiting(spec: TransactionSpec) -> Transaction {
    let state = State::Waiting { reached: spec.online };
    Transaction { spec: Arc::new(spec), takes: Vec::new(), state, discarded: false }
}

pub(crate) fn taken(transaction: Transaction, deadline: u64) -> Transaction {
    let takes = vec![Take { device: device_id(1), at: Timestamp(120), origin: TakeOrigin::Device }];
    Transaction { takes, state: State::Taken { deadline: Timestamp(deadline) }, ..transaction }
}

pub(crate) fn proof(transaction: u128) -> Proof {
    Proof::recorded(transaction.to_be_bytes(), [11; 32], Some([12; 32]), vec![0x30, 0x03, 1, 2, 3])
}

/// A proof with a code.
pub(crate) fn code(transaction: u128) -> Proof {
    Proof::recorded(transaction.to_be_bytes(), [11; 32], None, b"01234567".to_vec())
}

/// A proof with a raw signature.
pub(crate) fn raw(transaction: u128, digest: Option<&[u8]>) -> Proof {
    let raw = Raw {
        algorithm: Algorithm::Ecdsa(Hash::Sha512),
        digest: digest.map(Into::into),
        certificate: [6, 7].into(),
        chain: vec![[8].into(), [9].into()],
    };
    let (id, signature) = (transaction.to_be_bytes(), vec![0x30, 0x01, 255]);
    Proof::recorded_raw(id, [11; 32], [12; 32], signature, raw)
}

/// A claim of everything that is due, up to `limit`.
pub(crate) fn claim(now: u64, lease_end: u64, limit: u16) -> Claim {
    let capacity = Capacity::new(limit, limit);
    Claim { now: Timestamp(now), lease_end: Timestamp(lease_end), capacity, after: None }
}

/// A commit without deliveries, with no precondition but `expected`.
pub(crate) fn commit(transaction: Transaction, expected: Option<u32>) -> TransactionChange {
    TransactionChange {
        transaction,
        expected,
        event: Event::Started,
        deliveries: Vec::new(),
        preconditions: Preconditions::default(),
        lock_state: None,
        open_max: 100,
        stored_max: StoredMax::NONE,
    }
}

/// The same commit with these deliveries as well, each with its own id.
pub(crate) fn with_deliveries(
    commit: TransactionChange,
    deliveries: &[(u128, DeliveryKind)],
) -> TransactionChange {
    let delivery = |(id, kind): &(u128, DeliveryKind)| {
        let callback = NewDelivery::callback(DeliveryId(*id), &commit.transaction).unwrap();
        match kind {
            DeliveryKind::Callback => callback,
            DeliveryKind::Push(_) => {
                let host = "push/apns/app".parse().unwrap();
                let receiver = Receiver { host, ..callback.destination.receiver };
                let destination = Destination { receiver, ..callback.destination };
                NewDelivery { kind: *kind, destination, ..callback }
            }
        }
    };
    TransactionChange { deliveries: deliveries.iter().map(delivery).collect(), ..commit }
}
