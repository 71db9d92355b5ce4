//! The document of a signature over a digest. The device fetches it from the application's URL and
//! digests it itself.
//!
//! The guarantee: [`check`] returns a digest only if everything that the application said about the
//! document agrees with it. The server of the document is authenticated by the certificates that
//! the application gave, and by no others. The application does not learn why a check failed: the
//! device may be in a network that the application cannot see.
//!
//! ```text
//! digest_value ───────────┐
//! digest_url ──▶ fetched ─┼──▶ all the same? ──▶ Checked, to be shown and signed
//! document_url ▶ digested ┘          └─────────▶ BadDocument, to be failed with
//! ```

mod fetch;
mod policy;

use core::fmt;

use aws_lc_rs::digest::{self, Context};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_proof::raw::Hash;
use serde::Deserialize;

use fetch::Fetch;
pub use fetch::{CannotFetch, Limits};
pub use policy::FetchPolicy;

/// The longest answer of a `digest_url`, in bytes.
const DIGEST_ANSWER_BYTES_MAX: u64 = 4 * 1024;

/// The application's statements about a document.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The digest algorithm.
    pub hash: Option<Hash>,
    /// The digest.
    pub digest: Option<Vec<u8>>,
    /// The URL that returns the digest.
    pub digest_url: Option<String>,
    /// The URL of the document.
    pub document_url: Option<String>,
    /// The trusted certificates for these URLs, DER.
    pub root_certs: Vec<Vec<u8>>,
}

/// A digest that agrees with every statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checked {
    /// The digest algorithm.
    pub hash: Hash,
    /// The digest to sign.
    pub digest: Vec<u8>,
    /// The document's length in bytes, if the device digested it itself.
    pub length: Option<u64>,
}

/// The reason for which a digest is not signed. The sentences are for the user and the device's own
/// log; the application gets [`BadDocument::REASON`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadDocument {
    /// The document or its digest could not be fetched.
    #[error("{what} cannot be fetched: {why}")]
    Fetch {
        /// The item that was fetched.
        what: What,
        /// The reason of the failure.
        why: CannotFetch,
    },
    /// The answer of `digest_url` is malformed.
    #[error("digest_url does not answer with digest_value and digest_algorithm")]
    NoAnswer,
    /// No digest to sign was given.
    #[error("neither digest_value nor digest_url gives a digest to sign")]
    NoDigest,
    /// No digest algorithm was given.
    #[error("neither digest_algorithm nor digest_url names the algorithm of the digest")]
    NoHash,
    /// The digest has a wrong length. A common mistake of applications is base64 of the hex text.
    #[error("a digest of {hash} has {} bytes, and this one has {length}", .hash.length())]
    Length {
        /// The algorithm.
        hash: Hash,
        /// The length of the digest in bytes.
        length: usize,
    },
    /// `digest_url` and `digest_algorithm` differ.
    #[error("digest_url answers with {told}, and digest_algorithm says {said}")]
    OtherHash {
        /// The algorithm that `digest_url` returned.
        told: Hash,
        /// The algorithm that the application gave.
        said: Hash,
    },
    /// `digest_url` and `digest_value` differ.
    #[error("digest_url answers with another digest than digest_value")]
    OtherDigest,
    /// The digest of the document differs from the given one.
    #[error("the document at document_url has another digest: its {hash} is {}, not {}", in_base64(.found), in_base64(.said))]
    OtherDocument {
        /// The algorithm.
        hash: Hash,
        /// The digest of the fetched document.
        found: Vec<u8>,
        /// The digest that the application gave.
        said: Vec<u8>,
    },
}

impl BadDocument {
    /// The reason that the application gets for every failure.
    pub const REASON: &str = "the document could not be checked";
}

/// The item to fetch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// The digest from `digest_url`.
    Digest,
    /// The document from `document_url`.
    Document,
}

/// Fetches the digest and the document, as far as the application gave URLs, and compares them.
///
/// # Errors
/// The first failure.
pub async fn check(
    claim: &Claim,
    limits: &Limits,
    policy: &FetchPolicy,
) -> Result<Checked, BadDocument> {
    let (hash, digest) = match &claim.digest_url {
        None => {
            let hash = claim.hash.ok_or(BadDocument::NoHash)?;
            (hash, claim.digest.clone().ok_or(BadDocument::NoDigest)?)
        }
        Some(url) => told(url, claim, limits, policy).await?,
    };
    if digest.len() != hash.length() {
        return Err(BadDocument::Length { hash, length: digest.len() });
    }
    let Some(url) = &claim.document_url else {
        return Ok(Checked { hash, digest, length: None });
    };
    let (found, length) = digested(url, hash, claim, limits, policy).await?;
    if found != digest {
        return Err(BadDocument::OtherDocument { hash, found, said: digest });
    }
    Ok(Checked { hash, digest, length: Some(length) })
}

/// Fetches the digest from `digest_url`, and compares it with the application's statements.
async fn told(
    url: &str,
    claim: &Claim,
    limits: &Limits,
    policy: &FetchPolicy,
) -> Result<(Hash, Vec<u8>), BadDocument> {
    #[derive(Deserialize)]
    struct FetchAnswer {
        digest_value: String,
        digest_algorithm: String,
    }
    let failed = |why| BadDocument::Fetch { what: What::Digest, why };
    let limits = Limits { bytes: DIGEST_ANSWER_BYTES_MAX, ..*limits };
    let mut fetch = Fetch::begin(url, &claim.root_certs, &limits, policy).await.map_err(failed)?;
    let mut answer = Vec::new();
    while let Some(piece) = fetch.next().await.map_err(failed)? {
        answer.extend_from_slice(&piece);
    }
    let answer: FetchAnswer = serde_json::from_slice(&answer).map_err(|_| BadDocument::NoAnswer)?;
    let told = answer.digest_algorithm.parse().map_err(|_| BadDocument::NoAnswer)?;
    let digest = BASE64.decode(answer.digest_value).map_err(|_| BadDocument::NoAnswer)?;
    match claim {
        Claim { hash: Some(said), .. } if *said != told => {
            Err(BadDocument::OtherHash { told, said: *said })
        }
        Claim { digest: Some(said), .. } if *said != digest => Err(BadDocument::OtherDigest),
        _ => Ok((told, digest)),
    }
}

/// The digest of the document, and its length. Only one piece of the document is in memory at a
/// time.
async fn digested(
    url: &str,
    hash: Hash,
    claim: &Claim,
    limits: &Limits,
    policy: &FetchPolicy,
) -> Result<(Vec<u8>, u64), BadDocument> {
    let failed = |why| BadDocument::Fetch { what: What::Document, why };
    let mut fetch = Fetch::begin(url, &claim.root_certs, limits, policy).await.map_err(failed)?;
    let mut digest = Context::new(algorithm(hash));
    while let Some(piece) = fetch.next().await.map_err(failed)? {
        digest.update(&piece);
    }
    Ok((digest.finish().as_ref().to_vec(), fetch.length()))
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digest => "the digest at digest_url",
            Self::Document => "the document at document_url",
        })
    }
}

fn in_base64(digest: &[u8]) -> String {
    BASE64.encode(digest)
}

fn algorithm(hash: Hash) -> &'static digest::Algorithm {
    match hash {
        Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    }
}
