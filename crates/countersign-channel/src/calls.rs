//! The device calls over HTTP: for devices without a socket, and for calls that are made once.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use countersign_core::device::PinDigest;
use countersign_core::engine::FinishMode;
use countersign_core::id::{RequestKey, TransactionId};
use countersign_core::limits::POLL_WAIT_MAX;
use countersign_core::secret::Secret;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Decline, Transaction};
use countersign_wire::body::{self, Code, DeclineReason, strict};
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::secret::PayloadKey;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::form_urlencoded;

use super::answer::{self, Refused};
use super::device_auth::{AuthenticatedCall, AuthenticatedDevice};
use super::{Devices, StrangerPermit};
use countersign_node::notifier::{Connection, ConnectionEvent, ConnectionKind};

type Answer<T> = Result<Json<T>, Refused>;

/// `?wait=30`: how many seconds to wait for an offer. `?request_key=0123456789`: only the
/// transaction with this key, which the user has scanned.
#[derive(Debug, Default, Eq, PartialEq)]
struct OffersQuery {
    wait: Duration,
    request_key: Option<RequestKey>,
}

impl OffersQuery {
    /// Parses strictly, as every text from a device: each known parameter at most once, and no
    /// other.
    fn parse(query: Option<&str>) -> Result<Self, Refused> {
        let refused = |what: &str| Refused::from(body::RefusalBody::bad_request(what));
        let (mut wait, mut request_key) = (None, None);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let is_second = match &*name {
                "wait" => {
                    let most = POLL_WAIT_MAX.as_secs();
                    let seconds = value.parse().ok().filter(|seconds| *seconds <= most);
                    let seconds = seconds.ok_or_else(|| {
                        refused(&format!("`wait` is a whole number of seconds, 0 to {most}"))
                    })?;
                    wait.replace(Duration::from_secs(seconds)).is_some()
                }
                "request_key" => {
                    let key = value.parse::<RequestKey>();
                    let key = key.map_err(|_| refused("`request_key` is ten digits"))?;
                    request_key.replace(key).is_some()
                }
                _ => {
                    return Err(refused(
                        "the address takes the parameters `wait` and `request_key`",
                    ));
                }
            };
            if is_second {
                return Err(refused(&format!("`{name}` occurs twice")));
            }
        }
        Ok(Self { wait: wait.unwrap_or_default(), request_key })
    }
}

/// `PUT /device/v1/pin`: the device's first PIN, or the next one.
pub(super) async fn set_pin(
    State(devices): State<Devices>,
    request: Request,
) -> Answer<body::PinAnswer> {
    let device_auth = devices.prove(request).await?;
    let core = &devices.0.core;
    let body: body::PinBody = read(&device_auth.body)?;
    let device = core.read().device(&device_auth.tenant, device_auth.device).await?;
    let device = device.ok_or(Code::Locked)?.value;
    let key = PayloadKey::from(device.payload_key.expose());
    let plaintext = jwe::open(&key, &device_auth.name(), Purpose::Pin, &body.pin)
        .map_err(|_| body::RefusalBody::bad_request("`pin` does not open with the payload key"))
        .map_err(Refused::from)?;
    let change: body::PinChange = read(&plaintext)?;
    let digest = Secret::copied(change.digest.as_bytes());
    let new = PinDigest { digest, version: change.version };
    let proof = change.proof.as_ref().map(body::PinProof::as_str);
    core.set_pin(&device_auth.tenant, device_auth.device, &new, proof).await.map_err(|error| {
        // No transaction is involved that could have ended.
        let Refused(body, _) = error.into();
        Refused::from(body::RefusalBody { state: None, ..body })
    })?;
    Ok(Json(body::PinAnswer { version: change.version }))
}

