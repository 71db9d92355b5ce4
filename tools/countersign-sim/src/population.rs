//! Tenants, each with an authority and a client, and users with phones. A population is created
//! once, because keys take time, and is then entered into the stores of many tests.

use core::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use countersign_core::device::{About, Device, DeviceStatus, Identity, Usage};
use countersign_core::engine::{Notify, SignatureRequest};
use countersign_core::enrolment::{Activation, ActivationState, Enrolment, IdentityKey};
use countersign_core::event::Actor;
use countersign_core::id::{
    ClientId, DeviceId, IdentityId, SerialBase, SerialNumber, TenantName, TransactionId, UserName,
};
use countersign_core::port::{Committed, Ledger, StoredKey, TokenKeys};
use countersign_core::push::{Provider, Push, PushAddress, Registration};
use countersign_core::role::Role;
use countersign_core::secret::{Key32, Secret};
use countersign_core::selector::Selector;
use countersign_core::spec::{
    AcceptedFormats, Clocks, Content, Dialect, Document, MediaType, Operation, RawTerms, Recipients,
};
use countersign_core::tenant::{
    Client, ClientSecret, CredentialState, NewTenant, PasswordGrant, Tenant, TenantState,
};
use countersign_core::time::Timestamp;

use crate::changes::Changes as _;
use crate::{Authority, Phone, RAW, START, pin_digest};

/// The tenants, users and phones of a test.
#[derive(Debug)]
pub struct Population {
    /// The tenants.
    pub test_tenants: Vec<TestTenant>,
}

/// A tenant with its client, authority, users and phones.
#[derive(Debug)]
pub struct TestTenant {
    /// The tenant's name.
    pub tenant: TenantName,
    /// The tenant's client.
    pub client: ClientId,
    /// The tenant's certificate authority.
    pub authority: Authority,
    /// The tenant's users, in order.
    pub users: Vec<UserName>,
    /// The users' phones, grouped by user, with the PIN [`TestTenant::PIN`] and a push address.
    pub phones: Vec<Phone>,
}

impl Population {
    /// Creates tenants by name, each with users by name and their number of phones.
    #[must_use]
    pub fn new(plan: &[(&str, &[(&str, usize)])]) -> Self {
        Self {
            test_tenants: plan.iter().map(|(name, users)| TestTenant::new(name, users)).collect(),
        }
    }

    /// The tenant of that name. Panics if there is none.
    #[must_use]
    pub fn test_tenant(&self, tenant: &str) -> &TestTenant {
        let mut test_tenants = self.test_tenants.iter();
        test_tenants
            .find(|test_tenant| test_tenant.tenant.as_str() == tenant)
            .expect("the world has that tenant")
    }

    /// Enters the whole population into an empty registry.
    pub async fn settle(&self, registry: &impl Ledger) {
        for test_tenant in &self.test_tenants {
            test_tenant.settle(registry).await;
        }
    }
}

impl TestTenant {
    /// The PIN of every phone.
    pub const PIN: &str = "2580";

    fn new(name: &str, users: &[(&str, usize)]) -> Self {
        let authority = Authority::new(name);
        let mut phones = Vec::new();
        for (user, count) in users {
            phones.extend((0..*count).map(|nth| phone(&authority, name, user, nth)));
        }
        Self {
            tenant: name.parse().expect("a tenant's name"),
            client: "shop".parse().expect("a client's id"),
            authority,
            users: users.iter().map(|(user, _)| user.parse().expect("a user's name")).collect(),
            phones,
        }
    }

    /// A user's phone by number, from 0. Panics if there is none.
    #[must_use]
    pub fn phone(&self, user: &str, nth: usize) -> &Phone {
        let mut phones = self.phones.iter().filter(|phone| phone.user().as_str() == user);
        phones.nth(nth).expect("the user has that many")
    }

