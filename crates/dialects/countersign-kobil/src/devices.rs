//! Devices: listing a user's, and locking, unlocking or deleting one.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use countersign_core::device::{Device, DeviceStatus, Usage};
use countersign_core::event::Actor;
use countersign_core::id::DeviceId;
use countersign_core::port::{Notifier as _, Presence, Versioned};
use countersign_core::refusal::{Fault, UserError, UserRefusal};
use countersign_core::role::Role;
use countersign_core::spec::Recipients;
use serde::Serialize;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::context::{Kobil, PathParams, known};
use super::render::{self, DeviceProblem, KobilError, Literal, SubSystem};
use countersign_node::Core;

pub(super) fn routes() -> Router<Kobil> {
    Router::new()
        .route("/digitanium/v4/users/{user}/devices", known(get(list)))
        .route("/digitanium/v4/users//devices", known(get(list)))
        .route("/auth/realms/{realm}/v3_user/devices/{user}", known(get(list)))
        .route("/auth/realms/{realm}/v3_user/devices/", known(get(list)))
        .route("/auth/realms/{realm}/v3_user/devices", known(get(list)))
        .route("/digitanium/v4/devices/{device}/lock", of_device(post(lock)))
        .route("/digitanium/v4/devices//lock", of_device(post(lock)))
        .route("/auth/realms/{realm}/v3_device/{device}/lock", of_device(post(lock)))
        .route("/auth/realms/{realm}/v3_device//lock", of_device(post(lock)))
        .route("/digitanium/v4/devices/{device}/unlock", of_device(post(unlock)))
        .route("/digitanium/v4/devices//unlock", of_device(post(unlock)))
        .route("/auth/realms/{realm}/v3_device/{device}/unlock", of_device(post(unlock)))
        .route("/auth/realms/{realm}/v3_device//unlock", of_device(post(unlock)))
        .route("/digitanium/v4/devices/{device}", of_device(delete(remove)))
        .route("/digitanium/v4/devices/", of_device(delete(remove)))
        .route("/digitanium/v4/devices", of_device(delete(remove)))
        .route("/auth/realms/{realm}/v3_device/{device}", of_device(delete(remove)))
        .route("/auth/realms/{realm}/v3_device/", of_device(delete(remove)))
        .route("/auth/realms/{realm}/v3_device", of_device(delete(remove)))
}

/// Like [`known`], for the subsystem of devices.
fn of_device(methods: MethodRouter<Kobil>) -> MethodRouter<Kobil> {
    methods.fallback(|| async { DeviceProblem::from(render::METHOD_NOT_ALLOWED) })
}

/// A device in the vendor's list. The vendor published the members' names and not all of their
/// meanings; the device's own description is spread over them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    locked: bool,
    /// The issuer of the certificate that signs content (RFC 4514).
    #[serde(rename = "issuerDN")]
    issuer_dn: String,
    device_state: &'static str,
    user_locked: bool,
    /// The node that holds the device's channel: this one, or an empty string.
    #[serde(rename = "nodeID")]
    node_id: String,
    /// The serial number of the same certificate, in hex.
    certificate_serial_number: String,
    /// The device's name, given by its user.
    client_device: String,
    client_os_version: String,
    client_type_name: String,
    device_type_name: String,
    device_version: String,
    /// Epoch seconds: when it last opened a channel or polled, if a node remembers it; otherwise
    /// when it was enrolled.
    last_login_time: String,
    app_name: String,
    device_id: String,
    app_version: String,
    device_type: String,
}

