//! Who calls: each HTTP call carries a token that the device made for this very call.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use countersign_core::id::{DeviceId, TenantName};
use countersign_core::limits::{PROOF_SKEW, PROOFS_REMEMBERED_MAX};
use countersign_core::port::Registry as _;
use countersign_core::time::Timestamp;
use countersign_wire::body::{Code, RefusalBody};
use countersign_wire::id::DeviceName;
use countersign_wire::jwk::VerifyingKey;
use countersign_wire::jws::{self, BadToken};
use http::Method;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use tracing::debug;

use super::Devices;
use super::answer::{Refused, since_epoch};
use crate::listen::Peer;
use crate::surface::intake;

/// A device that has proved itself, and what it sent.
pub(crate) struct Proved {
    /// Its tenant.
    pub(crate) tenant: TenantName,
    /// Its number.
    pub(crate) device: DeviceId,
    /// Both, as the wire writes them.
    pub(super) name: DeviceName,
    /// The body that the proof covers.
    pub(crate) body: Bytes,
}

impl Devices {
    /// Checks who sent `request`, and takes in its body, which must be JSON where there is one.
    ///
    /// # Errors
    /// `unauthorised` with the server's time, whatever did not hold; and bodies that are none.
    pub(super) async fn prove(&self, request: Request) -> Result<Proved, Refused> {
        let is_bodiless = request.method() == Method::GET;
        if !is_bodiless && !intake::is(request.headers(), "application/json") {
            return Err(Code::UnsupportedMediaType.into());
        }
        self.prove_any(request).await
    }

    /// The same, whatever the body is.
    ///
    /// # Errors
    /// As [`Devices::prove`].
    pub(crate) async fn prove_any(&self, request: Request) -> Result<Proved, Refused> {
        let method = request.method().as_str().to_owned();
        let path = request.uri().path().to_owned();
        let authorization = request.headers().get(AUTHORIZATION);
        let token = authorization
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim().to_owned());
        let token = token.ok_or_else(|| self.stranger(BadToken::Malformed))?;
        let name = jws::device_of_call(&token).map_err(|bad| self.stranger(bad))?;
        let (tenant, device) = ids(&name).ok_or_else(|| self.stranger(BadToken::Malformed))?;
        let key = self.auth_key(&tenant, device).await?;
        let key = key.ok_or_else(|| self.stranger(BadToken::OtherDevice))?;
        let (room, now) = (&self.0, self.0.core.now());
        let (origins, call) = (&room.rules.origins, (method.as_str(), path.as_str()));
        // A stranger's body is not read.
        let head = jws::verify_call_head(&token, &key, &name, origins, call, since_epoch(now))
            .map_err(|bad| self.stranger(bad))?;
        if let Some(Peer(peer)) = request.extensions().get() {
            room.known.remember(peer.ip());
        }
        let body = intake::any(request).await?;
        let proven = head.with_body(&body).map_err(|bad| self.stranger(bad))?;
        room.keys.remember(&tenant, device, &key);
        if !room.replays.admits(&name, &proven, now) {
            return Err(self.stranger(BadToken::Stale));
        }
        Ok(Proved { tenant, device, name, body })
    }

    /// The registered authentication key of a device, whatever its status: what a locked device is told
    /// is the engine's to say.
    pub(super) async fn auth_key(
        &self,
        tenant: &TenantName,
        device: DeviceId,
    ) -> Result<Option<Arc<VerifyingKey>>, Refused> {
        if let Some(known) = self.0.keys.known(tenant, device) {
            return Ok(Some(known));
        }
        let found = self.0.core.store.device(tenant, device).await?;
        let key = found.and_then(|found| VerifyingKey::from_point(&found.value.auth_key).ok());
        Ok(key.map(Arc::new))
    }

    /// Says no, and what time it is, so that a device with a wrong clock can correct itself.
    fn stranger(&self, bad: BadToken) -> Refused {
        debug!("A device's proof did not hold: {bad}");
        let server_time = Some(since_epoch(self.0.core.now()));
        Refused(RefusalBody { server_time, ..RefusalBody::new(Code::Unauthorised) })
    }
}

/// A device's name in the core's terms.
pub(super) fn ids(name: &DeviceName) -> Option<(TenantName, DeviceId)> {
    let device = DeviceId::try_from(name.device().number()).ok()?;
    Some((name.tenant().parse().ok()?, device))
}

/// Proofs that were used, remembered for as long as they could be used again. One from before this
/// node began is refused, since it may have been used then. A replay on another node is harmless: every
/// call may be repeated.
pub(super) struct Replays {
    since: Timestamp,
    seen: Mutex<Seen>,
}

/// Two generations, each remembered while it and the next one fill.
struct Seen {
    turned: Timestamp,
    new: HashSet<(DeviceName, String)>,
    old: HashSet<(DeviceName, String)>,
}

impl Replays {
    /// Remembers from `now` on.
    pub(super) fn since(now: Timestamp) -> Self {
        let seen = Seen { turned: now, new: HashSet::new(), old: HashSet::new() };
        Self { since: now, seen: Mutex::new(seen) }
    }

    fn admits(&self, device: &DeviceName, proven: &jws::Proven, now: Timestamp) -> bool {
        if proven.issued_at < Duration::from_secs(self.since.seconds()) {
            return false;
        }
        let mut seen = self.seen.lock();
        // A proof can be used from PROOF_SKEW before its time to PROOF_SKEW after it.
        let full = seen.new.len() >= PROOFS_REMEMBERED_MAX / 2;
        if now >= seen.turned + 2 * PROOF_SKEW || full {
            seen.old = std::mem::take(&mut seen.new);
            seen.turned = now;
        }
        let key = (device.clone(), proven.jti.clone());
        !seen.old.contains(&key) && seen.new.insert(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proven(jti: &str, seconds: u64) -> jws::Proven {
        jws::Proven { jti: jti.into(), issued_at: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_proof_is_used_once_for_as_long_as_it_could_be_used() {
        let replays = Replays::since(Timestamp(1_000_500));
        let device: DeviceName = "acme/7".parse().unwrap();
        let at = |seconds: u64| Timestamp(seconds * 1_000);
        assert!(replays.admits(&device, &proven("a", 1_001), at(1_001)));
        for later in [1_001, 1_060, 1_121] {
            assert!(!replays.admits(&device, &proven("a", 1_001), at(later)), "at {later}");
        }
        assert!(replays.admits(&"acme/8".parse().unwrap(), &proven("a", 1_001), at(1_002)));
    }

    #[test]
    fn a_proof_from_before_the_node_began_is_refused() {
        let replays = Replays::since(Timestamp(1_000_500));
        let device: DeviceName = "acme/7".parse().unwrap();
        assert!(!replays.admits(&device, &proven("a", 999), Timestamp(1_001_000)));
        assert!(replays.admits(&device, &proven("a", 1_000), Timestamp(1_001_000)));
    }
}