    /// A signature request to this user and any of the user's devices: thirty seconds to come
    /// online, sixty to sign, no PIN, no reference, no callback.
    #[must_use]
    pub fn request(&self, id: TransactionId, user: &UserName) -> SignatureRequest {
        let bytes = format!("Pay {} EUR to Bob", id.0 % 1_000).into_bytes();
        SignatureRequest {
            id,
            tenant: self.tenant.clone(),
            dialect: Dialect::Kobil,
            client: self.client.clone(),
            client_name: "The Shop".into(),
            user: user.clone(),
            reference: None,
            recipients: Recipients::Any,
            selectors: Vec::new(),
            content: Content { media_type: MediaType::Text, bytes },
            document: None,
            operation: Operation::Sign,
            formats: AcceptedFormats::Cms,
            pin_required: false,
            once: false,
            clocks: Clocks::Two {
                go_online: Duration::from_secs(30),
                sign: Duration::from_mins(1),
            },
            announced: Notify::Everybody,
            callback: None,
            notice: None,
            request: None,
        }
    }

    /// As [`Self::request`], for a raw signature over HTML, by an identity for content.
    #[must_use]
    pub fn html_order(&self, id: TransactionId, user: &UserName) -> SignatureRequest {
        let bytes = format!("<p>Pay <b>{} €</b> to Bob</p>", id.0 % 1_000).into_bytes();
        SignatureRequest {
            dialect: Dialect::TrustedX,
            content: Content { media_type: MediaType::Html, bytes },
            formats: AcceptedFormats::Raw(RawTerms {
                hash: Some(RAW.hash()),
                by_device: Vec::new(),
                sha1: false,
                rsa_bits_min: 2048,
            }),
            selectors: labelled(Usage::Content),
            ..self.request(id, user)
        }
    }

    /// As [`Self::html_order`], for a digest, by an identity for digests.
    #[must_use]
    pub fn digest_order(&self, id: TransactionId, user: &UserName) -> SignatureRequest {
        let bytes = RAW.hash().of(&id.bytes());
        let document = Document { hash: Some(RAW.hash()), ..Document::default() };
        SignatureRequest {
            content: Content { media_type: MediaType::Digest, bytes },
            document: Some(document),
            selectors: labelled(Usage::Digest),
            ..self.html_order(id, user)
        }
    }

    async fn settle(&self, registry: &impl Ledger) {
        let made = registry.create_tenant(self.row()).await;
        assert_eq!(made.expect("a store that works"), Committed::Written);
        let made = registry.create_client(self.client_row(), no_key()).await;
        assert_eq!(made.expect("a store that works"), Committed::Written);
        for user in &self.users {
            let made = registry.create_user(&self.tenant, user, None, START).await;
            assert_eq!(made.expect("a store that works"), Committed::Written);
        }
        for phone in &self.phones {
            enrol(registry, phone).await;
        }
    }

    fn row(&self) -> NewTenant {
        let tenant = Tenant {
            name: self.tenant.clone(),
            authority_certificate: self.authority.certificate().to_vec(),
            roots: vec![self.authority.certificate().to_vec()],
            token_keys: TokenKeys::one([4; 65]),
            state: TenantState::Active,
            created_at: START,
        };
        NewTenant { tenant, authority_key: no_key(), token_key: no_key() }
    }

    fn client_row(&self) -> Client {
        Client {
            tenant: self.tenant.clone(),
            id: self.client.clone(),
            name: "The Shop".into(),
            roles: Role::ALL.into_iter().collect(),
            state: CredentialState::Active,
            tenant_locked: false,
            secret_number: 1,
            secret: ClientSecret { digest: [0; 32], not_after: None },
            secret_before: None,
            password: PasswordGrant::default(),
            scopes: None,
            created_at: START,
        }
    }
}

/// Stands for a private key: in the simulation nothing is signed with the keys in the ledger.
fn no_key() -> StoredKey {
    StoredKey::new(b"no key".to_vec())
}

