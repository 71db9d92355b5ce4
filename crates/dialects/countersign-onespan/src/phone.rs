//! What a phone does through the gateway, in the gateway's own words: texts in, texts out.
//!
//! REST says it for phones, and SOAP has twins of the same calls. What may happen is the engine's
//! to decide; here keys, serial numbers, sealed messages and signatures become its types.

use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::device::Device;
use countersign_core::engine::{Request, Submission};
use countersign_core::id::{
    ClientId, RequestKey, SerialNumber, TenantName, TransactionId, UserName,
};
use countersign_core::port::{Handle, Registry as _};
use countersign_core::spec::{AcceptedFormats, Digits, Operation};
use countersign_core::{Error, Refusal};
use countersign_proof::Proof;
use countersign_wire::body::Push;
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::secret::PayloadKey;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use zeroize::Zeroizing;

use super::body::{read_signature, unhexed};
use super::codes::Status;
use countersign_channel::{Devices, answer};
use countersign_node::Core;

/// What an operator decides about this dialect's phones.
#[derive(Clone, Copy, Debug)]
pub struct PhoneSettings {
    /// How many digits a code has.
    pub digits: Digits,
    /// Whether a cancel may name its request by the plain key.
    pub plain_cancel_keys: bool,
    /// Whether callers are kept from learning who is locked.
    pub generic_status_codes: bool,
    /// Fetches that one caller may try for one serial number in a minute.
    pub fetches_per_minute: NonZeroU32,
    /// Completions that one caller may try for one user in a minute.
    pub completions_per_minute: NonZeroU32,
}

/// On whose behalf a call is made, and about what.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The tenant whose requests are meant.
    pub tenant: &'a TenantName,
    /// The client that calls, which reaches nothing but what it started itself; none for a gateway.
    pub client: Option<&'a ClientId>,
    /// What the request's person is asked for.
    pub operation: Operation,
}

/// What phones do. Clones are handles to the same.
#[derive(Clone)]
pub struct Phones(Arc<LookupPermit>);

struct LookupPermit {
    core: Arc<Core>,
    devices: Devices,
    rules: PhoneSettings,
    fetches: DefaultKeyedRateLimiter<(String, SerialNumber)>,
    completions: DefaultKeyedRateLimiter<(String, TenantName, UserName)>,
}

impl Phones {
    /// Joins the parts.
    pub fn new(core: Arc<Core>, devices: Devices, rules: PhoneSettings) -> Self {
        let fetches = RateLimiter::keyed(Quota::per_minute(rules.fetches_per_minute));
        let completions = RateLimiter::keyed(Quota::per_minute(rules.completions_per_minute));
        Self(Arc::new(LookupPermit { core, devices, rules, fetches, completions }))
    }

    /// The forms that this dialect's transactions accept.
    pub fn formats(&self) -> AcceptedFormats {
        AcceptedFormats::CodeOrCms(self.0.rules.digits)
    }

    /// What is told of a status, by the policy.
    pub fn told(&self, status: Status) -> Status {
        if self.0.rules.generic_status_codes { status.generic() } else { status }
    }

    /// Whether `caller` may try another fetch for this serial number, in which a fetch's guesses
    /// are counted whatever they find.
    pub fn may_fetch(&self, caller: &str, serial: &str) -> bool {
        let Ok(serial) = serial.parse() else { return true };
        self.0.fetches.check_key(&(caller.to_owned(), serial)).is_ok()
    }

    /// Whether `caller` may try another completion for this user. Asked before the request is
    /// looked for, so that whoever tries request keys learns of a hit no more than of a miss.
    pub fn may_complete(&self, caller: &str, tenant: &TenantName, user: &UserName) -> bool {
        let key = (caller.to_owned(), tenant.clone(), user.clone());
        self.0.completions.check_key(&key).is_ok()
    }

    /// Forgets who has not fetched or completed lately.
    pub fn tidy(&self) {
        self.0.fetches.retain_recent();
        self.0.completions.retain_recent();
    }

    /// Takes a transaction for a device: its content as a sealed message, the hex of its ASCII
    /// bytes.
    ///
    /// # Errors
    /// As the engine's `fetch`.
    pub async fn fetch(&self, asker: Asker<'_>, serial: &str, key: &str) -> Result<String, Error> {
        let request = asker.request(parsed(key)?);
        let serial: SerialNumber = serial.parse().map_err(|_| Refusal::Unknown)?;
        let taken = self.0.core.fetch(&request, serial).await?;
        let name = answer::name(asker.tenant.as_str(), taken.device.id);
        Ok(hex::encode(answer::sealed(&taken, &name)))
    }

