//! A tenant with a client and many enrolled devices, written into the ledger before the server starts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use countersign_core::device::{About, Device, DeviceStatus, Identity, Purpose};
use countersign_core::enrolment::{
    Activation, ActivationState, Enrolment, IdentityKey, NewIdentity,
};
use countersign_core::id::{ClientId, DeviceId, IdentityId, SerialNumber, TenantName, UserName};
use countersign_core::port::{Chance as _, Clock as _, Registered, Registry as _};
use countersign_core::push::{Provider, Push, PushAddress, Registration};
use countersign_core::secret::Secret;
use countersign_core::tenant::{Client, KeyKind, Tenant};
use countersign_core::user::User;
use countersign_device::cms::SigningKey;
use countersign_store::Store;
use countersign_wire::body::Use;
use countersign_wire::id::DeviceName;
use countersign_wire::jwk::PrivateJwk;
use countersign_wire::key_proof::{KeyStatement, Subject};
use countersign_wire::phone::Phone;
use countersign_wire::secret::{CodeKey, PayloadKey};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rcgen::{CertificateParams, KeyPair, SigningKey as _};

use super::Bar;
use crate::authority::{self, found_tenant};
use crate::cli::key;
use crate::clock::World;
use crate::surface::caller::secret_digest;

/// Devices that are made at once, so that their commits share syncs.
const TOGETHER: usize = 256;
const CODE_LIFE: Duration = Duration::from_hours(1);

/// What the load needs to know of who is in the ledger.
pub(super) struct Crowd {
    pub(super) tenant: TenantName,
    pub(super) client_id: String,
    pub(super) client_name: String,
    pub(super) client_secret: String,
    /// What an application on phones presents.
    pub(super) front_end_key: String,
    pub(super) devices: Vec<Keys>,
}

/// What a device keeps; here, in memory.
pub(super) struct Keys {
    pub(super) user: UserName,
    pub(super) name: DeviceName,
    /// As the SDK keeps it, but for what it signs with.
    pub(super) phone: Phone,
    pub(super) identity: IdentityId,
    pub(super) certificate: Vec<u8>,
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) key: SigningKey,
    /// By which Apple knows it.
    pub(super) push_token: Option<String>,
}

impl Crowd {
    /// Makes the ledger in `directory`, with `count` users of one device each. So many of the devices, the
    /// first `woken`, are registered with Apple.
    pub(super) async fn make(
        directory: &Path,
        count: u32,
        woken: u32,
        bar: &Bar,
    ) -> anyhow::Result<Self> {
        let (store, world) = (Store::sqlite(directory, None)?, World::default());
        let tenant = found_tenant("bench".parse()?, world.draw(), world.now())?;
        store.create_tenant(tenant.clone()).await?;
        let client_secret = BASE64URL.encode(CodeKey::generate().as_bytes());
        let client = Client {
            tenant: tenant.name.clone(),
            id: "bench".parse::<ClientId>()?,
            name: "Bench".to_owned(),
            secret_digest: secret_digest(&client_secret),
            webhook_key: Secret::new(*CodeKey::generate().as_bytes()),
            webhook_key_before: None,
            scopes: None,
            created_at: world.now(),
        };
        store.create_client(client.clone()).await?;
        let whose = Some(&tenant.name);
        let front_end_key = key::make(&store, whose, KeyKind::FrontEnd, world.now()).await?.1;
        let enrolling = |number| {
            let (store, world, tenant) = (&store, &world, &tenant);
            async move {
                let enrolled = enrol(store, world, tenant, number, number < woken).await;
                bar.add(1);
                enrolled
            }
        };
        let devices = stream::iter(0..count).map(enrolling).buffer_unordered(TOGETHER);
        let devices = devices.try_collect().await?;
        store.close().await?;
        Ok(Self {
            tenant: tenant.name,
            client_id: client.id.to_string(),
            client_name: client.name,
            client_secret,
            front_end_key,
            devices,
        })
    }
}

