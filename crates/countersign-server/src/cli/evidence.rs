//! A signature with everything that its verification needs: `transaction show --json` prints it
//! under `end`, and `verify` reads it.

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_http::time_format;
use countersign_proof::raw::{self, Algorithm, Subject};
use countersign_proof::{Proof, Raw, Roots, Signer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// Parses an exported signature; `None` for a file that is not JSON.
    ///
    /// # Errors
    /// Says why JSON has no signature that can be verified here.
    pub(super) fn read(file: &[u8]) -> anyhow::Result<Option<Self>> {
        let first = file.iter().find(|byte| !byte.is_ascii_whitespace());
        if !matches!(first, Some(b'{' | b'[')) {
            return Ok(None);
        }
        let json: Value = serde_json::from_slice(file).context("it is not JSON")?;
        if json.is_array() {
            bail!("it is a list of transactions: give one, `countersign transaction show --json`");
        }
        let word = |member: &Value| member.as_str().unwrap_or_default().to_owned();
        let (id, state) = (word(&json["id"]), word(&json["state"]));
        let outcome = word(&json["end"]["outcome"]);
        match (state.as_str(), outcome.as_str()) {
            ("", _) => bail!("it is not what `countersign transaction show --json` prints"),
            ("waiting" | "taken", _) => {
                bail!("the transaction {id} is {state}: nobody has signed it yet")
            }
            (_, "finished") | ("finished", _) => {}
            _ => bail!("the transaction {id} was not signed, it is {state}"),
        }
        let exported: Self = serde_json::from_value(json)
            .context("it is not what `countersign transaction show --json` prints")?;
        if exported.is_code() {
            bail!(
                "the transaction {id} was signed with a code (OCRA), which has no certificate: only \
                 its server, which has the device's key, could verify it, and did"
            );
        }
        Ok(Some(exported))
    }

    /// Whether the signature is the digits of a code.
    fn is_code(&self) -> bool {
        let digits = BASE64.decode(&self.end.signature).unwrap_or_default();
        self.end.raw.is_none() && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &Value) -> Result<bool, String> {
        let read = ExportedEvidence::read(json.to_string().as_bytes());
        read.map(|found| found.is_some()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn json_of_every_kind_of_transaction_is_read_or_refused_by_its_reason() {
        let ended = |state: &str, end: Value| json!({"id": "07", "state": state, "ended_at": "2026-11-28T10:00:00Z", "end": end});
        let cms = json!({"outcome": "finished", "signature": "MAMCAQU="});
        assert_eq!(read(&ended("finished", cms)), Ok(true));
        assert_eq!(
            ExportedEvidence::read(b"MAMCAQU=").map(|found| found.is_some()).ok(),
            Some(false)
        );
        let code = json!({"outcome": "finished", "signature": BASE64.encode("01234567")});
        for (json, reason) in [
            (json!([]), "it is a list of transactions"),
            (json!({}), "it is not what `countersign transaction show --json` prints"),
            (json!({"id": "07", "state": "waiting"}), "the transaction 07 is waiting: nobody"),
            (json!({"id": "07", "state": "taken"}), "the transaction 07 is taken: nobody"),
            (
                ended("declined", json!({"outcome": "declined"})),
                "07 was not signed, it is declined",
            ),
            (ended("expired", json!({"outcome": "expired"})), "07 was not signed, it is expired"),
            (ended("finished", json!({"outcome": "finished"})), "missing field `signature`"),
            (ended("finished", code), "the transaction 07 was signed with a code (OCRA)"),
        ] {
            let error = read(&json).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        }
        let broken = ExportedEvidence::read(b"{").err().unwrap().to_string();
        assert_eq!(broken, "it is not JSON");
    }
}