/// `GET /device/v1/offers?wait=30`: open transactions that this device has not taken; waits if
/// there are none.
pub(super) async fn offers(
    State(devices): State<Devices>,
    request: Request,
) -> Answer<body::Offers> {
    let query = request.uri().query().map(str::to_owned);
    let device_auth = devices.prove(request).await?;
    let OffersQuery { wait, request_key: key } = OffersQuery::parse(query.as_deref())?;
    let room = &devices.0;
    let (tenant, device) = (&device_auth.tenant, device_auth.device);
    let found = room.core.read().device(tenant, device).await?;
    let user = found.ok_or(Code::Locked)?.value.user;
    // Connected before the ledger is read, so that no transaction is missed in between.
    let mut connection =
        room.core.notifier().connect(tenant, &user, device, ConnectionKind::Poll, room.core.now());
    let until = room.core.now() + wait;
    loop {
        let open = room.core.offers(tenant, device, key).await?;
        let offers: Vec<body::Offer> = open
            .iter()
            .filter(|open| !open.shown_by(device))
            .map(|open| answer::offer(open))
            .collect();
        if !offers.is_empty() {
            answered(connection, wait, room.core.now());
            return Ok(Json(body::Offers { offers }));
        }
        match timeout(room.core.now().until(until), connection.next()).await {
            Ok(Some(
                ConnectionEvent::Offer(_)
                | ConnectionEvent::Ended(_)
                | ConnectionEvent::DeviceAdded(_)
                | ConnectionEvent::Replaced,
            )) => {}
            Ok(Some(ConnectionEvent::Locked)) => return Err(Code::Locked.into()),
            Ok(Some(ConnectionEvent::Stopping)) => return Err(Code::Unavailable.into()),
            Ok(None) | Err(_) => {
                answered(connection, wait, room.core.now());
                return Ok(Json(body::Offers { offers }));
            }
        }
    }
}

/// A device that waits for offers asks again after each answer, so it stays online in between. One
/// that does not wait looks once, for example because a push woke it.
fn answered(poll: Connection, wait: Duration, now: Timestamp) {
    if !wait.is_zero() {
        poll.answered(now);
    }
}

/// `GET /device/v1/devices`: the user's devices.
pub(super) async fn devices(
    State(devices): State<Devices>,
    request: Request,
) -> Answer<body::UserDevices> {
    let device_auth = devices.prove(request).await?;
    let all = devices.0.core.devices_beside(&device_auth.tenant, device_auth.device).await?;
    Ok(Json(body::UserDevices { devices: all.iter().map(answer::user_device).collect() }))
}

