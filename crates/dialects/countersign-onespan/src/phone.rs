//! A phone's calls through the gateway, with texts as arguments and results.
//!
//! REST has these calls for phones, and SOAP has equivalents. The engine decides; this module
//! converts keys, serial numbers, sealed messages and signatures to its types.

use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::device::Device;
use countersign_core::engine::{Request, Submission, Taken};
use countersign_core::id::{
    ClientId, RequestKey, SerialNumber, TenantName, TransactionId, UserName,
};
use countersign_core::port::{DomainFilter, Handle};
use countersign_core::refusal::{DeviceError, DeviceRefusal, Fault};
use countersign_core::spec::{AcceptedFormats, Digits, Operation};
use countersign_core::transaction::Transaction;
use countersign_proof::Proof;
use countersign_wire::body::Push;
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::secret::PayloadKey;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use zeroize::Zeroizing;

use super::body::{SignatureText, read_signature, unhexed};
use super::codes::Status;
use countersign_channel::{Devices, answer};
use countersign_node::Core;

/// The operator's settings for this dialect's phones.
#[derive(Clone, Copy, Debug)]
pub struct PhoneSettings {
    /// The number of digits of a code.
    pub digits: Digits,
    /// Whether a cancel may name its request by the plain key.
    pub plain_cancel_keys: bool,
    /// Whether status codes hide from callers which users are locked.
    pub generic_status_codes: bool,
    /// Fetches that one caller may try for one serial number in a minute.
    pub fetches_per_minute: NonZeroU32,
    /// Completions that one caller may try for one user in a minute.
    pub completions_per_minute: NonZeroU32,
}

/// The caller's scope, and the operation that a call is about.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The tenant of the transactions.
    pub tenant: &'a TenantName,
    /// The calling client, which can only access its own transactions; `None` for a gateway.
    pub client: Option<&'a ClientId>,
    /// The operation that the user is asked for.
    pub operation: Operation,
}

