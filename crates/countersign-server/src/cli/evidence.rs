//! A signature with everything that its verification needs: `transaction show --json` prints it
//! under `end`, and `verify` reads it.

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_http::time_format;
use countersign_proof::raw::{self, Algorithm, Subject};
use countersign_proof::{Proof, Raw, Roots, Signer};
use serde::{Deserialize, Serialize};

/// The data beside the signature itself.
#[derive(Deserialize, Serialize)]
pub(super) struct RawEvidence {
    /// Such as `ecdsa-sha256`.
    algorithm: String,
    /// Base64 of the signed bytes, if they were a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Base64 of the signed bytes, if they were a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Base64 of DER.
    certificate: String,
    /// Base64 of DER, the issuer first.
    chain: Vec<String>,
}

/// The part of the output of `transaction show --json` that is read again.
#[derive(Deserialize)]
pub(super) struct ExportedEvidence {
    id: String,
    /// The time at which the server verified and accepted the signature, RFC 3339.
    ended_at: String,
    end: End,
}

#[derive(Deserialize)]
struct End {
    /// Base64 of a CMS or of a raw signature.
    signature: String,
    /// `None` for a CMS.
    #[serde(flatten)]
    raw: Option<RawEvidence>,
}

/// A verified raw signature.
pub(super) struct CheckedSignature {
    pub(super) proof: Proof,
    pub(super) transaction: String,
    /// The text, or the digest.
    pub(super) signed: Vec<u8>,
}

impl RawEvidence {
    pub(super) fn of(raw: &Raw, content: &[u8]) -> Self {
        let text = raw.digest.is_none().then(|| BASE64.encode(content));
        Self {
            algorithm: raw.algorithm.to_string(),
            text,
            digest: raw.digest.as_ref().map(|digest| BASE64.encode(digest)),
            certificate: BASE64.encode(&raw.certificate),
            chain: raw.chain.iter().map(|certificate| BASE64.encode(certificate)).collect(),
        }
    }
}

impl ExportedEvidence {
    /// Parses an exported signature; `None` for another file.
    pub(super) fn read(file: &[u8]) -> Option<Self> {
        serde_json::from_slice(file).ok()
    }

    /// The time at which the server accepted it, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// If the file does not tell.
    pub(super) fn accepted_at(&self) -> anyhow::Result<u64> {
        time_format::parse_seconds(&self.ended_at).context("`ended_at` is not a time (RFC 3339)")
    }

    /// The signature in base64, if it is a CMS.
    pub(super) fn cms(&self) -> Option<&str> {
        self.end.raw.is_none().then_some(self.end.signature.as_str())
    }

    /// Verifies a raw signature at the time `at`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// If it is not valid or not complete.
    pub(super) fn verify(&self, roots: &Roots, at: u64) -> anyhow::Result<CheckedSignature> {
        let signature = &self.end.signature;
        let evidence = self.end.raw.as_ref().context("it is not a raw signature")?;
        let bytes = |what: &str, text: &str| {
            BASE64.decode(text).with_context(|| format!("{what} is not base64"))
        };
        let algorithm: Algorithm = evidence.algorithm.parse()?;
        let chain: Result<Vec<_>, _> =
            evidence.chain.iter().map(|one| bytes("the chain", one)).collect();
        let certificate = bytes("the certificate", &evidence.certificate)?;
        let signer = Signer::new(&certificate, &chain?, roots, at)?;
        let (is_text, signed) = match (&evidence.text, &evidence.digest) {
            (Some(text), None) => (true, bytes("the text", text)?),
            (None, Some(digest)) => (false, bytes("the digest", digest)?),
            _ => bail!("it contains neither the signed text nor the signed digest"),
        };
        let subject = if is_text {
            Subject::Text(str::from_utf8(&signed).context("the text is not UTF-8")?)
        } else {
            Subject::Digest(&signed)
        };
        let id = hex::decode(&self.id).ok().and_then(|id| id.try_into().ok());
        let id = id.context("its id is not 32 hex digits")?;
        let signature = bytes("the signature", signature)?;
        let proof = raw::verify(&signature, algorithm, subject, id, &signer, at)?;
        Ok(CheckedSignature { proof, transaction: self.id.clone(), signed })
    }
}