async fn enrol(
    store: &Store,
    world: &World,
    tenant: &Tenant,
    number: u32,
    is_woken: bool,
) -> anyhow::Result<Keys> {
    let (name, now) = (format!("user-{number}").parse::<UserName>()?, world.now());
    store.create_user(&tenant.name, &name, None, now).await?;
    let user = store.user(&tenant.name, &name).await?.context("a new user is there")?;
    let activation = Activation {
        id: world.draw(),
        tenant: tenant.name.clone(),
        user: name,
        code: Secret::new(world.draw().to_be_bytes().to_vec()),
        not_after: now + CODE_LIFE,
        secret: true,
        labels: Vec::new(),
        state: ActivationState::Open,
    };
    store.create_activation(activation.clone()).await?;
    let (mut device, mut keys, key) = device(world, tenant, &user.value)?;
    if is_woken {
        let token = format!("{:032x}{:032x}", world.draw(), world.draw());
        keys.push_token = Some(token.clone());
        let address = PushAddress { provider: Provider::Apns, token, keys: None };
        device.push = Push::At(Registration { address, language: None, since: now });
    }
    let enrolment = Enrolment {
        activation,
        expected: 1,
        user_expected: user.version,
        request: [0; 32],
        answer: Vec::new(),
        device,
        keys: vec![key],
    };
    let enrolled = store.enrol(enrolment).await?;
    ensure!(enrolled == Registered::Written, "the ledger refused a device");
    Ok(keys)
}

/// A device as the server knows it, what it keeps, and its identity's key.
fn device(
    world: &World,
    tenant: &Tenant,
    user: &User,
) -> anyhow::Result<(Device, Keys, IdentityKey)> {
    let (now, id) = (world.now(), DeviceId::drawn(world.draw()));
    let serial_number = SerialNumber { base: user.serial_base, sequence: user.devices_made + 1 };
    let pair = KeyPair::generate().context("making a key")?;
    let auth_key = PrivateJwk::generate();
    let NewIdentity { identity, key } =
        identity(world, tenant, user, serial_number, &pair, &auth_key)?;
    let device_id = countersign_wire::id::DeviceId::new(id.number())?;
    let phone = Phone {
        server: String::new(),
        reached_at: None,
        server_ca: None,
        tenant: tenant.name.to_string(),
        user: user.name.to_string(),
        device_id,
        serial_number: serial_number.to_string(),
        auth_key,
        payload_key: PayloadKey::generate(),
        code_key: CodeKey::generate(),
        identities: Vec::new(),
        pin: None,
        pin_next: None,
    };
    let device = Device {
        tenant: tenant.name.clone(),
        id,
        user: user.name.clone(),
        serial_number,
        status: DeviceStatus::Active,
        auth_key: *phone.auth_key.public().point(),
        payload_key: Secret::new(*phone.payload_key.as_bytes()),
        code_key: Secret::new(*phone.code_key.as_bytes()),
        pin: None,
        identities: vec![identity.clone()],
        about: About {
            name: "A phone of the bench".to_owned(),
            platform: "bench".to_owned(),
            os_version: String::new(),
            app: "countersign".to_owned(),
            app_version: String::new(),
        },
        push: Push::None,
        enrolled_at: now,
    };
    let keys = Keys {
        user: user.name.clone(),
        name: phone.device_name()?,
        phone,
        identity: identity.id,
        certificate: identity.certificate,
        chain: identity.chain,
        key: SigningKey::from_der(&pair.serialize_der())?,
        push_token: None,
    };
    Ok((device, keys, key))
}

/// An identity for content, whose key proves itself as a device's does.
fn identity(
    world: &World,
    tenant: &Tenant,
    user: &User,
    serial_number: SerialNumber,
    pair: &KeyPair,
    auth_key: &PrivateJwk,
) -> anyhow::Result<NewIdentity> {
    let request = CertificateParams::default().serialize_request(pair);
    let request = request.context("asking for a certificate")?;
    let statement = KeyStatement {
        tenant: tenant.name.as_str(),
        subject: Subject::Enrolment(user.name.as_str()),
        usage: Use::Content,
        auth_key: auth_key.public().point(),
        csr: request.der(),
    };
    let proof = pair.sign(&statement.to_bytes()).context("proving a key")?;
    let request = authority::Request::parse(&statement, &proof)?;
    let issued = request.issue(tenant, &user.name, serial_number, world.draw(), world.now())?;
    let identity = Identity {
        id: IdentityId(world.draw()),
        purpose: Purpose::Content,
        certificate: issued.certificate,
        chain: vec![tenant.authority.certificate.clone()],
        labels: Vec::new(),
        proposed_labels: Vec::new(),
        enabled: true,
        status_reason: String::new(),
    };
    let key = IdentityKey {
        identity: identity.id,
        key_digest: request.key_digest(),
        certificate_serial: Some(issued.serial),
    };
    Ok(NewIdentity { identity, key })
}
