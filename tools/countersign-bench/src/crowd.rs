//! A tenant with a client and many enrolled devices, written into the ledger before the server
//! starts.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use countersign_core::device::{About, Device, DeviceStatus, Identity, Usage};
use countersign_core::enrolment::{Activation, ActivationState, Enrolment, IdentityKey};
use countersign_core::event::Actor;
use countersign_core::id::{DeviceId, IdentityId, SerialNumber, TenantName, UserId, UserName};
use countersign_core::port::{
    Change, Commit, Committed, Keys as _, Ledger as _, Signer as _, SigningRole,
};
use countersign_core::push::{Provider, Push, PushAddress, Registration};
use countersign_core::secret::Secret;
use countersign_core::tenant::Tenant;
use countersign_core::time::Timestamp;
use countersign_core::user::User;
use countersign_device::cms::SigningKey;
use countersign_store::{SealedSigner, Store};
use countersign_wire::id::DeviceName;
use countersign_wire::jwk::PrivateJwk;
use countersign_wire::phone::Phone;
use countersign_wire::secret::{CodeKey, PayloadKey};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use tokio::process::Command;

use crate::bar::Bar;
use crate::ledger::Ledger;

/// Devices that are created at once, so that their commits share syncs.
const TOGETHER: usize = 256;
/// The tenant of the bench.
const TENANT: &str = "bench";
const CODE_LIFE: Duration = Duration::from_hours(1);

/// The users and devices in the ledger, as far as the load needs them.
pub(super) struct Crowd {
    pub(super) tenant: TenantName,
    pub(super) client_id: String,
    pub(super) client_name: String,
    pub(super) client_secret: String,
    /// The key of an application on phones.
    pub(super) front_end_key: String,
    pub(super) devices: Vec<Keys>,
}

/// The stored data of a device, in memory.
pub(super) struct Keys {
    pub(super) user: UserName,
    pub(super) name: DeviceName,
    /// The SDK's data, except for the signing key.
    pub(super) phone: Phone,
    pub(super) identity: IdentityId,
    pub(super) certificate: Vec<u8>,
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) key: SigningKey,
    /// The device's token at Apple's push service.
    pub(super) push_token: Option<String>,
}

impl Crowd {
    /// Creates the ledger, with `count` users of one device each. The first `woken` of the devices
    /// are registered with Apple. `program` is the server's; its command line creates the tenant
    /// and its client.
    pub(super) async fn make(
        program: &Path,
        ledger: &Ledger,
        count: u32,
        woken: u32,
        bar: &Bar,
    ) -> anyhow::Result<Self> {
        let made = |words| administer(program, ledger, words);
        made(&["tenant", "create", TENANT]).await?;
        let client = made(&["client", "create", "Bench", "--tenant", TENANT]).await?;
        let client: MadeClient = serde_json::from_slice(&client)?;
        let key = made(&["key", "create", "--tenant", TENANT, "--kind", "front-end"]).await?;
        let key: MadeKey = serde_json::from_slice(&key)?;
        let store = ledger.open(now()?).await?;
        let tenant =
            store.read().tenant(&TENANT.parse()?).await?.context("the new tenant was not found")?;
        let signer = store.private_keys().prepare(&tenant.name, SigningRole::Authority).await?;
        let certify = Certify::new(&tenant, signer)?;
        let enrolling = |number| {
            let (store, certify, tenant) = (&store, &certify, &tenant);
            async move {
                let enrolled = enrol(store, certify, tenant, number, number < woken).await;
                bar.add(1);
                enrolled
            }
        };
        let devices = stream::iter(0..count).map(enrolling).buffer_unordered(TOGETHER);
        let devices = devices.try_collect().await?;
        store.close().await?;
        Ok(Self {
            tenant: tenant.name,
            client_id: client.client_id,
            client_name: client.name,
            client_secret: client.client_secret,
            front_end_key: key.api_key,
            devices,
        })
    }
}

/// The output of `client create --json`, as far as the load needs it.
#[derive(Deserialize)]
struct MadeClient {
    name: String,
    client_id: String,
    client_secret: String,
}

/// The output of `key create --json`, as far as the load needs it.
#[derive(Deserialize)]
struct MadeKey {
    api_key: String,
}

/// Runs a command of the server's command line on the ledger. Returns its output.
async fn administer(program: &Path, ledger: &Ledger, words: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(program);
    // An empty environment, so that the default configuration applies.
    command.env_clear().args(words).arg("--json").arg("--data").arg(&ledger.directory);
    if let Some(file) = &ledger.config {
        command.arg("--config").arg(file);
    }
    let output = command.output().await.context("the server's program cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`countersign {}` failed: {}", words.join(" "), said.trim());
    Ok(output.stdout)
}

/// The tenant's certificate authority.
struct Certify {
    issuer: Issuer<'static, AuthorityKey>,
    tenant: TenantName,
}

impl Certify {
    fn new(tenant: &Tenant, signer: SealedSigner) -> anyhow::Result<Self> {
        let certificate = CertificateDer::from(tenant.authority_certificate.as_slice());
        let issuer = Issuer::from_ca_cert_der(&certificate, AuthorityKey(signer))?;
        Ok(Self { issuer, tenant: tenant.name.clone() })
    }

