//! Verification of a signature: by an identity that may sign this transaction, in a format that its
//! terms accept, over exactly the content that was shown.

use std::sync::Arc;

use countersign_proof::raw::Subject;
use countersign_proof::{BadProof, Expected, Proof, Roots, Signer, cms, ocra, raw};

use super::Engine;
use super::answer::{RawSubmission, Submission};
use super::context::StepContext;
use crate::device::Identity;
use crate::id::IdentityId;
use crate::port::{Clock, Entropy, Ledger, Notifier};
use crate::refusal::{DeviceError, DeviceRefusal, Error};
use crate::spec::{AcceptedFormats, MediaType, RawTerms};

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Verifies a signature over this transaction by this device. `None` for a wrong code.
    pub(super) async fn verify(
        &self,
        context: &StepContext,
        submission: &Submission<'_>,
    ) -> Result<Option<Proof>, DeviceError> {
        let spec = &context.transaction.value.spec;
        let device = &context.device.value;
        match (submission, &spec.formats) {
            (Submission::Code { digits: code }, AcceptedFormats::CodeOrCms(digits)) => {
                let content = &spec.content;
                let verified = ocra::verify(
                    device.code_key.expose(),
                    digits.count(),
                    spec.id.bytes(),
                    content.media_type.as_str(),
                    &content.bytes,
                    code,
                );
                Ok(verified.expect("digits are as many as a code may have"))
            }
            (
                Submission::Cms { message, identity },
                AcceptedFormats::Cms | AcceptedFormats::CodeOrCms(_),
            ) => {
                let expected = Expected {
                    transaction: spec.id.bytes(),
                    content: &spec.content.bytes,
                    media_type: spec.content.media_type.as_str(),
                };
                let verify = |signer: &Signer| {
                    cms::verify(message, &expected, signer, context.now.seconds())
                };
                self.verify_by_one(context, *identity, verify).await.map(Some)
            }
            (Submission::Raw(raw), AcceptedFormats::Raw(wanted)) => {
                let verify = |signer: &Signer| verify_raw(context, wanted, raw, signer);
                self.verify_by_one(context, raw.identity, verify).await.map(Some)
            }
            (Submission::Code { .. }, AcceptedFormats::Cms | AcceptedFormats::Raw(_))
            | (Submission::Cms { .. }, AcceptedFormats::Raw(_))
            | (Submission::Raw(_), AcceptedFormats::Cms | AcceptedFormats::CodeOrCms(_)) => {
                Err(DeviceRefusal::OtherForm.into())
            }
        }
    }

    /// Verifies a signature by the named identity, or by any identity that may sign this
    /// transaction.
    async fn verify_by_one(
        &self,
        context: &StepContext,
        named: Option<IdentityId>,
        verify: impl Fn(&Signer) -> Result<Proof, BadProof> + Send + Sync,
    ) -> Result<Proof, DeviceError> {
        let spec = &context.transaction.value.spec;
        let mut refused = DeviceRefusal::UnfitIdentity;
        for identity in context.device.value.enabled(spec.usage(), &spec.selectors) {
            if named.is_some_and(|named| named != identity.id) {
                continue;
            }
            match self.signer(context, identity).await {
                Ok(signer) => match verify(&signer) {
                    Ok(proof) => return Ok(proof),
                    Err(bad) => refused = bad.into(),
                },
                Err(Error::Refused(refusal)) => refused = refusal,
                Err(failed) => return Err(failed),
            }
            // The device may have signed just before its certificate was renewed.
            if let Some(signer) = self.signer_before(context, identity).await?
                && let Ok(proof) = verify(&signer)
            {
                return Ok(proof);
            }
        }
        Err(refused.into())
    }

    /// The signer of an identity, if its certificate is valid now.
    async fn signer(
        &self,
        context: &StepContext,
        identity: &Identity,
    ) -> Result<Arc<Signer>, DeviceError> {
        let tenant = &context.transaction.value.spec.tenant;
        // Read each time, because another process may have taken a root back.
        let tenant = self.store.read().tenant(tenant).await?.ok_or(DeviceRefusal::Unknown)?;
        if let Some(signer) = self.signers.known(&tenant, identity, context.now) {
            return Ok(signer);
        }
        let signer = self.signers.learn(&tenant, identity, context.now);
        Ok(signer.map_err(DeviceRefusal::from)?)
    }
}

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// The signer of an identity by its certificate before the last renewal, if that is valid now.
    async fn signer_before(
        &self,
        context: &StepContext,
        identity: &Identity,
    ) -> Result<Option<Signer>, DeviceError> {
        let Some(before) = &identity.renewal else { return Ok(None) };
        let tenant = &context.transaction.value.spec.tenant;
        let tenant = self.store.read().tenant(tenant).await?.ok_or(DeviceRefusal::Unknown)?;
        let roots = Roots::new(tenant.roots.iter().map(Vec::as_slice));
        let roots = roots.map_err(DeviceRefusal::from)?;
        Ok(Signer::new(&before.certificate, &before.chain, &roots, context.now.seconds()).ok())
    }
}

/// Verifies a raw signature over the bytes in the terms, or over the digest that the device reports
/// if the terms have none.
fn verify_raw(
    context: &StepContext,
    wanted: &RawTerms,
    submission: &RawSubmission<'_>,
    signer: &Signer,
) -> Result<Proof, BadProof> {
    let spec = &context.transaction.value.spec;
    let algorithm = submission.algorithm;
    if !wanted.hashes(context.device.value.id).any(|hash| hash == algorithm.hash()) {
        return Err(BadProof::DigestAlgorithm);
    }
    if signer.rsa_bits().is_some_and(|bits| bits < usize::from(wanted.rsa_bits_min)) {
        return Err(BadProof::Key);
    }
    let bytes = spec.content.bytes.as_slice();
    let subject = match (spec.content.media_type, submission.digest) {
        (MediaType::Digest, reported) if bytes.is_empty() => {
            Subject::Digest(reported.ok_or(BadProof::DigestLength)?)
        }
        // Refuse a reported value that differs from the requested one.
        (_, Some(reported)) if reported != bytes => return Err(BadProof::OtherContent),
        (MediaType::Digest, _) => Subject::Digest(bytes),
        _ => Subject::Text(str::from_utf8(bytes).map_err(|_| BadProof::OtherMediaType)?),
    };
    let (id, now) = (spec.id.bytes(), context.now.seconds());
    raw::verify(submission.signature, algorithm, subject, id, signer, now)
}