    /// Ends a transaction with a code, or with a CMS in base64. Answers whose serial number signed.
    ///
    /// # Errors
    /// As the engine's `complete`; [`Refusal::OtherForm`] for what is no signature at all.
    pub async fn complete(
        &self,
        asker: Asker<'_>,
        user: &UserName,
        key: &str,
        signature: &str,
    ) -> Result<SerialNumber, Error> {
        let request = asker.request(parsed(key)?);
        let (form, value) = read_signature(signature).ok_or(Refusal::OtherForm)?;
        let submission =
            Submission { form, value: &value, identity: None, algorithm: None, digest: None };
        let completed = self.0.core.complete(&request, user, &submission).await?;
        Ok(completed.device.serial_number)
    }

    /// Ends a transaction with the person's no. `message` is the request key, as an information
    /// message from the device that fetched it, in hex.
    ///
    /// # Errors
    /// As the engine's `withdraw`; [`Refusal::OtherForm`] for what that device did not seal.
    pub async fn cancel(&self, asker: Asker<'_>, serial: &str, message: &str) -> Result<(), Error> {
        let (core, rules) = (&self.0.core, &self.0.rules);
        let device = self.device(asker.tenant, serial).await?.ok_or(Refusal::OtherForm)?;
        let request = if let (true, Ok(key)) = (rules.plain_cancel_keys, message.parse()) {
            asker.request(key)
        } else {
            let sealed = unhexed(message).ok_or(Refusal::OtherForm)?;
            let (_, purpose) = jwe::peek(&sealed).map_err(|_| Refusal::OtherForm)?;
            let Purpose::Information(id) = purpose else { return Err(Refusal::OtherForm.into()) };
            let plain = open(&device, purpose, &sealed)?;
            let key = str::from_utf8(&plain).ok().and_then(|key| key.parse().ok());
            let key: RequestKey = key.ok_or(Refusal::OtherForm)?;
            // Keys are drawn again; the message is good for its own transaction only.
            let found = core.transaction(asker.tenant, &Handle::Key(key)).await?;
            if found.spec.id != TransactionId(u128::from_be_bytes(id.0)) {
                return Err(Refusal::Unknown.into());
            }
            asker.request(key)
        };
        core.withdraw(&request, device.id).await.map(drop)
    }

    /// Changes where a device is woken, to what it has sealed itself.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] where the user has no such device; [`Refusal::OtherForm`] for what that
    /// device did not seal, and for what is no address of its service.
    pub async fn move_to(
        &self,
        tenant: &TenantName,
        user: &UserName,
        serial: &str,
        message: &str,
    ) -> Result<(), Error> {
        let device = self.device(tenant, serial).await?;
        let device = device.filter(|device| device.user == *user).ok_or(Refusal::Unknown)?;
        let plain =
            open(&device, Purpose::Notification, &unhexed(message).ok_or(Refusal::OtherForm)?)?;
        let push: Push = serde_json::from_slice(&plain).map_err(|_| Refusal::OtherForm)?;
        let address =
            self.0.devices.address(tenant, &push).await.map_err(|_| Refusal::OtherForm)?;
        self.0.core.set_push(tenant, device.id, Some(address)).await
    }

    async fn device(&self, tenant: &TenantName, serial: &str) -> Result<Option<Device>, Error> {
        let Ok(serial) = serial.parse() else { return Ok(None) };
        let found = self.0.core.registry().device_by_serial(tenant, serial).await?;
        Ok(found.map(|found| found.value))
    }
}

/// A verified signature as this dialect writes it: a code's digits, or a CMS in base64.
pub fn written(proof: &Proof) -> String {
    match proof.signer() {
        None => String::from_utf8_lossy(proof.evidence()).into_owned(),
        Some(_) => BASE64.encode(proof.evidence()),
    }
}

impl Asker<'_> {
    fn request(&self, key: RequestKey) -> Request {
        Request {
            tenant: self.tenant.clone(),
            key,
            operation: self.operation,
            client: self.client.cloned(),
        }
    }
}

fn parsed(key: &str) -> Result<RequestKey, Refusal> {
    key.parse().map_err(|_| Refusal::Unknown)
}

/// Opens what this device sealed, for this purpose.
fn open(device: &Device, purpose: Purpose, sealed: &str) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let key = PayloadKey::from(device.payload_key.expose());
    let name = answer::name(device.tenant.as_str(), device.id);
    jwe::open(&key, &name, purpose, sealed).map_err(|_| Refusal::OtherForm)
}
