//! Reading a row of a transaction.

use std::sync::Arc;

use countersign_core::id::{RequestKey, TenantName, TransactionId};
use countersign_core::port::Versioned;
use countersign_core::spec::{Content, Dialect, Recipients, Reference, TransactionSpec};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Decline, End, State, Take, TakeOrigin, Timeout, Transaction};
use countersign_core::user::Factor;

use super::{OriginBody, TakeBody};
use crate::sql::column::Columns;
use crate::sql::error::StoreError;
use crate::sql::spec::{Digest, SpecBody};
use crate::sql::value::Cells;
use crate::sql::{device, proof};

/// Reads a row of that table, with the columns [`COLUMNS`](super::COLUMNS).
pub(crate) fn read(row: Cells, table: &'static str) -> Result<Versioned<Transaction>, StoreError> {
    let mut columns = Columns::of(table, 2, row);
    let tenant = columns.text("tenant")?;
    let id = TransactionId(columns.id("id")?);
    let version = columns.next("version")?;
    let (state, takes) = read_life(&mut columns, id)?;
    let discarded = columns.next("discarded")?;
    let spec = Arc::new(read_terms(&mut columns, tenant, id)?);
    Ok(Versioned { value: Transaction { spec, takes, state, discarded }, version })
}

fn read_life(columns: &mut Columns, id: TransactionId) -> Result<(State, Vec<Take>), StoreError> {
    let state: String = columns.next("state")?;
    let reached: bool = columns.next("reached")?;
    let due_at = columns.moment_or_none("due_at")?;
    let takes: Vec<TakeBody> = columns.json("takes")?;
    let takes: Result<_, _> = takes
        .into_iter()
        .map(|TakeBody { device, at, origin }| {
            let origin = match origin {
                None => TakeOrigin::Device,
                Some(OriginBody::Gateway) => TakeOrigin::Gateway,
            };
            Ok(Take { device: device.try_into()?, at: Timestamp(at), origin })
        })
        .collect();
    let takes =
        takes.map_err(|error: countersign_core::id::BadName| columns.corrupt("takes", error))?;
    let ended_at = columns.moment_or_none("ended_at")?;
    let by = device::id_or_none(columns, "ended_by")?;
    let reason: Option<String> = columns.next("end_reason")?;
    let proof = proof::read(columns, id)?;
    let Some(at) = ended_at else {
        return match (state.as_str(), due_at) {
            ("waiting", Some(_)) => Ok((State::Waiting { reached }, takes)),
            ("taken", Some(deadline)) => Ok((State::Taken { deadline }, takes)),
            _ => Err(columns.corrupt("state", format!("{state:?} does not fit its columns"))),
        };
    };
    let end = match (state.as_str(), by, reason.as_deref(), proof) {
        ("finished", Some(by), None, Some((proof, identity))) => {
            End::Finished { by, proof, identity }
        }
        ("declined", Some(by), Some(why), None) => match read_decline(why) {
            Some((reason, words)) => End::Declined { by, reason, words: words.into() },
            None => return Err(columns.corrupt("end_reason", "no such reason to decline")),
        },
        ("failed", Some(by), Some(reason), None) => End::Failed { by, reason: reason.into() },
        ("expired", None, Some("go_online"), None) => End::Expired(Timeout::GoOnline),
        ("expired", None, Some("sign"), None) => End::Expired(Timeout::Sign),
        ("cancelled", None, None, None) => End::Cancelled,
        ("locked", Some(by), None | Some("pin"), None) => End::Locked { by, factor: Factor::Pin },
        ("locked", Some(by), Some("code"), None) => End::Locked { by, factor: Factor::Code },
        _ => return Err(columns.corrupt("state", format!("{state:?} does not fit its columns"))),
    };
    Ok((State::Ended { at, end }, takes))
}

fn read_terms(
    columns: &mut Columns,
    tenant: TenantName,
    id: TransactionId,
) -> Result<TransactionSpec, StoreError> {
    let dialect = columns.one_of("dialect", Dialect::ALL, Dialect::as_str)?;
    let client = columns.text("client")?;
    let user = columns.text("user")?;
    let key = columns.number("request_key")?;
    let request_key =
        RequestKey::try_from(key).map_err(|error| columns.corrupt("request_key", error))?;
    let reference: Option<String> = columns.next("reference")?;
    let device = device::id_or_none(columns, "device")?;
    let started_at = columns.moment("started_at")?;
    let mut body: SpecBody = columns.json("body")?;
    // Evidence has no content if the signature contains it.
    let bytes = columns.next::<Option<Vec<u8>>>("content")?.unwrap_or_default();
    let reference = match (reference, body.request.take()) {
        (None, None) => None,
        (Some(name), Some(Digest(request))) => Some(Reference { name, request }),
        _ => return Err(columns.corrupt("reference", "a reference has a name and a request")),
    };
    Ok(TransactionSpec {
        id,
        tenant,
        dialect,
        client,
        user,
        request_key,
        reference,
        recipients: match (device, body.devices()) {
            (Some(device), _) => Recipients::Device(device),
            (None, Some(devices)) => Recipients::Devices(devices),
            (None, None) => Recipients::Any,
        },
        selectors: body.selectors(),
        content: Content { media_type: body.media_type(), bytes },
        document: body.document(),
        operation: body.operation(),
        formats: body.formats(),
        pin_required: body.pin_required,
        once: body.once,
        announced: body.announced(),
        sealed_for: body.sealed_for(),
        online: body.online,
        present: body.present().map_err(|error| columns.corrupt("body", error))?,
        started_at,
        clocks: body.clocks(),
        callback: body.callback(),
        client_name: body.client_name,
        notice: body.notice,
        request: body.dialect_request,
    })
}

fn read_decline(column: &str) -> Option<(Decline, &str)> {
    let (why, words) = column.split_once(':').unwrap_or((column, ""));
    match why {
        "user" => Some((Decline::User, words)),
        "not_me" => Some((Decline::NotMe, words)),
        _ => None,
    }
}