/// Enrols a phone, as a redeemed activation code does.
async fn enrol(registry: &impl Ledger, phone: &Phone) {
    let user = registry.read().user(phone.tenant(), phone.user()).await;
    let user = user.expect("a store that works").expect("the user was made");
    let activation = Activation {
        id: u128::from(phone.id().number()),
        tenant: phone.tenant().clone(),
        user: phone.user().clone(),
        code: Secret::new(b"CODE".to_vec()),
        not_after: START + Duration::from_secs(1),
        maker: Actor::Server,
        secret: false,
        chosen: true,
        labels: Vec::new(),
        state: ActivationState::Open,
    };
    let made = registry.create_activation(activation.clone(), user.value.activations_made).await;
    assert_eq!(made.expect("a store that works"), Committed::Written);
    let (base, sequence) = (user.value.serial_base, user.value.devices_made + 1);
    let serial_number = SerialNumber { base, sequence };
    let enrolment = Enrolment {
        activation,
        expected: 1,
        user_expected: user.version,
        request: [0; 32],
        answer: Vec::new(),
        device: Device { serial_number, ..phone.device.clone() },
        keys: phone.device.identities.iter().map(key).collect(),
    };
    let enrolled = registry.enrol(enrolment).await;
    assert_eq!(enrolled.expect("a store that works"), Committed::Written);
}

/// A store's record of an identity's key. Here every certificate has its own key, so the digest of
/// the certificate replaces the digest of the key.
fn key(identity: &Identity) -> IdentityKey {
    let certificate = digest(&SHA256, &identity.certificate);
    IdentityKey {
        identity: identity.id,
        key_digest: certificate.as_ref().try_into().expect("SHA-256 is 32 bytes"),
        certificate_serial: Some(identity.id.0),
    }
}

/// A selector of the identities that are labelled with their use, as all are.
fn labelled(usage: Usage) -> Vec<Selector> {
    vec![Selector { labels: vec![usage.as_str().into()], ..Selector::default() }]
}

/// The end of a certificate.
fn end_of(certificate: &[u8]) -> Timestamp {
    let (_, end) = countersign_proof::validity(certificate).expect("the authority writes X.509");
    Timestamp::of_seconds(end)
}

fn phone(authority: &Authority, tenant: &str, user: &str, nth: usize) -> Phone {
    let name = format!("{tenant}/{user}/{nth}");
    let number = |what: &str| {
        let digest = digest(&SHA256, format!("{name} {what}").as_bytes());
        u128::from_be_bytes(digest.as_ref()[..16].try_into().expect("SHA-256 is longer"))
    };
    let identity = |usage: Usage, certificate: Vec<u8>| Identity {
        id: IdentityId(number(usage.as_str())),
        usage,
        valid_until: end_of(&certificate),
        certificate,
        chain: Vec::new(),
        imported: false,
        renewal: None,
        labels: vec![usage.as_str().into()],
        proposed_labels: Vec::new(),
        enabled: true,
        status_reason: String::new(),
    };
    let (content_key, content) = authority.issue(&format!("{name} content"));
    let (digest_key, digest) = authority.issue(&format!("{name} digest"));
    let mut code_key = [0; 32];
    code_key[..16].copy_from_slice(&number("code key").to_be_bytes());
    let (id, token) = (DeviceId::drawn(number("id")), number("token").to_string());
    let device = Device {
        tenant: tenant.parse().expect("a tenant's name"),
        id,
        user: user.parse().expect("a user's name"),
        serial_number: SerialNumber { base: SerialBase(0), sequence: 0 },
        status: DeviceStatus::Active,
        tenant_locked: false,
        auth_key: [4; 65],
        payload_key: Key32::copied(&[0; 32]),
        code_key: Key32::copied(&code_key),
        pin: Some(pin_digest(TestTenant::PIN, 1)),
        identities: vec![identity(Usage::Content, content), identity(Usage::Digest, digest)],
        about: About { name, ..About::default() },
        push: Push::At(Registration {
            address: PushAddress { provider: Provider::Fcm, token, keys: None },
            language: None,
            since: START,
        }),
        enrolled_at: START,
    };
    Phone { device, content_key, digest_key }
}
