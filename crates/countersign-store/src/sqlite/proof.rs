//! The columns of a proof: the signer, the signed content, the signature, and the further data of a
//! raw signature.

use countersign_core::id::TransactionId;
use countersign_proof::{Proof, Raw};
use serde::{Deserialize, Serialize};

use super::column::{Base64, Columns, json};
use super::error::StoreError;

/// Column `proof_signer`: empty for a code, which has no certificate.
pub(super) fn signer(proof: &Proof) -> Vec<u8> {
    proof.signer().map(Vec::from).unwrap_or_default()
}

/// Reads the next columns: a proof, or NULL.
pub(super) fn read(
    columns: &mut Columns<'_>,
    id: TransactionId,
) -> Result<Option<Proof>, StoreError> {
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
        (None, signer) => Ok(Some(Proof::recorded(id.bytes(), content, signer, evidence))),
        (Some(raw), Some(signer)) => {
            Ok(Some(Proof::recorded_raw(id.bytes(), content, signer, evidence, raw)))
        }
        (Some(_), None) => Err(columns.corrupt("raw", "a raw signature has a signer")),
    }
}

/// Column `raw`, as JSON.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBody {
    algorithm: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Base64>,
    certificate: Base64,
    chain: Vec<Base64>,
}

impl RawBody {
    pub(super) fn json(raw: &Raw) -> String {
        let base64 = |bytes: &[u8]| Base64(bytes.to_vec());
        json(&Self {
            algorithm: raw.algorithm.as_str().into(),
            digest: raw.digest.as_deref().map(base64),
            certificate: base64(&raw.certificate),
            chain: raw.chain.iter().map(|certificate| base64(certificate)).collect(),
        })
    }

    pub(super) fn read(text: &str) -> Result<Raw, Box<dyn core::error::Error + Send + Sync>> {
        let Self { algorithm, digest, certificate, chain } = serde_json::from_str(text)?;
        Ok(Raw {
            algorithm: algorithm.parse()?,
            digest: digest.map(|digest| digest.0.into()),
            certificate: certificate.0.into(),
            chain: chain.into_iter().map(|certificate| certificate.0.into()).collect(),
        })
    }
}
