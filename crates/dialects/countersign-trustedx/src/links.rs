//! The links of a process: finish, fail and cancel. A device that matches its selectors ends it
//! with them.
//!
//! They also end transactions of other dialects: a device that is offered one may answer here.

pub mod body;

use std::sync::Arc;

use axum::extract::Request;
use axum::extract::{Path, State};
use axum::response::Response;
use countersign_core::device::Device;
use countersign_core::engine::{FinishMode, RawSubmission, Submission};
use countersign_core::id::TransactionId;
use countersign_core::port::Handle;
use countersign_core::refusal::{DeviceError, DeviceRefusal};
use countersign_core::spec::{Dialect, SignatureFormat};
use countersign_core::transaction::{Decline, Transaction};
use countersign_proof::BadProof;
use http::StatusCode;

use self::body::{Finish, words};
use super::context::TrustedX;
use super::problem::ProcessError;
use super::process::is_process;
use super::render::{SignerView, json};
use countersign_channel::AuthenticatedDevice;

/// `PUT …/signatures/{id}/finish`
pub(super) async fn finish(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ProcessError> {
    let who = trustedx.device(request).await?;
    let id: TransactionId = id.parse().map_err(|_| ProcessError::Gone)?;
    let finish = Finish::parse(&who.body)?;
    let core = &trustedx.authenticator.core;
    // A transaction of KOBIL's or OneSpan's dialect accepts a CMS, which contains its algorithm.
    let found = core.read().transaction(&who.tenant, &Handle::Id(id)).await?;
    let accepts_raw =
        found.is_none_or(|found| found.value.spec.formats.accept(SignatureFormat::Raw));
    let (value, identity) = (&finish.value, finish.identity);
    let submission = match finish.algorithm {
        Some(algorithm) if accepts_raw => {
            let digest = finish.digest.as_deref();
            Submission::Raw(RawSubmission { signature: value, identity, algorithm, digest })
        }
        _ => Submission::Cms { message: value, identity },
    };
    trustedx.devices.digest_url().check(core, &who.tenant, id, &submission).await?;
    let at_once = FinishMode::AtOnce;
    let finished = match core.finish(at_once, &who.tenant, who.device, id, &submission).await {
        Err(DeviceError::Refused(DeviceRefusal::OtherForm)) if finish.algorithm.is_none() => {
            Err(DeviceRefusal::BadProof(BadProof::SignatureAlgorithm).into())
        }
        finished => finished,
    };
    let finished = finished.map(|done| (done.transaction, Some(done.device)));
    trustedx.answered(&who, id, finished).await
}

/// `PUT …/signatures/{id}/fail`
pub(super) async fn fail(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ProcessError> {
    let who = trustedx.device(request).await?;
    let id = id.parse().map_err(|_| ProcessError::Gone)?;
    let words = words(&who.body)?;
    let failed = trustedx.authenticator.core.fail(&who.tenant, who.device, id, words).await;
    trustedx.answered(&who, id, failed.map(|failed| (failed, None))).await
}

/// `PUT …/signatures/{id}/cancel`
pub(super) async fn cancel(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ProcessError> {
    let who = trustedx.device(request).await?;
    let id = id.parse().map_err(|_| ProcessError::Gone)?;
    let words = words(&who.body)?;
    let core = &trustedx.authenticator.core;
    let cancelled = core.decline(&who.tenant, who.device, id, Decline::User, words).await;
    trustedx.answered(&who, id, cancelled.map(|cancelled| (cancelled, None))).await
}

impl TrustedX {
    /// The process after a device's answer, with the device as the signer if it signed. A process
    /// that its application has deleted is unknown.
    async fn answered(
        &self,
        who: &AuthenticatedDevice,
        id: TransactionId,
        ended: Result<(Arc<Transaction>, Option<Device>), DeviceError>,
    ) -> Result<Response, ProcessError> {
        match ended {
            Ok((ended, signer)) => self.ended(who, &ended, signer.as_ref()),
            Err(DeviceError::Refused(DeviceRefusal::Ended(outcome))) => {
                let read = self.authenticator.core.read();
                let found = read.transaction(&who.tenant, &Handle::Id(id)).await?;
                Err(if found.is_none_or(|found| found.value.discarded) {
                    ProcessError::Gone
                } else {
                    DeviceRefusal::Ended(outcome).into()
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A process that a device has ended.
    fn ended(
        &self,
        who: &AuthenticatedDevice,
        transaction: &Transaction,
        signer: Option<&Device>,
    ) -> Result<Response, ProcessError> {
        let is_ours = transaction.spec.dialect == Dialect::TrustedX;
        if transaction.discarded || (is_ours && !is_process(transaction)) {
            return Err(ProcessError::Gone);
        }
        let signer = SignerView::of(transaction, signer);
        // The content of another dialect's transaction is shown only to the device that took it
        // there.
        let shows_data = is_ours || transaction.taken_by(who.device);
        Ok(json(StatusCode::OK, &self.rules.resource(transaction, signer.as_ref(), shows_data)))
    }
}
