//! `PUT` and `GET /device/v1/push`: the push address of a device.

use axum::Json;
use axum::extract::{Request, State};
use countersign_core::device::Device;
use countersign_core::id::TenantName;
use countersign_core::push::{Push, PushAddress};
use countersign_wire::body::{self, Code, PushAnswer, PushState, RefusalBody};

use super::Devices;
use super::answer::Refused;
use super::calls::read;
use super::device_auth::AuthenticatedDevice;

/// Registers an address, or removes it.
pub(super) async fn register(
    State(devices): State<Devices>,
    request: Request,
) -> Result<Json<PushAnswer>, Refused> {
    let device_auth = devices.prove(request).await?;
    let body: body::PushBody = read(&device_auth.body)?;
    let asked = match &body.push {
        Some(push) => Some(devices.address(&device_auth.tenant, push).await.map_err(refused)?),
        None => None,
    };
    devices.0.core.set_push(&device_auth.tenant, device_auth.device, asked).await?;
    devices.how_it_is_woken(&device_auth).await
}

/// Tells the device whether it can be woken, and by which services.
pub(super) async fn registered(
    State(devices): State<Devices>,
    request: Request,
) -> Result<Json<PushAnswer>, Refused> {
    let device_auth = devices.prove(request).await?;
    devices.how_it_is_woken(&device_auth).await
}

/// `bad_request`, with the reason.
pub(super) fn refused(message: String) -> Refused {
    RefusalBody { message, ..RefusalBody::new(Code::BadRequest) }.into()
}

impl Devices {
    /// Reads a device's push address.
    ///
    /// # Errors
    /// The reason, as a sentence that may be shown.
    pub async fn address(
        &self,
        tenant: &TenantName,
        push: &body::Push,
    ) -> Result<(PushAddress, Option<String>), String> {
        let read = self.0.pushes.read(tenant, push, self.0.core.now()).await;
        read.map_err(|bad| format!("push: {bad}"))
    }

    async fn how_it_is_woken(
        &self,
        device_auth: &AuthenticatedDevice,
    ) -> Result<Json<PushAnswer>, Refused> {
        let core = &self.0.core;
        let found = core.read().device(&device_auth.tenant, device_auth.device).await?;
        let Device { about, push, .. } = found.ok_or(Code::Locked)?.value;
        let (providers, vapid_key) =
            self.0.pushes.offered(&device_auth.tenant, &about.app, core.now());
        let state = match push {
            Push::None => PushState::None,
            Push::At(_) => PushState::Registered,
            Push::Retired { .. } => PushState::Retired,
        };
        let providers = providers.into_iter().map(str::to_owned).collect();
        Ok(Json(PushAnswer { state, providers, vapid_key }))
    }
}
