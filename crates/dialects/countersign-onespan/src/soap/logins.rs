//! The vendor's commands for logins: `getSecureChallenge` and `authUser`, whose parameters are a
//! list of attributes.

use countersign_core::spec::Operation;

use super::attributes::AttributeList;
use super::body::{
    Data, LOGIN, NamedUser, ParameterElements, RequestedAttributes, What, bad, body,
};
use super::invalid::BadParameter;
use super::xml::Element;

/// The attributes of `getSecureChallenge` that are used.
pub(super) const CHALLENGE: [&str; 7] = [
    "CREDFLD_COMPONENT_TYPE",
    "CREDFLD_USERID",
    "CREDFLD_DOMAIN",
    "CREDFLD_SERIAL_NO",
    "CREDFLD_TRANSACTION_TITLE",
    "CREDFLD_CHALLENGE_MESSAGE",
    "CREDFLD_REQUEST_BODY",
];
/// The attributes of `getSecureChallenge` that are accepted and not used. The vendor's example has
/// the last one, which its table does not list.
pub(super) const CHALLENGE_UNUSED: [&str; 3] =
    ["CREDFLD_CRYPTO_APP_INDEX", "CREDFLD_CRYPTO_APP_NAME", "CREDFLD_PASSWORD_FORMAT"];
/// The attributes of `authUser` that are used.
pub(super) const AUTH_USER: [&str; 10] = [
    "CREDFLD_COMPONENT_TYPE",
    "CREDFLD_USERID",
    "CREDFLD_DOMAIN",
    "CREDFLD_SERIAL_NO",
    "CREDFLD_AUTH_TYPE",
    "CREDFLD_CHALLENGE_KEY",
    "CREDFLD_CHALLENGE_MESSAGE",
    "CREDFLD_PASSWORD_FORMAT",
    "CREDFLD_PASSWORD",
    "CREDFLD_DP_RESPONSE",
];
/// The attributes of `authUser` that are accepted and not used.
pub(super) const AUTH_USER_UNUSED: [&str; 3] =
    ["CREDFLD_REQUEST_HOST_CODE", "CREDFLD_USER_ATTRIBUTE_GROUP", "CREDFLD_NONCE"];

/// `getSecureChallenge`.
pub(super) fn challenge(command: &Element) -> Result<RequestedAttributes, BadParameter> {
    let mut list = list(command, &CHALLENGE, &CHALLENGE_UNUSED)?;
    let component = list.required("CREDFLD_COMPONENT_TYPE")?;
    let user = user(&mut list)?;
    list.at_most_one("CREDFLD_CRYPTO_APP_INDEX", "CREDFLD_CRYPTO_APP_NAME")?;
    let texts = (list.take("CREDFLD_TRANSACTION_TITLE"), list.take("CREDFLD_CHALLENGE_MESSAGE"));
    let data = match (list.take("CREDFLD_REQUEST_BODY"), texts) {
        (Some(hex), (None, None)) => body("CREDFLD_REQUEST_BODY", &hex)?,
        (Some(_), _) => {
            return bad("CREDFLD_REQUEST_BODY must come without a title and a message");
        }
        (None, (title, message)) => texts_of(title, message),
    };
    let (operation, serial) = (Operation::Login, list.take("CREDFLD_SERIAL_NO"));
    Ok(RequestedAttributes { component, what: What::Prepare { operation, user, serial, data } })
}

/// `authUser`: with a challenge key and a code, the end of that login; with a challenge key alone,
/// the wait for it; with `PUSH` and no key, a login that is pushed.
pub(super) fn auth_user(command: &Element) -> Result<RequestedAttributes, BadParameter> {
    let mut list = list(command, &AUTH_USER, &AUTH_USER_UNUSED)?;
    let component = list.required("CREDFLD_COMPONENT_TYPE")?;
    let user = user(&mut list)?;
    let format = list.required("CREDFLD_PASSWORD_FORMAT")?;
    if !matches!(&*format, "0" | "1") {
        return bad("CREDFLD_PASSWORD_FORMAT must be 0 or 1: only clear codes are supported");
    }
    list.at_most_one("CREDFLD_PASSWORD", "CREDFLD_DP_RESPONSE")?;
    let code = list.take("CREDFLD_PASSWORD").or_else(|| list.take("CREDFLD_DP_RESPONSE"));
    let (operation, serial) = (Operation::Login, list.take("CREDFLD_SERIAL_NO"));
    let message = list.take("CREDFLD_CHALLENGE_MESSAGE");
    let pushes = match list.take("CREDFLD_AUTH_TYPE").as_deref() {
        None | Some("SCAN") => false,
        Some("PUSH") => true,
        Some(_) => return bad("CREDFLD_AUTH_TYPE must be PUSH or SCAN, or absent"),
    };
    let what = match (list.take("CREDFLD_CHALLENGE_KEY"), code) {
        (Some(key), Some(signature)) => What::Complete { operation, user, serial, key, signature },
        (Some(key), None) => What::Await { operation, user, serial, key },
        (None, None) if pushes => {
            What::Sign { operation, user, serial, data: texts_of(None, message) }
        }
        (None, _) => {
            return bad("CREDFLD_CHALLENGE_KEY is required, unless CREDFLD_AUTH_TYPE is PUSH");
        }
    };
    Ok(RequestedAttributes { component, what })
}

fn list(command: &Element, used: &[&str], unused: &[&str]) -> Result<AttributeList, BadParameter> {
    let given = ParameterElements::of(command, &["credentialAttributeSet"])?;
    AttributeList::of(given.get("credentialAttributeSet"), used, unused)
}

fn user(list: &mut AttributeList) -> Result<NamedUser, BadParameter> {
    let id = list.required("CREDFLD_USERID")?;
    Ok(NamedUser { id, domain: list.take("CREDFLD_DOMAIN") })
}

/// The texts that the device shows. A login without any gets ours.
fn texts_of(title: Option<String>, message: Option<String>) -> Data {
    match (title, message) {
        (Some(title), Some(message)) => Data::Fields(title, vec![(String::new(), message)]),
        (Some(text), None) | (None, Some(text)) => Data::Fields(text, Vec::new()),
        (None, None) => Data::Fields(LOGIN.into(), Vec::new()),
    }
}
