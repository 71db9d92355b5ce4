//! The columns of a proof: the signer, the signed content, the signature, and the further data of a
//! raw signature, with the identity that made it.

use countersign_core::device::Usage;
use countersign_core::id::TransactionId;
use countersign_core::transaction::IdentitySnapshot;
use countersign_proof::{Proof, Raw};
use serde::{Deserialize, Serialize};

use super::column::{Base64, Columns, json};
use super::device::{AboutBody, PurposeBody};
use super::error::StoreError;

/// Column `proof_signer`: empty for a code, which has no certificate.
pub(crate) fn signer(proof: &Proof) -> Vec<u8> {
    proof.signer().map(Vec::from).unwrap_or_default()
}

/// A proof, with the identity of a raw signature.
type ProofRow = (Proof, Option<Box<IdentitySnapshot>>);

/// Reads the next columns: a proof, or NULL.
pub(crate) fn read(
    columns: &mut Columns,
    id: TransactionId,
) -> Result<Option<ProofRow>, StoreError> {
    let content_digest: Option<[u8; 32]> = columns.next("proof_content")?;
    let signer: Option<Vec<u8>> = columns.next("proof_signer")?;
    let signer = signer.map(|digest| match <[u8; 32]>::try_from(digest.as_slice()) {
        Ok(digest) => Ok(Some(digest)),
        Err(_) if digest.is_empty() => Ok(None),
        Err(error) => Err(columns.corrupt("proof_signer", error)),
    });
    let signer = signer.transpose()?;
    let evidence: Option<Vec<u8>> = columns.next("evidence")?;
    let raw: Option<String> = columns.next("raw")?;
    let raw = raw.map(|raw| RawBody::read(&raw)).transpose();
    let raw = raw.map_err(|error| columns.corrupt("raw", error))?;
    let Some(((content, signer), evidence)) = content_digest.zip(signer).zip(evidence) else {
        return Ok(None);
    };
    match (raw, signer) {
        (None, signer) => Ok(Some((Proof::recorded(id.bytes(), content, signer, evidence), None))),
        (Some((raw, identity)), Some(signer)) => {
            let proof = Proof::recorded_raw(id.bytes(), content, signer, evidence, raw);
            Ok(Some((proof, identity)))
        }
        (Some(_), None) => Err(columns.corrupt("raw", "a raw signature has a signer")),
    }
}

/// The further data of a raw signature, and the identity that made it.
type RawRow = (Raw, Option<Box<IdentitySnapshot>>);

/// Column `raw`, as JSON.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawBody {
    algorithm: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Base64>,
    certificate: Base64,
    chain: Vec<Base64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<SnapshotBody>,
}

/// The identity that made the signature, as it was then.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SnapshotBody {
    id: String,
    usage: PurposeBody,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    status_reason: String,
    about: AboutBody,
}

impl SnapshotBody {
    fn of(identity: &IdentitySnapshot) -> Self {
        Self {
            id: identity.id.to_string(),
            usage: PurposeBody::of(identity.usage),
            labels: identity.labels.clone(),
            status_reason: identity.status_reason.clone(),
            about: AboutBody::of(&identity.about),
        }
    }

    fn into_snapshot(self) -> Result<IdentitySnapshot, Box<dyn core::error::Error + Send + Sync>> {
        Ok(IdentitySnapshot {
            id: self.id.parse()?,
            usage: Usage::from(self.usage),
            labels: self.labels,
            status_reason: self.status_reason,
            about: self.about.into_about(),
        })
    }
}

impl RawBody {
    pub(crate) fn json(raw: &Raw, identity: Option<&IdentitySnapshot>) -> String {
        let base64 = |bytes: &[u8]| Base64(bytes.to_vec());
        json(&Self {
            algorithm: raw.algorithm.as_str().into(),
            digest: raw.digest.as_deref().map(base64),
            certificate: base64(&raw.certificate),
            chain: raw.chain.iter().map(|certificate| base64(certificate)).collect(),
            identity: identity.map(SnapshotBody::of),
        })
    }

    fn read(text: &str) -> Result<RawRow, Box<dyn core::error::Error + Send + Sync>> {
        let Self { algorithm, digest, certificate, chain, identity } = serde_json::from_str(text)?;
        let raw = Raw {
            algorithm: algorithm.parse()?,
            digest: digest.map(|digest| digest.0.into()),
            certificate: certificate.0.into(),
            chain: chain.into_iter().map(|certificate| certificate.0.into()).collect(),
        };
        Ok((raw, identity.map(SnapshotBody::into_snapshot).transpose()?.map(Box::new)))
    }
}