/// The phones' calls. Clones share the same state.
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

    /// The signature formats that this dialect's transactions accept.
    pub fn formats(&self) -> AcceptedFormats {
        AcceptedFormats::CodeOrCms(self.0.rules.digits)
    }

    /// The status that callers see, by the policy.
    pub fn told(&self, status: Status) -> Status {
        if self.0.rules.generic_status_codes { status.generic() } else { status }
    }

    /// Whether `caller` may try another fetch for this serial number. Every fetch is counted,
    /// whatever its result.
    pub fn may_fetch(&self, caller: &str, serial: &str) -> bool {
        let Ok(serial) = serial.parse() else { return true };
        self.0.fetches.check_key(&(caller.to_owned(), serial)).is_ok()
    }

    /// Whether `caller` may try another completion for this user. Checked before the transaction is
    /// looked up, so that an attacker who guesses request keys cannot tell a hit from a miss.
    pub fn may_complete(&self, caller: &str, tenant: &TenantName, user: &UserName) -> bool {
        let key = (caller.to_owned(), tenant.clone(), user.clone());
        self.0.completions.check_key(&key).is_ok()
    }

    /// The tenant with this name or domain. A name needs no look-up, so the tenant may be unknown.
    ///
    /// # Errors
    /// If the ledger fails.
    pub async fn tenant_named(&self, name: &str) -> Result<Option<TenantName>, Fault> {
        let Ok(domain) = name.parse() else { return Ok(None) };
        let found = self.0.core.read().domains(DomainFilter::Domain(&domain)).await?;
        let found = found.into_iter().next().map(|found| found.tenant);
        Ok(found.or_else(|| name.parse().ok()))
    }

    /// Forgets callers without recent fetches or completions.
    pub fn tidy(&self) {
        self.0.fetches.retain_recent();
        self.0.completions.retain_recent();
    }

    /// Takes a transaction for a device; returns its content as a sealed message, the hex of its
    /// ASCII bytes.
    ///
    /// # Errors
    /// As the engine's `fetch`.
    pub async fn fetch(
        &self,
        asker: Asker<'_>,
        serial: &str,
        key: &str,
    ) -> Result<String, DeviceError> {
        let request = asker.request(parsed(key)?);
        let serial: SerialNumber = serial.parse().map_err(|_| DeviceRefusal::Unknown)?;
        let taken = self.0.core.fetch(&request, serial).await?;
        let name = answer::name(asker.tenant.as_str(), taken.device.id);
        Ok(hex::encode(answer::sealed(&taken, &name)))
    }

    /// The content of a transaction as a sealed message, in hex, for the device that its start
    /// chose; with the device's serial number. `None` if the device is gone.
    ///
    /// # Errors
    /// If the ledger fails.
    pub async fn seal(
        &self,
        started: &Arc<Transaction>,
    ) -> Result<Option<(SerialNumber, String)>, Fault> {
        let (core, tenant) = (&self.0.core, &started.spec.tenant);
        let Some(id) = started.spec.sealed_for else { return Ok(None) };
        let Some(device) = core.read().device(tenant, id).await? else { return Ok(None) };
        let (device, at) = (device.value, core.now());
        let taken = Taken { transaction: Arc::clone(started), device, at };
        let name = answer::name(tenant.as_str(), id);
        let message = hex::encode(answer::sealed(&taken, &name));
        Ok(Some((taken.device.serial_number, message)))
    }

    /// Ends a transaction with a code, or with a CMS in base64. Returns the signing device's serial
    /// number.
    ///
    /// # Errors
    /// As the engine's `complete`; [`DeviceRefusal::OtherForm`] for a text that is no signature.
    pub async fn complete(
        &self,
        asker: Asker<'_>,
        user: &UserName,
        serial: Option<&str>,
        key: &str,
        signature: &str,
    ) -> Result<SerialNumber, DeviceError> {
        let request = asker.request(parsed(key)?);
        let serial = serial.map(|serial| serial.parse().map_err(|_| DeviceRefusal::Unknown));
        let serial = serial.transpose()?;
        let signature = read_signature(signature).ok_or(DeviceRefusal::OtherForm)?;
        let submission = match &signature {
            SignatureText::Code(digits) => Submission::Code { digits: digits.as_bytes() },
            SignatureText::Cms(message) => Submission::Cms { message, identity: None },
        };
        let completed = self.0.core.complete(&request, user, serial, &submission).await?;
        Ok(completed.device.serial_number)
    }

    /// Ends a transaction with the user's decline. `message` contains the request key; it is an
    /// information message from the device that fetched the transaction, in hex.
    ///
    /// # Errors
    /// As the engine's `withdraw`; [`DeviceRefusal::OtherForm`] if that device did not seal the
    /// message.
    pub async fn cancel(
        &self,
        asker: Asker<'_>,
        serial: &str,
        message: &str,
    ) -> Result<(), DeviceError> {
        let serial = serial.parse().map_err(|_| DeviceRefusal::OtherForm)?;
        let (core, rules) = (&self.0.core, &self.0.rules);
        if let (true, Ok(key)) = (rules.plain_cancel_keys, message.parse()) {
            let request = |_: &Device, _: Option<&Transaction>| Ok(asker.request(key));
            let named = Handle::Key(key);
            return core.withdraw(asker.tenant, serial, &named, request).await.map(drop);
        }
        let sealed = unhexed(message).ok_or(DeviceRefusal::OtherForm)?;
        let (_, purpose) = jwe::peek(&sealed).map_err(|_| DeviceRefusal::OtherForm)?;
        let Purpose::Information(id) = purpose else { return Err(DeviceRefusal::OtherForm.into()) };
        let named = Handle::Id(TransactionId(u128::from_be_bytes(id.0)));
        let request = |device: &Device, found: Option<&Transaction>| {
            let plain = open(device, purpose, &sealed)?;
            let key = str::from_utf8(&plain).ok().and_then(|key| key.parse().ok());
            let key: RequestKey = key.ok_or(DeviceRefusal::OtherForm)?;
            // Request keys are reused, and the message is valid only for its own transaction.
            if found.is_none_or(|found| found.spec.request_key != key) {
                return Err(DeviceRefusal::Unknown);
            }
            Ok(asker.request(key))
        };
        core.withdraw(asker.tenant, serial, &named, request).await.map(drop)
    }

    /// Changes a device's push address to one that the device has sealed.
    ///
    /// # Errors
    /// [`DeviceRefusal::Unknown`] if the user has no such device; [`DeviceRefusal::OtherForm`] if
    /// the device did not seal the address, or it is not valid for its service.
    pub async fn move_to(
        &self,
        tenant: &TenantName,
        user: &UserName,
        serial: &str,
        message: &str,
    ) -> Result<(), DeviceError> {
        let device = self.device(tenant, serial).await?;
        let device = device.filter(|device| device.user == *user).ok_or(DeviceRefusal::Unknown)?;
        let plain = open(
            &device,
            Purpose::Notification,
            &unhexed(message).ok_or(DeviceRefusal::OtherForm)?,
        )?;
        let push: Push = serde_json::from_slice(&plain).map_err(|_| DeviceRefusal::OtherForm)?;
        let address =
            self.0.devices.address(tenant, &push).await.map_err(|_| DeviceRefusal::OtherForm)?;
        Ok(self.0.core.set_push(tenant, device.id, Some(address)).await?)
    }

    async fn device(&self, tenant: &TenantName, serial: &str) -> Result<Option<Device>, Fault> {
        let Ok(serial) = serial.parse() else { return Ok(None) };
        let found = self.0.core.read().device_by_serial(tenant, serial).await?;
        Ok(found.map(|found| found.value))
    }
}

/// A verified signature in this dialect's format: a code's digits, or a CMS in base64.
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

fn parsed(key: &str) -> Result<RequestKey, DeviceRefusal> {
    key.parse().map_err(|_| DeviceRefusal::Unknown)
}

/// Opens a message that this device sealed for this purpose.
fn open(
    device: &Device,
    purpose: Purpose,
    sealed: &str,
) -> Result<Zeroizing<Vec<u8>>, DeviceRefusal> {
    let key = PayloadKey::from(device.payload_key.expose());
    let name = answer::name(device.tenant.as_str(), device.id);
    jwe::open(&key, &name, purpose, sealed).map_err(|_| DeviceRefusal::OtherForm)
}