    /// A certificate in the form that the server issues, DER.
    fn issue(
        &self,
        user: &UserName,
        serial_number: SerialNumber,
        key: &KeyPair,
        certificate_serial: u128,
    ) -> anyhow::Result<Vec<u8>> {
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, self.tenant.as_str());
        name.push(DnType::CommonName, user.as_str());
        name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), serial_number.to_string());
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        let serial = rcgen::SerialNumber::from_slice(&certificate_serial.to_be_bytes());
        params.serial_number = Some(serial);
        let certificate = params.signed_by(key, &self.issuer).context("signing a certificate")?;
        Ok(certificate.der().to_vec())
    }
}

/// The authority's key in the form that `rcgen` signs with.
struct AuthorityKey(SealedSigner);

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign_der(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// 128 random bits.
fn draw() -> u128 {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator does not fail");
    u128::from_be_bytes(bytes)
}

fn now() -> anyhow::Result<Timestamp> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp(u64::try_from(since_epoch.as_millis())?))
}

async fn enrol(
    store: &Store,
    certify: &Certify,
    tenant: &Tenant,
    number: u32,
    is_woken: bool,
) -> anyhow::Result<Keys> {
    let (name, now) = (format!("user-{number}").parse::<UserName>()?, now()?);
    let (of, user) = (tenant.name.clone(), name.clone());
    let (id, profile, at) = (UserId::drawn(u128::from(number)), None, now);
    let users_max = u64::MAX;
    write(store, Change::CreateUser { tenant: of, user, id, profile, at, users_max }).await?;
    let user =
        store.read().user(&tenant.name, &name).await?.context("the new user was not found")?;
    let activation = Activation {
        id: draw(),
        tenant: tenant.name.clone(),
        user: name,
        code: Secret::new(draw().to_be_bytes().to_vec()),
        not_after: now + CODE_LIFE,
        maker: Actor::Server,
        secret: true,
        chosen: false,
        labels: Vec::new(),
        state: ActivationState::Open,
    };
    let (new, expected) = (Box::new(activation.clone()), user.value.activations_made);
    let devices_max = u64::MAX;
    write(store, Change::CreateActivation { activation: new, expected, devices_max }).await?;
    let (mut device, mut keys, key) = device(certify, tenant, &user.value)?;
    if is_woken {
        let token = format!("{:032x}{:032x}", draw(), draw());
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
    write(store, Change::Enrol { enrolment: Box::new(enrolment), devices_max }).await?;
    Ok(keys)
}

/// Writes to the ledger of a server that does not run yet.
async fn write(store: &Store, change: Change) -> anyhow::Result<()> {
    let doing = change.doing();
    let committed = store.commit(Commit { change, events: Vec::new() }).await?;
    ensure!(committed == Committed::Written, "the ledger refused: {doing}");
    Ok(())
}

/// The end of a certificate.
fn valid_until(certificate: &[u8]) -> anyhow::Result<Timestamp> {
    Ok(Timestamp::of_seconds(countersign_proof::validity(certificate)?.1))
}

/// A device as the server stores it, the device's own data, and the key of its identity.
fn device(
    certify: &Certify,
    tenant: &Tenant,
    user: &User,
) -> anyhow::Result<(Device, Keys, IdentityKey)> {
    let (now, id) = (now()?, DeviceId::drawn(draw()));
    let serial_number = SerialNumber { base: user.serial_base, sequence: user.devices_made + 1 };
    let pair = KeyPair::generate().context("making a key")?;
    let certificate_serial = draw() >> 1;
    let certificate = certify.issue(&user.name, serial_number, &pair, certificate_serial)?;
    let phone = phone(tenant, user, id, serial_number)?;
    let identity = Identity {
        id: IdentityId(draw()),
        usage: Usage::Content,
        certificate: certificate.clone(),
        chain: vec![tenant.authority_certificate.clone()],
        valid_until: valid_until(&certificate)?,
        imported: false,
        renewal: None,
        labels: Vec::new(),
        proposed_labels: Vec::new(),
        enabled: true,
        status_reason: String::new(),
    };
    let mut key_digest = [0; 32];
    key_digest.copy_from_slice(digest(&SHA256, &pair.subject_public_key_info()).as_ref());
    let key = IdentityKey {
        identity: identity.id,
        key_digest,
        certificate_serial: Some(certificate_serial),
    };
    let device = Device {
        tenant: tenant.name.clone(),
        id,
        user: user.name.clone(),
        serial_number,
        status: DeviceStatus::Active,
        tenant_locked: false,
        auth_key: *phone.auth_key.public().point(),
        payload_key: Secret::copied(phone.payload_key.as_bytes()),
        code_key: Secret::copied(phone.code_key.as_bytes()),
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
        certificate,
        chain: identity.chain,
        key: SigningKey::from_der(&pair.serialize_der())?,
        push_token: None,
    };
    Ok((device, keys, key))
}

fn phone(
    tenant: &Tenant,
    user: &User,
    id: DeviceId,
    serial_number: SerialNumber,
) -> anyhow::Result<Phone> {
    Ok(Phone {
        server: String::new(),
        reached_at: None,
        server_ca: None,
        tenant: tenant.name.to_string(),
        user: user.name.to_string(),
        device_id: countersign_wire::id::DeviceId::new(id.number())?,
        serial_number: serial_number.to_string(),
        auth_key: PrivateJwk::generate(),
        payload_key: PayloadKey::generate(),
        code_key: CodeKey::generate(),
        identities: Vec::new(),
        pin: None,
        pin_next: None,
        known_devices: Vec::new(),
    })
}