impl Row {
    fn of(
        device: Device,
        user_locked: bool,
        core: &Core,
        elsewhere: &[Presence],
    ) -> Result<Self, Fault> {
        let recipients = Recipients::Device(device.id);
        let is_here = core.notifier().online(&device.tenant, &device.user, &recipients, core.now());
        let elsewhere = || elsewhere.iter().filter(|one| one.device == device.id);
        let node = is_here.then(|| core.notifier().node());
        let node = node.or_else(|| elsewhere().find(|one| one.is_online()).map(|one| one.node));
        let last_login = core.notifier().last_seen(&device.tenant, device.id);
        let last_login = last_login.max(elsewhere().map(|one| one.since).max());
        let signer = device.identities.iter().find(|i| i.usage == Usage::Content);
        let signer = signer.or(device.identities.first());
        let certificate = signer.map(|identity| Certificate::from_der(&identity.certificate));
        let certificate = certificate
            .transpose()
            .map_err(Fault::while_doing("reading a device's certificate"))?;
        let certificate = certificate.map(|certificate| certificate.tbs_certificate);
        let (issuer, serial) = certificate.map_or_else(Default::default, |certificate| {
            let serial = hex::encode(certificate.serial_number.as_bytes());
            (certificate.issuer.to_string(), serial)
        });
        let about = device.about;
        Ok(Self {
            locked: device.status == DeviceStatus::Locked,
            issuer_dn: issuer,
            device_state: if node.is_some() { "ONLINE" } else { "OFFLINE" },
            user_locked,
            node_id: node.map(|number| number.to_string()).unwrap_or_default(),
            certificate_serial_number: serial,
            client_device: about.name,
            client_os_version: about.os_version,
            client_type_name: about.platform.clone(),
            device_type_name: about.platform.clone(),
            device_version: about.app_version.clone(),
            last_login_time: last_login.unwrap_or(device.enrolled_at).seconds().to_string(),
            app_name: about.app,
            device_id: device.id.to_string(),
            app_version: about.app_version,
            device_type: about.platform,
        })
    }
}

/// `GET …/users/{userName}/devices`
async fn list(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, KobilError> {
    let caller = kobil.caller(Role::People, &named, request.uri(), request.headers()).await?;
    let user = named.user()?;
    let core = &kobil.authenticator.core;
    let found = core.read().user_with_devices(&caller.tenant, &user).await?;
    let found = found.ok_or(render::USER_NOT_FOUND)?;
    let user_locked = found.user.value.lock_state.check(core.now()).is_err();
    let ids = found.devices.iter().map(|device| device.value.id);
    let elsewhere = core.presence_elsewhere(&caller.tenant, &user, ids).await?;
    let row = |device: Versioned<Device>| Row::of(device.value, user_locked, core, &elsewhere);
    let rows = found.devices.into_iter().map(row).collect::<Result<Vec<_>, _>>()?;
    Ok(render::DEVICES_FETCHED.with(Some(rows), SubSystem::Users))
}

/// A change of a device, and the answer for it.
struct Change {
    status: DeviceStatus,
    done: Literal,
    already: Literal,
}

/// `POST …/devices/{deviceId}/lock`
async fn lock(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, DeviceProblem> {
    let change = Change {
        status: DeviceStatus::Locked,
        done: render::DEVICE_LOCKED,
        already: render::ALREADY_LOCKED,
    };
    change.make(&kobil, &named, request).await
}

/// `POST …/devices/{deviceId}/unlock`
async fn unlock(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, DeviceProblem> {
    let change = Change {
        status: DeviceStatus::Active,
        done: render::DEVICE_UNLOCKED,
        already: render::ALREADY_UNLOCKED,
    };
    change.make(&kobil, &named, request).await
}

impl Change {
    async fn make(
        self,
        kobil: &Kobil,
        named: &PathParams,
        request: Request,
    ) -> Result<Response, DeviceProblem> {
        let caller = kobil.caller(Role::People, named, request.uri(), request.headers()).await?;
        let id = named.device.as_deref().unwrap_or("").trim();
        if id.is_empty() {
            return Err(render::NO_DEVICE.into());
        }
        // No device has an invalid number.
        let id: DeviceId = id.parse().map_err(|_| render::DEVICE_NOT_FOUND)?;
        let (core, actor) = (&kobil.authenticator.core, Actor::Client(caller.client));
        match core.set_device_status(&actor, &caller.tenant, id, self.status).await {
            Ok(_) => Ok(self.done.with(Some(true), SubSystem::Devices)),
            Err(UserError::Refused(UserRefusal::Unchanged)) => Err(self.already.into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// `DELETE …/devices/{deviceId}`: retires the device. Its signatures stay valid.
async fn remove(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, DeviceProblem> {
    let caller = kobil.caller(Role::People, &named, request.uri(), request.headers()).await?;
    let id = named.device.as_deref().unwrap_or("").trim();
    let id: DeviceId = id.parse().map_err(|_| render::BAD_DEVICE_TO_DELETE)?;
    let retired = DeviceStatus::Retired;
    let (core, actor) = (&kobil.authenticator.core, Actor::Client(caller.client));
    match core.set_device_status(&actor, &caller.tenant, id, retired).await {
        Ok(_) => Ok(render::DEVICE_DELETED.with(Some(true), SubSystem::Devices)),
        Err(UserError::Refused(UserRefusal::UnknownDevice)) => {
            Err(render::NO_DEVICE_TO_DELETE.into())
        }
        Err(error) => Err(error.into()),
    }
}
