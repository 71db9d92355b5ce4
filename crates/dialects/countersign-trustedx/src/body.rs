//! Requests for signatures, parsed into types once. Each refusal names the member and its allowed
//! values.
//!
//! A digest is signed as it is given. So it is refused here if its length does not fit its
//! algorithm, or if its bytes are the hexadecimal digits of another digest.

use countersign_core::id::UserName;
use countersign_core::limits::{CALLBACK_URL_BYTES_MAX, CONTENT_BYTES_MAX, NAME_BYTES_MAX};
use countersign_core::spec::{Content, Document, MediaType, Operation};
use countersign_proof::raw::Hash;
use serde::{Deserialize, Serialize};
use url::Url;

use super::members::{certificate, decode_base64, text_of, unbroken};
use super::selector::SelectorQuery;
use countersign_http::json_members::{BadBody, Member, bad, object, optional, required};

/// The largest number of certificates of one process.
pub(crate) const ROOT_CERTS_MAX: usize = 16;

/// The kind of process, which determines the call that creates it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ProcessKind {
    /// A digest.
    #[serde(rename = "sign:raw")]
    Raw,
    /// HTML that is shown to the user.
    #[serde(rename = "sign:commitment:transaction")]
    Transaction,
    /// The digest of a document.
    #[serde(rename = "sign:commitment:document")]
    Document,
    /// HTML that is signed to prove who the user is.
    #[serde(rename = "authentication")]
    Authentication,
}

/// A request for a signature creation process.
#[derive(Clone, Debug)]
pub struct Create {
    pub(super) operation: Operation,
    /// The content to be signed.
    pub content: Content,
    /// The document that the device shows, if it is not the content.
    pub document: Option<Document>,
    /// The algorithm that the request names; the process then accepts no other.
    pub hash: Option<Hash>,
    /// The application on whose behalf the client asks, as it was sent.
    pub(super) service: Option<ServiceName>,
    /// The identities that may sign.
    pub asked: Vec<SelectorQuery>,
    /// The user who is to sign, if the selectors do not determine it.
    pub(super) user: Option<UserName>,
    /// Whether devices that are not online are woken.
    pub(super) notify: bool,
}

/// An application's description of itself. No decision depends on it, and no user sees it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServiceName {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct ProcessFields {
    input: Member,
    sign_identities: Member,
    user_id: Member,
    notify: Member,
}

#[derive(Deserialize)]
pub(crate) struct InputFields {
    service: Member,
    data: Member,
    digest_url: Member,
    digest_value: Member,
    digest_algorithm: Member,
    document_url: Member,
    document_alias: Member,
    document_info: Member,
    data_info: Member,
    root_certs: Member,
}

#[derive(Deserialize)]
pub(crate) struct ServiceFields {
    id: Member,
    name: Member,
    domain: Member,
}

#[derive(Deserialize)]
pub(crate) struct InfoFields {
    html: Member,
}

impl ProcessKind {
    /// Its name in `operation_type`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "sign:raw",
            Self::Transaction => "sign:commitment:transaction",
            Self::Document => "sign:commitment:document",
            Self::Authentication => "authentication",
        }
    }
}

impl Create {
    /// Parses the body of a call of this kind. `sha1` says whether the tenant allows SHA-1.
    pub fn parse(kind: ProcessKind, body: &[u8], sha1: bool) -> Result<Self, BadBody> {
        let ProcessFields { input, sign_identities, user_id, notify } = object(body)?;
        let input = members(input, "input")?;
        let input: InputFields = input.ok_or_else(|| BadBody("input is required".into()))?;
        let hash = hash(&input.digest_algorithm, sha1)?;
        let service = service(&input.service)?;
        let (content, document) = match kind {
            ProcessKind::Transaction | ProcessKind::Authentication => (text(input.data)?, None),
            ProcessKind::Raw => digested(input, hash, false)?,
            ProcessKind::Document => digested(input, hash, true)?,
        };
        let user: Option<String> = optional(user_id, "user_id", "a string")?;
        let user = user.map(|name| name.parse::<UserName>());
        let Ok(user) = user.transpose() else {
            return bad("user_id", "the name of a user");
        };
        let notify = optional(notify, "notify", "true or false")?.unwrap_or(false);
        let operation = match kind {
            ProcessKind::Authentication => Operation::Login,
            ProcessKind::Raw | ProcessKind::Transaction | ProcessKind::Document => Operation::Sign,
        };
        let asked = SelectorQuery::parse(sign_identities)?;
        Ok(Self { operation, content, document, hash, service, asked, user, notify })
    }
}

/// Parses the members of an optional object.
fn members<T: for<'de> Deserialize<'de>>(raw: Member, field: &str) -> Result<Option<T>, BadBody> {
    let Some(raw) = raw else { return Ok(None) };
    if !raw.get().starts_with('{') {
        return bad(field, "an object");
    }
    let read = serde_json::from_str(raw.get());
    read.map(Some).map_err(|error| BadBody(format!("{field} cannot be read: {error}")))
}

