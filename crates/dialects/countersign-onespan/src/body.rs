//! REST bodies from phone apps, parsed into types once. A body that repeats a member is refused, so
//! that no two parsers of it use different values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::limits::SIGNATURE_BYTES_MAX;
use serde::Deserialize;
use serde_json::Value;

/// The members that some call uses. Others are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct BodyParameters {
    /// The name of the user.
    #[serde(rename = "userID")]
    pub user_id: BodyMember,
    /// The name of the tenant.
    pub domain: BodyMember,
    /// The request key of a transaction.
    #[serde(rename = "requestKey")]
    pub request_key: BodyMember,
    /// The challenge key of a login.
    #[serde(rename = "challengeKey")]
    pub challenge_key: BodyMember,
    /// The serial number of a device.
    #[serde(rename = "serialNumber")]
    pub serial_number: BodyMember,
    /// The signature: a code, or a CMS in base64.
    pub signature: BodyMember,
    /// The id of the application on the phone.
    #[serde(rename = "digipassInstanceID")]
    pub digipass_instance_id: BodyMember,
    /// The address for pushes, encrypted.
    #[serde(rename = "encryptedNotificationID")]
    pub encrypted_notification_id: BodyMember,
}

/// A member of a body.
#[derive(Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(from = "Value")]
pub enum BodyMember {
    /// Absent, null, or an empty text.
    #[default]
    Absent,
    /// A text that is not empty.
    Text(String),
    /// A value of another type.
    Other,
}

impl BodyParameters {
    /// Parses a body; `None` if it is not a JSON object.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        (first == Some(&b'{')).then(|| serde_json::from_slice(body).ok()).flatten()
    }
}

impl BodyMember {
    /// The text, if the member is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::Other => None,
        }
    }
}

impl From<Value> for BodyMember {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Absent,
            Value::String(text) if text.is_empty() => Self::Absent,
            Value::String(text) => Self::Text(text),
            _ => Self::Other,
        }
    }
}

/// A signature in a body.
#[derive(Debug, Eq, PartialEq)]
pub enum SignatureText {
    /// A code's digits.
    Code(String),
    /// A CMS message.
    Cms(Vec<u8>),
}

/// A code is 6 to 16 decimal or hex digits, by the vendor's documentation; ours are decimal, and
/// any other is a wrong code. A longer text is the base64 of a CMS.
pub fn read_signature(text: &str) -> Option<SignatureText> {
    let text = text.trim();
    if (6..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Some(SignatureText::Code(text.to_owned()));
    }
    let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = BASE64.decode(plain).ok()?;
    let fits = !bytes.is_empty() && bytes.len() <= SIGNATURE_BYTES_MAX;
    fits.then_some(SignatureText::Cms(bytes))
}

/// The text of a sealed message, which is sent as the hex of its bytes.
pub fn unhexed(message: &str) -> Option<String> {
    String::from_utf8(hex::decode(message).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_a_code_or_base64_and_nothing_else() {
        for code in ["383379", "3833791", "0123456789abcdef", "ABCDEF012345"] {
            assert_eq!(read_signature(code), Some(SignatureText::Code(code.into())));
        }
        let cms = BASE64.encode([0x30; 40]);
        for spelled in [cms.clone(), format!(" {}\r\n{}\n", &cms[..20], &cms[20..])] {
            assert_eq!(read_signature(&spelled), Some(SignatureText::Cms(vec![0x30; 40])));
        }
        for neither in ["", "12345", "not base64!", "=", "38337 91"] {
            assert_eq!(read_signature(neither), None, "{neither}");
        }
    }

    #[test]
    fn a_body_is_an_object_that_says_each_thing_once_in_its_own_case() {
        let read = |text: &str| BodyParameters::parse(text.as_bytes());
        for not in ["", "[]", "null", "\"x\"", "{", "{}x", r#"{"signature":"1","signature":"1"}"#] {
            assert!(read(not).is_none(), "{not}");
        }
        let body = read(r#" {"userID":"jane","userid":"joe","domain":null,"requestKey":""}"#);
        let BodyParameters { user_id, domain, request_key, .. } = body.unwrap();
        assert_eq!(user_id.text(), Some("jane"));
        assert_eq!((domain, request_key), (BodyMember::Absent, BodyMember::Absent));
        let body = read(r#"{"domain":1,"requestKey":8408980524,"other":1,"other":2}"#).unwrap();
        assert_eq!((body.domain, body.request_key), (BodyMember::Other, BodyMember::Other));
    }

    #[test]
    fn each_member_has_a_row_in_the_page_and_each_row_is_a_member() {
        let page = include_str!("../../../../docs/onespan.md");
        let (_, table) = page.split_once("\n| member of a phone's call |").unwrap();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let named: Vec<_> = rows.map(|line| line.split('`').nth(1).unwrap()).collect();
        for name in &named {
            let body = format!(r#"{{"{name}":"text"}}"#);
            let read = BodyParameters::parse(body.as_bytes()).unwrap();
            let BodyParameters { user_id, domain, request_key, challenge_key, .. } = &read;
            let BodyParameters { serial_number, signature, digipass_instance_id, .. } = &read;
            let members = [
                user_id,
                domain,
                request_key,
                challenge_key,
                serial_number,
                signature,
                digipass_instance_id,
                &read.encrypted_notification_id,
            ];
            assert_eq!(named.len(), members.len());
            let known = members.iter().filter(|member| member.text().is_some()).count();
            assert_eq!(known, 1, "{name}");
        }
    }
}