/// `POST /device/v1/transactions/{id}/take`
pub(super) async fn take(
    State(devices): State<Devices>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<body::Taken> {
    let (device_auth, take) = named::<body::Take>(&devices, &id, request).await?;
    devices.take(&device_auth, &take).await.map(Json)
}

/// `POST /device/v1/transactions/{id}/finish`
pub(super) async fn finish(
    State(devices): State<Devices>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<body::Ended> {
    let (device_auth, finish) = named::<body::Finish>(&devices, &id, request).await?;
    devices.finish(&device_auth, &finish).await.map(|ended| Json(answer::ended(&ended)))
}

/// `POST /device/v1/transactions/{id}/decline`
pub(super) async fn decline(
    State(devices): State<Devices>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<body::Ended> {
    let (device_auth, decline) = named::<body::Decline>(&devices, &id, request).await?;
    devices.decline(&device_auth, &decline).await.map(|ended| Json(answer::ended(&ended)))
}

/// `POST /device/v1/transactions/{id}/fail`
pub(super) async fn fail(
    State(devices): State<Devices>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<body::Ended> {
    let (device_auth, fail) = named::<body::Fail>(&devices, &id, request).await?;
    devices.fail(&device_auth, fail).await.map(|ended| Json(answer::ended(&ended)))
}

/// The bodies of device calls that name their transaction.
trait NamesTransaction: DeserializeOwned {
    fn id(&self) -> countersign_wire::id::TransactionId;
}

macro_rules! named {
    ($($body:ident),*) => {$(
        impl NamesTransaction for body::$body {
            fn id(&self) -> countersign_wire::id::TransactionId {
                self.id
            }
        }
    )*};
}
named!(Take, Finish, Decline, Fail);

/// Authenticates the device, and reads a body that names the transaction of the path.
async fn named<T: NamesTransaction>(
    devices: &Devices,
    id: &str,
    request: Request,
) -> Result<(AuthenticatedCall, T), Refused> {
    let device_auth = devices.prove(request).await?;
    let body: T = read(&device_auth.body)?;
    let path = countersign_wire::id::TransactionId::from_str(id).map_err(|_| Code::NotFound)?;
    if body.id() != path {
        return Err(body::RefusalBody::bad_request("`id` is not the one of the address").into());
    }
    Ok((device_auth, body))
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    strict::read(body).map_err(Refused::from)
}

fn core_id(id: countersign_wire::id::TransactionId) -> TransactionId {
    TransactionId(u128::from_be_bytes(id.0))
}

/// The four steps, which are the same over HTTP and on the channel.
impl Devices {
    pub(super) async fn take(
        &self,
        who: &AuthenticatedDevice,
        take: &body::Take,
    ) -> Result<body::Taken, Refused> {
        let proof = take.pin_proof.as_ref().map(body::PinProof::as_str);
        let core = &self.0.core;
        let taken = core.take(&who.tenant, who.device, core_id(take.id), proof).await?;
        Ok(answer::taken(&taken, &who.name()))
    }

    pub(super) async fn finish(
        &self,
        who: &AuthenticatedDevice,
        finish: &body::Finish,
    ) -> Result<Arc<Transaction>, Refused> {
        let submission = answer::submission(&finish.signature)?;
        let id = core_id(finish.id);
        let StrangerPermit { core, digest_url, .. } = &*self.0;
        digest_url.check(core, &who.tenant, id, &submission).await?;
        let mode = FinishMode::Taken;
        Ok(core.finish(mode, &who.tenant, who.device, id, &submission).await?.transaction)
    }

    pub(super) async fn decline(
        &self,
        who: &AuthenticatedDevice,
        decline: &body::Decline,
    ) -> Result<Arc<Transaction>, Refused> {
        let reason = match decline.reason {
            DeclineReason::User => Decline::User,
            DeclineReason::NotMe => Decline::NotMe,
        };
        let id = core_id(decline.id);
        Ok(self.0.core.decline(&who.tenant, who.device, id, reason, String::new()).await?)
    }

    pub(super) async fn fail(
        &self,
        who: &AuthenticatedDevice,
        fail: body::Fail,
    ) -> Result<Arc<Transaction>, Refused> {
        let id = core_id(fail.id);
        Ok(self.0.core.fail(&who.tenant, who.device, id, fail.reason).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_strictly_and_refused_by_its_parameter() {
        let read = |query: &str| {
            let refused = |Refused(body, _): Refused| (body.error, body.message);
            OffersQuery::parse(Some(query)).map_err(refused)
        };
        let wait = Duration::from_secs(30);
        let key = "0123456789".parse().ok();
        assert_eq!(read("wait=30"), Ok(OffersQuery { wait, request_key: None }));
        let both = OffersQuery { wait, request_key: key };
        assert_eq!(read("request_key=0123456789&wait=30"), Ok(both));
        assert_eq!(read(""), Ok(OffersQuery::default()));
        for (query, named) in [
            ("wait=x", "`wait`"),
            ("wait=", "`wait`"),
            ("wait=-1", "`wait`"),
            ("wait=61", "`wait`"),
            ("wait=1&wait=2", "`wait` occurs twice"),
            ("request_key=12", "`request_key`"),
            ("weight=30", "the parameters `wait` and `request_key`"),
            ("wait=30&x", "the parameters `wait` and `request_key`"),
        ] {
            let (code, message) = read(query).unwrap_err();
            assert_eq!(code, Code::BadRequest, "{query}");
            assert!(message.contains(named), "{query}: {message}");
        }
    }
}
