//! Files with a CMS signature, in each spelling in which people have them.

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A CMS is a SEQUENCE, in BER or DER; the first byte of its base64 differs from that.
const SEQUENCE: u8 = 0x30;

/// Reads DER or BER, PEM, or base64. Lines before and after PEM are ignored, because programs write
/// descriptions there (RFC 7468, section 2).
///
/// # Errors
/// Says what the file is instead.
pub(super) fn to_binary(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    if bytes.first() == Some(&SEQUENCE) {
        return Ok(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).context("it is neither DER nor text")?.trim();
    let pem = pem_body(text)?;
    ensure!(pem.is_some() || !is_mime(text), "{SMIME}");
    let body = pem.unwrap_or(text);
    let letters: String = body.split_ascii_whitespace().collect();
    let binary = BASE64.decode(letters).context("it is not base64")?;
    ensure!(binary.first() == Some(&SEQUENCE), "its base64 is not a CMS");
    Ok(binary)
}

const SMIME: &str = "it is an S/MIME message: `openssl cms -cmsout -in FILE -outform DER -out \
                     signature.p7m` writes the signature alone, which must contain its content";

/// The base64 of the first CMS in PEM; `None` for a text without PEM.
fn pem_body(text: &str) -> anyhow::Result<Option<&str>> {
    let mut rest = text;
    let mut others = Vec::new();
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let (label, body) = begun.split_once("-----").context("its PEM is broken")?;
        let end = format!("-----END {label}-----");
        let (body, after) = body.split_once(&end).context("its PEM has no end")?;
        if ["CMS", "PKCS7"].contains(&label) {
            return Ok(Some(body));
        }
        others.push(label);
        rest = after;
    }
    if let Some(label) = others.first() {
        bail!("its PEM is of a {label}");
    }
    Ok(None)
}

/// Whether a text begins with the header of a MIME message that is signed (RFC 8551, section 3.2).
fn is_mime(text: &str) -> bool {
    let head = text.lines().take_while(|line| !line.trim().is_empty());
    let head = head.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let kinds = ["pkcs7-mime", "pkcs7-signature", "multipart/signed"];
    head.contains("content-type:") && kinds.iter().any(|kind| head.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read_in_each_of_its_spellings() {
        let der = [0x30, 0x03, 0x02, 0x01, 0x05];
        let base64 = "MAMCAQU=";
        for spelling in [
            base64.to_owned(),
            format!("  {}\n{}\n", &base64[..4], &base64[4..]),
            format!("-----BEGIN CMS-----\n{base64}\n-----END CMS-----\n"),
            format!("-----BEGIN PKCS7-----\r\n{base64}\r\n-----END PKCS7-----"),
            format!("Signed by Jane\n\n-----BEGIN CMS-----\n{base64}\n-----END CMS-----\nBye\n"),
            format!(
                "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n\
                 -----BEGIN CMS-----\n{base64}\n-----END CMS-----"
            ),
        ] {
            assert_eq!(to_binary(spelling.as_bytes()).unwrap(), der, "{spelling}");
        }
        assert_eq!(to_binary(&der).unwrap(), der);
    }

    #[test]
    fn what_is_no_signature_is_refused_by_its_reason() {
        for (bad, reason) in [
            ("", "not a CMS"),
            ("hello world", "not base64"),
            ("aGVsbG8=", "not a CMS"),
            ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "CERTIFICATE"),
            ("-----BEGIN CMS-----\nMAA=", "no end"),
            ("-----BEGIN CMS", "broken"),
            ("MIME-Version: 1.0\nContent-Type: multipart/signed; micalg=sha-256\n\nx", "S/MIME"),
            ("Content-Type: application/x-pkcs7-mime;\n smime-type=signed-data\n\nMAA=", "S/MIME"),
            ("\u{fffd}", "not base64"),
        ] {
            let error = to_binary(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }
}
