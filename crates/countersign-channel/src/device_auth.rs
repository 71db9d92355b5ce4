//! Authentication of devices: each HTTP call carries a token that the device made for this very
//! call.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::Request;
use bytes::Bytes;
use countersign_core::event::{Actor, EventKind, NewEvent, Subject};
use countersign_core::id::{DeviceId, TenantName};
use countersign_core::limits::FRAME_BYTES_MAX;
use countersign_wire::body::{Code, RefusalBody};
use countersign_wire::id::DeviceName;
use countersign_wire::jwk::VerifyingKey;
use countersign_wire::jws::{self, BadToken};
use http::Method;
use http::header::AUTHORIZATION;
use tracing::debug;

use super::Devices;
use super::answer::{Refused, Token, since_epoch};
use super::replays::Unaccepted;
use countersign_http::body_limit;
use countersign_http::listen::Peer;

/// An authenticated device. A channel holds it for as long as it is open, so it has nothing that
/// only one call needs.
pub struct AuthenticatedDevice {
    /// Its tenant.
    pub tenant: TenantName,
    /// Its number.
    pub device: DeviceId,
}

impl AuthenticatedDevice {
    /// Tenant and number in the wire's format.
    pub(super) fn name(&self) -> DeviceName {
        let number = countersign_wire::id::DeviceId::new(self.device.number());
        let name = number.and_then(|number| DeviceName::new(self.tenant.as_str(), number));
        name.expect("the core's names are valid in the wire's format")
    }
}

/// A call of an authenticated device over HTTP.
pub struct AuthenticatedCall {
    device: AuthenticatedDevice,
    /// The authentication key that verified the token.
    pub(super) auth_key: Arc<VerifyingKey>,
    /// The body that the token covers.
    pub body: Bytes,
}

impl Deref for AuthenticatedCall {
    type Target = AuthenticatedDevice;

    fn deref(&self) -> &AuthenticatedDevice {
        &self.device
    }
}

impl Devices {
    /// Authenticates the device that sent `request`, and reads its body, which must be JSON if
    /// there is one.
    ///
    /// # Errors
    /// `unauthorised` with the server's time for any invalid token; `too_many` for a device that
    /// makes more calls than are remembered; and the refusals of invalid bodies.
    pub(super) async fn prove(&self, request: Request) -> Result<AuthenticatedCall, Refused> {
        let is_bodiless = matches!(*request.method(), Method::GET | Method::DELETE);
        if !is_bodiless && !body_limit::is(request.headers(), "application/json") {
            return Err(Code::UnsupportedMediaType.into());
        }
        self.prove_any(request).await
    }

    /// The same for a body of any type.
    ///
    /// # Errors
    /// As `prove`.
    pub async fn prove_any(&self, request: Request) -> Result<AuthenticatedCall, Refused> {
        let method = request.method().as_str().to_owned();
        let path = request.uri().path().to_owned();
        let authorization = request.headers().get(AUTHORIZATION);
        let token = authorization
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim().to_owned());
        let token = token.ok_or_else(|| {
            let Refused(body, _) = self.stranger(BadToken::Malformed);
            Refused(body, Token::Absent)
        })?;
        let name = jws::device_of_call(&token).map_err(|bad| self.stranger(bad))?;
        let (tenant, device) = ids(&name).ok_or_else(|| self.stranger(BadToken::Malformed))?;
        let key = self.auth_key(&tenant, device).await?;
        let key = key.ok_or_else(|| self.stranger(BadToken::OtherDevice))?;
        let stranger = |bad| {
            self.note_refused(&tenant, device, bad);
            self.stranger(bad)
        };
        let (room, now) = (&self.0, self.0.core.now());
        let (origins, call) = (&room.rules.origins, (method.as_str(), path.as_str()));
        // The body is read only after the token's head was verified.
        let head = jws::verify_call_head(&token, &key, &name, origins, call, since_epoch(now))
            .map_err(&stranger)?;
        if let Some(Peer(peer)) = request.extensions().get() {
            room.known.remember(peer.ip());
        }
        let body = body_limit::at_most(request, FRAME_BYTES_MAX).await?;
        let proven = head.with_body(&body).map_err(&stranger)?;
        room.keys.remember(&tenant, device, &key);
        room.replays.accept(&name, &proven, now).map_err(|why| match why {
            Unaccepted::Stale => stranger(BadToken::Stale),
            Unaccepted::TooMany => Code::TooMany.into(),
        })?;
        let device = AuthenticatedDevice { tenant, device };
        Ok(AuthenticatedCall { device, auth_key: key, body })
    }

    /// The registered authentication key of a device, whatever its status: the engine decides what
    /// a locked device may do.
    pub(super) async fn auth_key(
        &self,
        tenant: &TenantName,
        device: DeviceId,
    ) -> Result<Option<Arc<VerifyingKey>>, Refused> {
        if let Some(known) = self.0.keys.known(tenant, device) {
            return Ok(Some(known));
        }
        let found = self.0.core.read().device(tenant, device).await?;
        let key = found.and_then(|found| VerifyingKey::from_point(&found.value.auth_key).ok());
        Ok(key.map(Arc::new))
    }

    /// Has the history know that a token of a device was refused.
    pub(super) fn note_refused(&self, tenant: &TenantName, device: DeviceId, bad: BadToken) {
        let core = &self.0.core;
        core.notifier().note_refused(NewEvent {
            tenant: Some(tenant.clone()),
            at: core.now(),
            kind: EventKind::DeviceRefused,
            actor: Actor::Unknown,
            subject: Subject::Device(device),
            details: vec![("reason", bad.to_string())],
        });
    }

    /// Refuses, and sends the server's time, so that a device with a wrong clock can correct
    /// itself.
    fn stranger(&self, bad: BadToken) -> Refused {
        debug!("A device's token is invalid: {bad}");
        let server_time = Some(since_epoch(self.0.core.now()));
        RefusalBody { server_time, ..RefusalBody::new(Code::Unauthorised) }.into()
    }
}

/// A device's name as the core's types.
pub(super) fn ids(name: &DeviceName) -> Option<(TenantName, DeviceId)> {
    let device = DeviceId::try_from(name.device().number()).ok()?;
    Some((name.tenant().parse().ok()?, device))
}
