//! The document of a signature over a digest: fetched from where the application says, and digested
//! by the device itself.
//!
//! The promise: a digest comes out of [`check`] only if everything that the application said of the
//! document agrees with it. Who serves the document is told by the certificates that the
//! application gave, and by no others. Why a check failed is not told to the application: the
//! device may stand in a network that the application cannot see.
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

/// Longest answer of a `digest_url`.
const DIGEST_ANSWER_BYTES_MAX: u64 = 4 * 1024;

/// What an application says of a document.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// What it was digested with.
    pub hash: Option<Hash>,
    /// Its digest.
    pub digest: Option<Vec<u8>>,
    /// Where its digest is told.
    pub digest_url: Option<String>,
    /// Where it is.
    pub document_url: Option<String>,
    /// The certificates, DER, that are trusted for these addresses.
    pub root_certs: Vec<Vec<u8>>,
}

/// A digest that agrees with all that was said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checked {
    /// What it was made with.
    pub hash: Hash,
    /// What is to be signed.
    pub digest: Vec<u8>,
    /// The document's length in bytes, where the device digested it itself.
    pub length: Option<u64>,
}

/// Why a digest is not signed. The sentences are for the person and the device's own log; the
/// application is told [`BadDocument::REASON`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadDocument {
    /// It could not be fetched.
    #[error("{what} cannot be fetched: {why}")]
    Fetch {
        /// Which of the two.
        what: What,
        /// Why.
        why: CannotFetch,
    },
    /// `digest_url` answered with something else.
    #[error("digest_url does not answer with digest_value and digest_algorithm")]
    NoAnswer,
    /// There is nothing to sign.
    #[error("neither digest_value nor digest_url says what is to be signed")]
    NoDigest,
    /// There is no algorithm.
    #[error("nothing says with which algorithm the digest was made")]
    NoHash,
    /// Base64 of the hex text is a mistake seen in the field.
    #[error("a digest of {hash} has {} bytes, and this one has {length}", .hash.length())]
    Length {
        /// The algorithm.
        hash: Hash,
        /// What it has.
        length: usize,
    },
    /// `digest_url` and `digest_algorithm` differ.
    #[error("digest_url answers with {told}, and digest_algorithm says {said}")]
    OtherHash {
        /// What the address told.
        told: Hash,
        /// What the application had said.
        said: Hash,
    },
    /// `digest_url` and `digest_value` differ.
    #[error("digest_url answers with another digest than digest_value")]
    OtherDigest,
    /// The document is another one.
    #[error("the document at document_url is another one: its {hash} is {}, not {}", in_base64(.found), in_base64(.said))]
    OtherDocument {
        /// The algorithm.
        hash: Hash,
        /// What the document's is.
        found: Vec<u8>,
        /// What the application said that it is.
        said: Vec<u8>,
    },
}

impl BadDocument {
    /// The reason that the application is given, whatever went wrong.
    pub const REASON: &str = "the document could not be checked";
}

/// What was to be fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// From `digest_url`.
    Digest,
    /// From `document_url`.
    Document,
}

/// Fetches what there is to fetch, and compares.
///
/// # Errors
/// The first that was found wrong.
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

/// What `digest_url` tells, if it does not contradict what was said.
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

/// The digest of the document, and its length. Of the document no more is held than one piece.
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
