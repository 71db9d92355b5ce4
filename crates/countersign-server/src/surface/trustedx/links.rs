//! The links of a process, by which a device that its selectors match ends it: finish, fail, cancel.
//!
//! They end what other surfaces started as well: a device that is offered it may answer here.

use std::sync::Arc;

use axum::extract::Request;
use axum::extract::{Path, State};
use axum::response::Response;
use base64::Engine as _;
use countersign_core::device::Device;
use countersign_core::engine::{Manner, Submission};
use countersign_core::id::{IdentityId, TransactionId};
use countersign_core::limits::{REASON_BYTES_MAX, SIGNATURE_BYTES_MAX};
use countersign_core::port::Handle;
use countersign_core::terms::{Form, Surface};
use countersign_core::transaction::{Decline, Transaction};
use countersign_core::{Error, Refusal};
use countersign_proof::BadProof;
use countersign_proof::raw::Algorithm;
use http::StatusCode;
use serde::Deserialize;

use super::body::BASE64;
use super::problem::Problem;
use super::process::is_process;
use super::render::{Signer, json};
use super::routes::TrustedX;
use crate::channel::Proved;
use crate::surface::field::{BadBody, Member, bad, object, optional, required};

#[derive(Deserialize)]
struct FinishFields {
    value: Member,
    signature_algorithm: Member,
    sign_identity: Member,
    digest_value: Member,
}

#[derive(Deserialize)]
struct IdentityFields {
    id: Member,
}

#[derive(Deserialize)]
struct Words {
    value: Member,
}

/// A signature, as a device hands it in.
#[derive(Debug)]
struct Finish {
    value: Vec<u8>,
    algorithm: Option<Algorithm>,
    identity: Option<IdentityId>,
    digest: Option<Vec<u8>>,
}

/// `PUT …/signatures/{id}/finish`
pub(super) async fn finish(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let who = trustedx.device(request).await?;
    let id: TransactionId = id.parse().map_err(|_| Problem::Gone)?;
    let finish = Finish::parse(&who.body)?;
    let core = &trustedx.gate.core;
    let at_once = async |form| {
        let submission = Submission {
            form,
            value: &finish.value,
            identity: finish.identity,
            algorithm: finish.algorithm,
            digest: finish.digest.as_deref(),
        };
        trustedx.devices.witness().hear(core, &who.tenant, id, &submission).await?;
        core.finish_in(Manner::AtOnce, &who.tenant, who.device, id, &submission).await
    };
    // What KOBIL's call or OneSpan's started accepts a CMS, which says itself what it was made with.
    let finished = match finish.algorithm {
        Some(_) => match at_once(Form::Raw).await {
            Err(Error::Refused(Refusal::OtherForm)) => at_once(Form::Cms).await,
            finished => finished,
        },
        None => match at_once(Form::Cms).await {
            Err(Error::Refused(Refusal::OtherForm)) => {
                Err(Refusal::BadProof(BadProof::SignatureAlgorithm).into())
            }
            finished => finished,
        },
    };
    let finished = finished.map(|done| (done.transaction, Some(done.device)));
    trustedx.answered(&who, id, finished).await
}

/// `PUT …/signatures/{id}/fail`
pub(super) async fn fail(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let who = trustedx.device(request).await?;
    let id = id.parse().map_err(|_| Problem::Gone)?;
    let words = words(&who.body)?;
    let failed = trustedx.gate.core.fail(&who.tenant, who.device, id, words).await;
    trustedx.answered(&who, id, failed.map(|failed| (failed, None))).await
}

/// `PUT …/signatures/{id}/cancel`
pub(super) async fn cancel(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let who = trustedx.device(request).await?;
    let id = id.parse().map_err(|_| Problem::Gone)?;
    let words = words(&who.body)?;
    let core = &trustedx.gate.core;
    let cancelled = core.decline_saying(&who.tenant, who.device, id, Decline::User, words).await;
    trustedx.answered(&who, id, cancelled.map(|cancelled| (cancelled, None))).await
}

