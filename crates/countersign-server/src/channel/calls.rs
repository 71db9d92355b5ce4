//! The device calls over HTTP, for devices without a socket and for what is said once.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use countersign_core::device::PinDigest;
use countersign_core::id::{RequestKey, TransactionId};
use countersign_core::limits::POLL_WAIT_MAX;
use countersign_core::port::Registry as _;
use countersign_core::secret::Secret;
use countersign_core::transaction::{Decline, Transaction};
use countersign_wire::body::{self, Code, DeclineReason};
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::secret::PayloadKey;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::answer::{self, Refused};
use super::proof::Proved;
use super::{Devices, Room};
use crate::doorbell::{Kind, Note};

type Answer<T> = Result<Json<T>, Refused>;

/// `?wait=30`: how many seconds to wait for an offer. `?request_key=0123456789`: only the one that has
/// this key, as a person has scanned it.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    wait: u64,
    request_key: Option<String>,
}

/// `PUT /device/v1/pin`: the device's first PIN, or the next one.
pub(super) async fn set_pin(
    State(devices): State<Devices>,
    request: Request,
) -> Answer<body::PinAnswer> {
    let proved = devices.prove(request).await?;
    let core = &devices.0.core;
    let body: body::PinBody = read(&proved.body)?;
    let device = core.store.device(&proved.tenant, proved.device).await?;
    let device = device.ok_or(Code::Locked)?.value;
    let key = PayloadKey::from(device.payload_key.expose());
    let plaintext =
        jwe::open(&key, &proved.name, Purpose::Pin, &body.pin).map_err(|_| Code::BadRequest)?;
    let change: body::PinChange = read(&plaintext)?;
    let digest = Secret::copied(change.digest.as_bytes());
    let new = PinDigest { digest, version: change.version };
    let proof = change.proof.as_ref().map(body::PinProof::as_str);
    core.set_pin(&proved.tenant, proved.device, &new, proof).await?;
    Ok(Json(body::PinAnswer { version: change.version }))
}

/// `GET /device/v1/offers?wait=30`: what is open and not taken by this device; waits where there is none.
pub(super) async fn offers(
    State(devices): State<Devices>,
    Query(Wanted { wait, request_key }): Query<Wanted>,
    request: Request,
) -> Answer<body::Offers> {
    let proved = devices.prove(request).await?;
    let room = &devices.0;
    let (tenant, device) = (&proved.tenant, proved.device);
    let key = request_key.map(|key| key.parse::<RequestKey>()).transpose();
    let key = key.map_err(|_| Code::BadRequest)?;
    let found = room.core.store.device(tenant, device).await?;
    let user = found.ok_or(Code::Locked)?.value.user;
    // On the board before the look, so that nothing falls in between.
    let mut line = room.core.doorbell.connect(tenant, &user, device, Kind::Poll, room.core.now());
    let until = room.core.now() + Duration::from_secs(wait).min(POLL_WAIT_MAX);
    loop {
        let open = room.core.offers(tenant, device).await?;
        let offers: Vec<body::Offer> = open
            .iter()
            .filter(|open| !open.shown_by(device))
            .filter(|open| key.is_none_or(|key| open.terms.request_key == key))
            .map(|open| answer::offer(open))
            .collect();
        if !offers.is_empty() {
            return Ok(Json(body::Offers { offers }));
        }
        tokio::select! {
            note = timeout(room.core.now().until(until), line.next()) => match note {
                Ok(Some(Note::Offer(_) | Note::Ended(_) | Note::Replaced)) => {}
                Ok(Some(Note::Locked)) => return Err(Code::Locked.into()),
                Ok(None) | Err(_) => return Ok(Json(body::Offers { offers })),
            },
            () = room.tasks.begun() => return Err(Code::Unavailable.into()),
        }
    }
}

