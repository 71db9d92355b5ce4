//! `DELETE /device/v1/device`: a device says goodbye, and is retired.

use axum::Json;
use axum::extract::{Request, State};
use serde_json::{Value, json};
use tracing::info;

use super::Devices;
use super::answer::Refused;

/// Retires the calling device. A repeated call gets the same answer.
pub(super) async fn say(
    State(devices): State<Devices>,
    request: Request,
) -> Result<Json<Value>, Refused> {
    let device_auth = devices.prove(request).await?;
    let device = device_auth.device;
    devices.0.core.say_goodbye(&device_auth.tenant, device).await?;
    info!(device.id = %device, "Device {device} said goodbye");
    Ok(Json(json!({})))
}