fn hash(raw: &Member, sha1: bool) -> Result<Option<Hash>, BadBody> {
    const FIELD: &str = "input.digest_algorithm";
    let all = "one of sha1, sha256, sha384 and sha512";
    let Some(name) = optional::<String>(raw.clone(), FIELD, all)? else { return Ok(None) };
    match name.parse() {
        Ok(Hash::Sha1) if !sha1 => bad(FIELD, "sha256, sha384 or sha512: sha1 is not allowed here"),
        Ok(hash) => Ok(Some(hash)),
        Err(_) => bad(FIELD, all),
    }
}

fn service(raw: &Member) -> Result<Option<ServiceName>, BadBody> {
    let Some(fields) = members(raw.clone(), "input.service")? else { return Ok(None) };
    let ServiceFields { id, name, domain } = fields;
    Ok(Some(ServiceName {
        id: text_of(id, "input.service.id", NAME_BYTES_MAX)?,
        name: text_of(name, "input.service.name", NAME_BYTES_MAX)?,
        domain: text_of(domain, "input.service.domain", NAME_BYTES_MAX)?,
    }))
}

/// HTML that is shown and signed, exactly as it was received.
fn text(data: Member) -> Result<Content, BadBody> {
    let data: String = required(data, "input.data", "a string")?;
    if !(1..=CONTENT_BYTES_MAX).contains(&data.len()) {
        return bad("input.data", &format!("1 to {CONTENT_BYTES_MAX} bytes"));
    }
    Ok(Content { media_type: MediaType::Html, bytes: data.into_bytes() })
}

/// The digest of a document, given or to be fetched, and the document's description.
fn digested(
    input: InputFields,
    hash: Option<Hash>,
    is_document: bool,
) -> Result<(Content, Option<Document>), BadBody> {
    let digest_url = url(input.digest_url, "input.digest_url")?;
    let bytes = match digest(input.digest_value, hash)? {
        Some(digest) => digest,
        None if digest_url.is_some() => Vec::new(),
        None => return bad("input", "given a digest_value or a digest_url"),
    };
    let (info, field) = if is_document {
        (input.document_info, "input.document_info")
    } else {
        (input.data_info, "input.data_info")
    };
    let html = match members(info, field)? {
        None => None,
        // Kept unchanged: some callers send a text that is neither HTML nor base64.
        Some(InfoFields { html }) => text_of(html, &format!("{field}.html"), CONTENT_BYTES_MAX)?,
    };
    let mut document = Document {
        hash,
        digest_url,
        html,
        root_certs: root_certs(input.root_certs)?,
        ..Document::default()
    };
    if is_document {
        document.document_url = url(input.document_url, "input.document_url")?;
        document.alias = text_of(input.document_alias, "input.document_alias", NAME_BYTES_MAX)?;
    }
    if !document.fits() {
        return bad("input", "smaller: what is shown of it does not fit a device's message");
    }
    Ok((Content { media_type: MediaType::Digest, bytes }, Some(document)))
}

/// A digest with its algorithm's length.
fn digest(raw: Member, hash: Option<Hash>) -> Result<Option<Vec<u8>>, BadBody> {
    const FIELD: &str = "input.digest_value";
    let Some(text) = optional::<String>(raw, FIELD, "a string")? else { return Ok(None) };
    let Some(hash) = hash else {
        return bad("input.digest_algorithm", "given with a digest_value");
    };
    let what = format!("base64 of the {} bytes of a {hash} digest", hash.length());
    let all_hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    let text = unbroken(&text);
    match decode_base64(&text) {
        // A digest of only hexadecimal digits is the hex of another one, except in one of 2^110
        // cases.
        Some(bytes)
            if bytes.len() == hash.length() && !all_hex(&bytes) && !all_hex(text.as_bytes()) =>
        {
            Ok(Some(bytes))
        }
        _ => bad(FIELD, &what),
    }
}

/// An address from which a device fetches.
fn url(raw: Member, field: &str) -> Result<Option<String>, BadBody> {
    let what = format!("an https:// URL of at most {CALLBACK_URL_BYTES_MAX} bytes");
    let Some(text) = optional::<String>(raw, field, &what)? else { return Ok(None) };
    let fits = text.len() <= CALLBACK_URL_BYTES_MAX;
    match Url::parse(&text) {
        Ok(url) if fits && url.scheme() == "https" => {
            if !url.username().is_empty() || url.password().is_some() {
                return bad(field, "a URL without a user name or a password");
            }
            // Kept unchanged, because it is shown again.
            Ok(Some(text))
        }
        _ => bad(field, &what),
    }
}

/// Certificates, DER.
fn root_certs(raw: Member) -> Result<Vec<Vec<u8>>, BadBody> {
    const FIELD: &str = "input.root_certs";
    let what = format!("at most {ROOT_CERTS_MAX} certificates, each base64 of its DER");
    let texts: Vec<String> = optional(raw, FIELD, &what)?.unwrap_or_default();
    if texts.len() > ROOT_CERTS_MAX {
        return bad(FIELD, &what);
    }
    let certificates = texts.iter().map(|text| certificate(text));
    certificates.collect::<Option<Vec<_>>>().map_or_else(|| bad(FIELD, &what), Ok)
}

#[cfg(test)]
mod tests;
