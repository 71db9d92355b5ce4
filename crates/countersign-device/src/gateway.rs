//! The messages that a phone reads and writes for OneSpan's gateway. The caller transports them as
//! text.
//!
//! A fetched request contains the sealed content; a code or a CMS over the content completes the
//! request; an information message cancels it.

use countersign_proof::ocra;
use countersign_wire::body::{Content, Push, Use};
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::phone::Phone;

use crate::cms::{self, SigningKey};
use crate::error::Error;
use crate::key;

/// Opens a `requestMessage` and returns the content to show and sign.
///
/// # Errors
/// [`Error::BadContent`] if this phone's server did not seal it for this phone.
pub fn open(phone: &Phone, request_message: &str) -> Result<Content, Error> {
    let sealed = hex::decode(request_message).map_err(|_| Error::BadContent)?;
    let sealed = String::from_utf8(sealed).map_err(|_| Error::BadContent)?;
    let (_, purpose) = jwe::peek(&sealed).map_err(|_| Error::BadContent)?;
    let Purpose::Content(id) = purpose else { return Err(Error::BadContent) };
    let name = phone.device_name().map_err(|_| Error::Name("the tenant"))?;
    let plain = jwe::open(&phone.payload_key, &name, purpose, &sealed);
    let plain = plain.map_err(|_| Error::BadContent)?;
    let content: Content = serde_json::from_slice(&plain).map_err(|_| Error::BadContent)?;
    if content.id == id { Ok(content) } else { Err(Error::BadContent) }
}

/// A code over the content, with the content's number of digits.
///
/// # Errors
/// [`Error::NoIdentity`] if the content does not accept a code.
pub fn code(phone: &Phone, content: &Content) -> Result<String, Error> {
    let digits = content.code_digits.ok_or(Error::NoIdentity)?;
    let key = phone.code_key.as_bytes();
    let code = ocra::code(key, digits, content.id.0, &content.media_type, &content.bytes);
    code.map_err(|_| Error::NoIdentity)
}

/// A CMS over the content in DER, signed at `now`, in seconds since the Unix epoch.
///
/// # Errors
/// [`Error::NoIdentity`] if the phone has no identity for content that may sign this.
pub fn cms(phone: &Phone, content: &Content, now: u64) -> Result<Vec<u8>, Error> {
    let mut content_identities =
        phone.identities.iter().filter(|identity| identity.usage == Use::Content);
    let named = |id: &String| content.identities.as_ref().is_none_or(|ids| ids.contains(id));
    let identity = content_identities.find(|identity| named(&identity.id));
    let identity = identity.ok_or(Error::NoIdentity)?;
    let signing = SigningKey::from_pem(&identity.key)?;
    // Every verifier has the root already.
    let chain: Vec<_> = identity.chain.iter().filter(|one| !key::is_root(one)).cloned().collect();
    let Content { id, media_type, bytes, .. } = content;
    Ok(cms::sign(bytes, media_type, id.0, now, &identity.certificate, &chain, &signing)?)
}

/// The information message for a cancel: the value of its `requestKey`.
///
/// # Errors
/// [`Error::Name`] if the phone's tenant is not valid.
pub fn information(phone: &Phone, content: &Content, request_key: &str) -> Result<String, Error> {
    sealed(phone, Purpose::Information(content.id), request_key.as_bytes())
}

/// An `encryptedNotificationID`: the sealed push address of the phone.
///
/// # Errors
/// [`Error::Name`] if the phone's tenant is not valid.
pub fn notification(phone: &Phone, push: &Push) -> Result<String, Error> {
    let plain = serde_json::to_vec(push).expect("plain JSON");
    sealed(phone, Purpose::Notification, &plain)
}

fn sealed(phone: &Phone, purpose: Purpose, plain: &[u8]) -> Result<String, Error> {
    let name = phone.device_name().map_err(|_| Error::Name("the tenant"))?;
    Ok(hex::encode(jwe::seal(&phone.payload_key, &name, purpose, plain)))
}
