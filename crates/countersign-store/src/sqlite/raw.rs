//! Column `raw`: what else there is to a raw signature, as JSON.

use countersign_proof::Raw;
use serde::{Deserialize, Serialize};

use super::column::{Base64, json};

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