/// `POST /device/v1/transactions/{id}/take`
pub(super) async fn take(
    State(devices): State<Devices>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<body::Taken> {
    let (proved, take) = named::<body::Take>(&devices, &id, request).await?;
    devices.take(&proved, &take).await.map(Json)
}

/// `POST /device/v1/transactions/{id}/finish`
pub(super) async fn finish(
    State(devices): State<Devices>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<body::Ended> {
    let (proved, finish) = named::<body::Finish>(&devices, &id, request).await?;
    devices.finish(&proved, &finish).await.map(|ended| Json(answer::ended(&ended)))
}

/// `POST /device/v1/transactions/{id}/decline`
pub(super) async fn decline(
    State(devices): State<Devices>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<body::Ended> {
    let (proved, decline) = named::<body::Decline>(&devices, &id, request).await?;
    devices.decline(&proved, &decline).await.map(|ended| Json(answer::ended(&ended)))
}

/// `POST /device/v1/transactions/{id}/fail`
pub(super) async fn fail(
    State(devices): State<Devices>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<body::Ended> {
    let (proved, fail) = named::<body::Fail>(&devices, &id, request).await?;
    devices.fail(&proved, fail).await.map(|ended| Json(answer::ended(&ended)))
}

/// What device calls say of the transaction that they are about.
trait Named: DeserializeOwned {
    fn id(&self) -> countersign_wire::id::TransactionId;
}

macro_rules! named {
    ($($body:ident),*) => {$(
        impl Named for body::$body {
            fn id(&self) -> countersign_wire::id::TransactionId {
                self.id
            }
        }
    )*};
}
named!(Take, Finish, Decline, Fail);

/// Who calls, and a body that names the transaction of the path.
async fn named<T: Named>(
    devices: &Devices,
    id: &str,
    request: Request,
) -> Result<(Proved, T), Refused> {
    let proved = devices.prove(request).await?;
    let body: T = read(&proved.body)?;
    let path = countersign_wire::id::TransactionId::from_str(id).map_err(|_| Code::NotFound)?;
    if body.id() != path {
        return Err(Code::BadRequest.into());
    }
    Ok((proved, body))
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|_| Code::BadRequest.into())
}

fn core_id(id: countersign_wire::id::TransactionId) -> TransactionId {
    TransactionId(u128::from_be_bytes(id.0))
}

/// The four steps, the same over HTTP and on the channel.
impl Devices {
    pub(super) async fn take(
        &self,
        who: &Proved,
        take: &body::Take,
    ) -> Result<body::Taken, Refused> {
        let proof = take.pin_proof.as_ref().map(body::PinProof::as_str);
        let core = &self.0.core;
        let taken = core.take(&who.tenant, who.device, core_id(take.id), proof).await?;
        Ok(answer::taken(&taken, &who.name))
    }

    pub(super) async fn finish(
        &self,
        who: &Proved,
        finish: &body::Finish,
    ) -> Result<Arc<Transaction>, Refused> {
        let submission = answer::submission(&finish.signature)?;
        let id = core_id(finish.id);
        let Room { core, witness, .. } = &*self.0;
        witness.hear(core, &who.tenant, id, &submission).await?;
        Ok(core.finish(&who.tenant, who.device, id, &submission).await?)
    }

    pub(super) async fn decline(
        &self,
        who: &Proved,
        decline: &body::Decline,
    ) -> Result<Arc<Transaction>, Refused> {
        let reason = match decline.reason {
            DeclineReason::User => Decline::User,
            DeclineReason::NotMe => Decline::NotMe,
        };
        let id = core_id(decline.id);
        Ok(self.0.core.decline(&who.tenant, who.device, id, reason).await?)
    }

    pub(super) async fn fail(
        &self,
        who: &Proved,
        fail: body::Fail,
    ) -> Result<Arc<Transaction>, Refused> {
        let id = core_id(fail.id);
        Ok(self.0.core.fail(&who.tenant, who.device, id, fail.reason).await?)
    }
}
