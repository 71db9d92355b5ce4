//! Whether a signature is one: by an identity that may sign this transaction, in a form that its terms
//! accept, over exactly what was shown.

use std::sync::Arc;

use countersign_proof::raw::{Algorithm, Subject};
use countersign_proof::{BadProof, Expected, Proof, Signer, cms, ocra, raw};

use super::Engine;
use super::answer::Submission;
use super::scene::Scene;
use crate::device::Identity;
use crate::id::IdentityId;
use crate::port::{Chance, Clock, Doorbell, Ledger, Registry};
use crate::refusal::{Error, Refusal};
use crate::terms::{Form, Forms, MediaType, RawTerms};

impl<S: Ledger + Registry, D: Doorbell, W: Clock + Chance> Engine<S, D, W> {
    /// Verifies a signature over this transaction by this device. `None` for a code that is wrong.
    pub(super) async fn verify(
        &self,
        scene: &Scene,
        submission: &Submission<'_>,
    ) -> Result<Option<Proof>, Error> {
        let terms = &scene.transaction.value.terms;
        let device = &scene.device.value;
        match (submission.form, &terms.forms) {
            (Form::Code, Forms::CodeOrCms(digits)) => {
                let content = &terms.content;
                let verified = ocra::verify(
                    device.code_key.expose(),
                    digits.count(),
                    terms.id.bytes(),
                    content.media_type.as_str(),
                    &content.bytes,
                    submission.value,
                );
                Ok(verified.expect("digits are as many as a code may have"))
            }
            (Form::Cms, Forms::Cms | Forms::CodeOrCms(_)) => {
                let expected = Expected {
                    transaction: terms.id.bytes(),
                    content: &terms.content.bytes,
                    media_type: terms.content.media_type.as_str(),
                };
                let verify = |signer: &Signer| {
                    cms::verify(submission.value, &expected, signer, scene.now.seconds())
                };
                self.verify_by_one(scene, submission.identity, verify).await.map(Some)
            }
            (Form::Raw, Forms::Raw(wanted)) => {
                let verify = |signer: &Signer| verify_raw(scene, wanted, submission, signer);
                self.verify_by_one(scene, submission.identity, verify).await.map(Some)
            }
            (Form::Code, Forms::Cms | Forms::Raw(_))
            | (Form::Cms, Forms::Raw(_))
            | (Form::Raw, Forms::Cms | Forms::CodeOrCms(_)) => Err(Refusal::OtherForm.into()),
        }
    }

    /// Verifies a signature by the identity that is named, or by any that may sign this.
    async fn verify_by_one(
        &self,
        scene: &Scene,
        named: Option<IdentityId>,
        verify: impl Fn(&Signer) -> Result<Proof, BadProof> + Send + Sync,
    ) -> Result<Proof, Error> {
        let terms = &scene.transaction.value.terms;
        let mut refused = Refusal::UnfitIdentity;
        for identity in scene.device.value.fit(terms.purpose(), &terms.selectors) {
            if named.is_some_and(|named| named != identity.id) {
                continue;
            }
            match self.signer(scene, identity).await {
                Ok(signer) => match verify(&signer) {
                    Ok(proof) => return Ok(proof),
                    Err(bad) => refused = bad.into(),
                },
                Err(Error::Refused(refusal)) => refused = refusal,
                Err(failed) => return Err(failed),
            }
        }
        Err(refused.into())
    }

    /// The signer that an identity is, if its certificate is good now.
    async fn signer(&self, scene: &Scene, identity: &Identity) -> Result<Arc<Signer>, Error> {
        let tenant = &scene.transaction.value.terms.tenant;
        if let Some(signer) = self.signers.known(tenant, identity, scene.now) {
            return Ok(signer);
        }
        let tenant = self.store.tenant(tenant).await?.ok_or(Refusal::Unknown)?;
        Ok(self.signers.learn(&tenant, identity, scene.now)?)
    }
}

/// Verifies a raw signature over what the terms say, or over the digest that the device reports where
/// they do not say it.
fn verify_raw(
    scene: &Scene,
    wanted: &RawTerms,
    submission: &Submission<'_>,
    signer: &Signer,
) -> Result<Proof, BadProof> {
    let terms = &scene.transaction.value.terms;
    let algorithm = match submission.algorithm {
        Some(named) => named,
        None => preferred(scene, wanted, signer)?,
    };
    if !wanted.hashes(scene.device.value.id).any(|hash| hash == algorithm.hash()) {
        return Err(BadProof::DigestAlgorithm);
    }
    if signer.rsa_bits().is_some_and(|bits| bits < usize::from(wanted.rsa_bits_min)) {
        return Err(BadProof::Key);
    }
    let bytes = terms.content.bytes.as_slice();
    let subject = match (terms.content.media_type, submission.digest) {
        (MediaType::Digest, reported) if bytes.is_empty() => {
            Subject::Digest(reported.ok_or(BadProof::DigestLength)?)
        }
        // A device that says what it signed has signed what was asked, or is refused.
        (_, Some(reported)) if reported != bytes => return Err(BadProof::OtherContent),
        (MediaType::Digest, _) => Subject::Digest(bytes),
        _ => Subject::Text(str::from_utf8(bytes).map_err(|_| BadProof::OtherMediaType)?),
    };
    let (id, now) = (terms.id.bytes(), scene.now.seconds());
    raw::verify(submission.value, algorithm, subject, id, signer, now)
}

/// What a signature is made with that names nothing: the scheme of its key, with the hash that this device is
/// to prefer.
fn preferred(scene: &Scene, wanted: &RawTerms, signer: &Signer) -> Result<Algorithm, BadProof> {
    let hash = wanted.hashes(scene.device.value.id).next().ok_or(BadProof::DigestAlgorithm)?;
    let scheme = if signer.rsa_bits().is_some() { Algorithm::RsaPkcs1 } else { Algorithm::Ecdsa };
    Ok(scheme(hash))
}