impl TrustedX {
    /// What a device is told of its answer, by which it is the signer, if it is. One that its application has
    /// deleted is known no more.
    async fn answered(
        &self,
        who: &Proved,
        id: TransactionId,
        ended: Result<(Arc<Transaction>, Option<Device>), Error>,
    ) -> Result<Response, Problem> {
        match ended {
            Ok((ended, signer)) => self.ended(who, &ended, signer),
            Err(Error::Refused(Refusal::Ended(outcome))) => {
                let found = self.gate.core.transaction(&who.tenant, &Handle::Id(id)).await?;
                Err(if found.discarded { Problem::Gone } else { Refusal::Ended(outcome).into() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A process that a device has ended.
    fn ended(
        &self,
        who: &Proved,
        transaction: &Transaction,
        signer: Option<Device>,
    ) -> Result<Response, Problem> {
        let is_ours = transaction.terms.surface == Surface::TrustedX;
        if is_ours && !is_process(transaction) {
            return Err(Problem::Gone);
        }
        let signer = Signer::of(transaction, signer);
        // What another surface asks for is shown to those only who took it there.
        let shows_data = is_ours || transaction.taken_by(who.device);
        Ok(json(StatusCode::OK, &self.rules.resource(transaction, signer.as_ref(), shows_data)))
    }
}

impl Finish {
    fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let FinishFields { value, signature_algorithm, sign_identity, digest_value } =
            object(body)?;
        let value: String = required(value, "value", "base64")?;
        let value = match BASE64.decode(value) {
            Ok(value) if (1..=SIGNATURE_BYTES_MAX).contains(&value.len()) => value,
            _ => return bad("value", &format!("base64 of 1 to {SIGNATURE_BYTES_MAX} bytes")),
        };
        let all = Algorithm::ALL.map(Algorithm::as_str).join(", ");
        let named: Option<String> = optional(signature_algorithm, "signature_algorithm", &all)?;
        let algorithm = named.map(|name| name.parse::<Algorithm>()).transpose();
        let Ok(algorithm) = algorithm else { return bad("signature_algorithm", &all) };
        let digest: Option<String> = optional(digest_value, "digest_value", "base64")?;
        let digest = digest.map(|text| BASE64.decode(text)).transpose();
        let Ok(digest) = digest else { return bad("digest_value", "base64") };
        Ok(Self { value, algorithm, identity: identity(sign_identity)?, digest })
    }
}

/// The identity that signed, where it is named.
fn identity(raw: Member) -> Result<Option<IdentityId>, BadBody> {
    const FIELD: &str = "sign_identity";
    let what = "an object with an id";
    let Some(raw) = raw else { return Ok(None) };
    let fields: IdentityFields = match serde_json::from_str(raw.get()) {
        Ok(fields) if raw.get().starts_with('{') => fields,
        _ => return bad(FIELD, what),
    };
    let id: String = required(fields.id, "sign_identity.id", "an identity's id")?;
    match id.parse() {
        Ok(id) => Ok(Some(id)),
        Err(_) => bad("sign_identity.id", "an identity's id"),
    }
}

/// What a device says to an end that is no signature: `{"value"}`, a plain text, or nothing. More than is
/// kept is cut off, since it matters more that it ends.
fn words(body: &[u8]) -> Result<String, BadBody> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let said = if text.starts_with('{') {
        let Words { value } = object(body)?;
        optional(value, "value", "a string")?.unwrap_or_default()
    } else {
        text.to_owned()
    };
    let mut end = said.len().min(REASON_BYTES_MAX);
    while !said.is_char_boundary(end) {
        end -= 1;
    }
    Ok(said[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_as_json_as_text_or_not_at_all() {
        for (body, said) in [
            ("", ""),
            (" no thanks\n", "no thanks"),
            (r#"{"value":"no thanks"}"#, "no thanks"),
            ("{}", ""),
            (r#"{"value":null}"#, ""),
            (r#""quoted""#, r#""quoted""#),
        ] {
            assert_eq!(words(body.as_bytes()), Ok(said.to_owned()), "{body}");
        }
        assert!(words(b"{").is_err() && words(br#"{"value":1}"#).is_err());
        let long = "€".repeat(REASON_BYTES_MAX);
        let kept = words(long.as_bytes()).unwrap();
        assert!(kept.len() <= REASON_BYTES_MAX && kept.len() > REASON_BYTES_MAX - 3);
    }

    #[test]
    fn a_finish_is_base64_by_a_known_algorithm() {
        let parse = |body: &str| Finish::parse(body.as_bytes());
        let whole = r#"{"value":"AQID","signature_algorithm":"ecdsa-sha256",
            "sign_identity":{"id":"000102030405060708090a0b0c0d0e0f"},"digest_value":"AAE="}"#;
        let read = parse(whole).unwrap();
        assert_eq!((read.value, read.digest), (vec![1, 2, 3], Some(vec![0, 1])));
        for (body, member) in [
            ("{}", "value"),
            (r#"{"value":""}"#, "value"),
            (r#"{"value":"?"}"#, "value"),
            (r#"{"value":"AQID","signature_algorithm":"ecdsa-md5"}"#, "signature_algorithm"),
            (r#"{"value":"AQID","sign_identity":"x"}"#, "sign_identity"),
            (r#"{"value":"AQID","sign_identity":{"id":"x"}}"#, "sign_identity.id"),
            (r#"{"value":"AQID","digest_value":"?"}"#, "digest_value"),
        ] {
            let BadBody(sentence) = parse(body).unwrap_err();
            assert!(sentence.starts_with(member), "{sentence}");
        }
    }
}
