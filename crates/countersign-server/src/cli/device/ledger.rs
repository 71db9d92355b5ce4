//! The devices in the ledger: list, show, lock, unlock, delete.

use std::str::FromStr;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use countersign_core::device::{Device, DeviceStatus, Identity};
use countersign_core::id::{DeviceId, SerialNumber, TenantName, UserName};
use countersign_core::port::all_pages;
use countersign_core::push::Push;
use countersign_core::refusal::{PinResetError, PinResetRefusal, UserError, UserRefusal};
use countersign_core::time::Timestamp;
use serde::Serialize;

use crate::cli::admin::{Admin, LedgerArgs};
use crate::cli::answer;
use crate::cli::table::{self, Table};
use crate::cli::validity::Validity;
use countersign_http::time_format;

/// List the devices of a tenant or of one user, without retired ones.
#[derive(Args, Debug)]
pub(in crate::cli) struct ListDevices {
    /// The tenant
    #[arg(long)]
    tenant: TenantName,
    /// Only those of one user
    #[arg(long)]
    user: Option<UserName>,
    #[command(flatten)]
    place: LedgerArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct DeviceArgs {
    /// The device's id, or its serial number: `countersign device list`
    #[arg(value_name = "DEVICE")]
    handle: DeviceHandle,
    /// The tenant
    #[arg(long)]
    tenant: TenantName,
    #[command(flatten)]
    place: LedgerArgs,
}

/// How an operator names a device.
#[derive(Clone, Copy, Debug)]
enum DeviceHandle {
    Id(DeviceId),
    Serial(SerialNumber),
}

impl FromStr for DeviceHandle {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Ok(serial) = text.parse() {
            return Ok(Self::Serial(serial));
        }
        text.parse().map(Self::Id).context("neither the id nor the serial number of a device")
    }
}

#[derive(Serialize)]
struct DeletedDevice {
    device_id: String,
    tenant: String,
    /// Whether it was in use until now.
    existed: bool,
}

#[derive(Serialize)]
struct ResetPin {
    device_id: String,
    tenant: String,
    /// Whether the device had a PIN until now.
    existed: bool,
}

#[derive(Serialize)]
struct DeviceView {
    device_id: String,
    serial_number: String,
    user: String,
    state: &'static str,
    name: String,
    platform: String,
    os_version: String,
    app: String,
    app_version: String,
    pin_set: bool,
    /// Its push registration; null if it cannot be woken.
    push: Option<ShownPush>,
    enrolled_at: String,
    /// The first end of the certificates of its enabled identities; null if it has none.
    certificates_until: Option<String>,
    identities: Vec<ShownIdentity>,
}

#[derive(Serialize)]
struct ShownPush {
    provider: &'static str,
    /// `registered`, or the reason why it is retired: `dead`, `moved`.
    state: &'static str,
    since: String,
    language: Option<String>,
}

#[derive(Serialize)]
struct ShownIdentity {
    id: String,
    #[serde(rename = "use")]
    usage: &'static str,
    labels: Vec<String>,
    /// The labels that the device proposed.
    proposed_labels: Vec<String>,
    enabled: bool,
    #[serde(flatten)]
    validity: Validity,
    /// Whether another authority than the tenant's own issued the certificate.
    imported: bool,
    /// Base64 of DER.
    certificate: String,
    /// Base64 of DER, the issuer first.
    chain: Vec<String>,
}

impl ListDevices {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        match &self.user {
            Some(user) => drop(admin.user(&self.tenant, user).await?),
            None => admin.check_tenant(&self.tenant).await?,
        }
        let (read, filter) = (admin.core.read(), self.user.as_ref().into());
        let page = async |page| read.devices(&self.tenant, filter, page).await;
        let devices = all_pages(page).await?;
        let shown: Vec<DeviceView> =
            devices.iter().map(|device| shown(&device.value, admin.now())).collect();
        answer::print(admin.json, &shown, || table(&shown))?;
        admin.close().await
    }
}

impl DeviceArgs {
    pub(super) async fn lock(self) -> anyhow::Result<()> {
        self.set(DeviceStatus::Locked).await
    }

    pub(super) async fn unlock(self) -> anyhow::Result<()> {
        self.set(DeviceStatus::Active).await
    }

    pub(super) async fn show(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let (tenant, id) = (&self.tenant, self.id(&admin).await?);
        let found = admin.core.read().device(tenant, id).await?;
        let found = found.with_context(|| format!("tenant {tenant} has no device {id}"))?;
        let view = shown(&found.value, admin.now());
        answer::print(admin.json, &view, || list(&view))?;
        admin.close().await
    }

    /// Deletes the device, for good; one that is deleted already is no failure.
    pub(super) async fn delete(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let (tenant, id) = (&self.tenant, self.id(&admin).await?);
        let retired = DeviceStatus::Retired;
        let existed = match admin.core.set_device_status(&admin.actor, tenant, id, retired).await {
            Ok(_) => true,
            Err(UserError::Refused(UserRefusal::UnknownDevice)) => false,
            Err(error) => return Err(error.into()),
        };
        let (device_id, tenant) = (id.to_string(), tenant.to_string());
        let deleted = DeletedDevice { device_id, tenant, existed };
        answer::print(admin.json, &deleted, || {
            let DeletedDevice { device_id, tenant, .. } = &deleted;
            if existed {
                format!("Device {device_id} of {tenant} is deleted. Its signatures stay valid.")
            } else {
                format!("There is no device {device_id} of {tenant} in use: nothing was deleted.")
            }
        })?;
        admin.close().await
    }

    /// Has the device's PIN forgotten; a device without a PIN is no failure.
    pub(in crate::cli) async fn reset_pin(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let (tenant, id) = (&self.tenant, self.id(&admin).await?);
        let existed = match admin.core.reset_pin(&admin.actor, tenant, id).await {
            Ok(()) => true,
            Err(PinResetError::Refused(PinResetRefusal::Unchanged)) => false,
            Err(PinResetError::Refused(PinResetRefusal::UnknownDevice)) => {
                bail!("tenant {tenant} has no device {id} in use")
            }
            Err(PinResetError::Refused(PinResetRefusal::Forbidden)) => bail!(
                "the configuration forbids to reset a PIN (`[locks] pin_reset`): the person \
                 enrols the device anew"
            ),
            Err(error) => return Err(error.into()),
        };
        let (device_id, tenant) = (id.to_string(), tenant.to_string());
        answer::print(admin.json, &ResetPin { device_id, tenant, existed }, || {
            if existed {
                format!("The PIN of device {id} is forgotten: the person sets a new one on it.")
            } else {
                format!("Device {id} has no PIN.")
            }
        })?;
        admin.close().await
    }

    /// The device's id. A serial number must be that of a device in use.
    async fn id(&self, admin: &Admin) -> anyhow::Result<DeviceId> {
        let tenant = &self.tenant;
        admin.check_tenant(tenant).await?;
        let serial = match self.handle {
            DeviceHandle::Id(id) => return Ok(id),
            DeviceHandle::Serial(serial) => serial,
        };
        let found = admin.core.read().device_by_serial(tenant, serial).await?;
        let found = found.with_context(|| format!("tenant {tenant} has no device {serial}"))?;
        Ok(found.value.id)
    }

    /// Sets the status; retried if the device was changed by another commit. A device that has
    /// this status already keeps it.
    async fn set(self, status: DeviceStatus) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let (tenant, id) = (&self.tenant, self.id(&admin).await?);
        let device = match admin.core.set_device_status(&admin.actor, tenant, id, status).await {
            Ok(device) => device,
            Err(UserError::Refused(UserRefusal::UnknownDevice)) => {
                match admin.core.read().device(tenant, id).await? {
                    Some(_) => bail!("device {id} is retired, for good"),
                    None => bail!("tenant {tenant} has no device {id}"),
                }
            }
            Err(UserError::Refused(UserRefusal::Unchanged)) => {
                let found = admin.core.read().device(tenant, id).await?;
                found.with_context(|| format!("tenant {tenant} has no device {id}"))?.value
            }
            Err(error) => return Err(error.into()),
        };
        answer::print(admin.json, &shown(&device, admin.now()), || {
            format!("Device {id} ({}) is {}.", device.serial_number, status.as_str())
        })?;
        admin.close().await
    }
}

fn shown(device: &Device, now: Timestamp) -> DeviceView {
    let first_end = device.identities.iter().filter(|one| one.enabled).map(|one| one.valid_until);
    let about = device.about.clone();
    DeviceView {
        device_id: device.id.to_string(),
        serial_number: device.serial_number.to_string(),
        user: device.user.to_string(),
        state: device.status.as_str(),
        name: about.name,
        platform: about.platform,
        os_version: about.os_version,
        app: about.app,
        app_version: about.app_version,
        pin_set: device.pin.is_some(),
        push: shown_push(&device.push),
        enrolled_at: time_format::exact(device.enrolled_at),
        certificates_until: first_end.min().map(|end| time_format::of_seconds(end.seconds())),
        identities: device.identities.iter().map(|one| shown_identity(one, now)).collect(),
    }
}

fn shown_push(push: &Push) -> Option<ShownPush> {
    match push {
        Push::None => None,
        Push::At(registration) => Some(ShownPush {
            provider: registration.address.provider.as_str(),
            state: "registered",
            since: time_format::exact(registration.since),
            language: registration.language.clone(),
        }),
        Push::Retired { provider, at, why } => Some(ShownPush {
            provider: provider.as_str(),
            state: why.as_str(),
            since: time_format::exact(*at),
            language: None,
        }),
    }
}

fn shown_identity(identity: &Identity, now: Timestamp) -> ShownIdentity {
    ShownIdentity {
        id: identity.id.to_string(),
        usage: identity.usage.as_str(),
        labels: identity.labels.clone(),
        proposed_labels: identity.proposed_labels.clone(),
        enabled: identity.enabled,
        validity: Validity::of_path(&identity.certificate, identity.valid_until, now),
        imported: identity.imported,
        certificate: BASE64.encode(&identity.certificate),
        chain: identity.chain.iter().map(|der| BASE64.encode(der)).collect(),
    }
}

/// A device, one property a line.
fn list(view: &DeviceView) -> String {
    let identities = view.identities.iter().map(|one| format!("{} ({})", one.id, one.usage));
    let identities = identities.collect::<Vec<_>>().join(", ");
    table::list(&[
        ("device_id", view.device_id.clone()),
        ("serial number", view.serial_number.clone()),
        ("user", view.user.clone()),
        ("state", view.state.to_owned()),
        ("name", view.name.clone()),
        ("platform", format!("{} {}", view.platform, view.os_version)),
        ("app", format!("{} {}", view.app, view.app_version)),
        ("PIN", if view.pin_set { "set" } else { "not set" }.to_owned()),
        ("push", view.push.as_ref().map_or("none", |push| push.state).to_owned()),
        ("enrolled", view.enrolled_at.clone()),
        ("identities", identities),
    ])
}

fn table(devices: &[DeviceView]) -> String {
    let head = [
        "DEVICE",
        "SERIAL NUMBER",
        "USER",
        "STATE",
        "NAME",
        "PLATFORM",
        "ENROLLED",
        "CERTIFICATES UNTIL",
    ];
    let mut table = Table::new(&head);
    for shown in devices {
        table.row(&[
            &shown.device_id,
            &shown.serial_number,
            &shown.user,
            shown.state,
            &shown.name,
            &shown.platform,
            &shown.enrolled_at,
            shown.certificates_until.as_deref().unwrap_or_default(),
        ]);
    }
    table.text(
        "There are no devices: `countersign activation create USER` makes a code to enrol one.",
    )
}
