//! Request bodies, parsed into types once. Each refusal names the member and its allowed values.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use countersign_core::id::{DeviceId, UserName};
use countersign_core::limits::{
    CLOCK_MAX, CONTENT_BYTES_MAX, NAME_BYTES_MAX, NOTICE_BYTES_MAX, ROWS_MAX,
};
use countersign_core::spec::{Callback, Clocks, Content, MediaType, Recipients, Reference};
use countersign_core::transaction::Transaction;
use countersign_wire::statement::Statement;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use countersign_http::callback_url;
use countersign_http::fingerprint::Fingerprint;
use countersign_http::json_members::{BadBody, Member, bad, object, optional, required};

/// A request to start a signature.
#[derive(Clone, Debug)]
pub struct Start {
    /// The client's transaction id, and the fingerprint of the request.
    pub reference: Reference,
    pub(super) recipients: Recipients,
    pub(super) clocks: Clocks,
    pub(super) pin_required: bool,
    pub(super) notice: Option<String>,
    /// The content to be signed.
    pub content: Content,
    /// The callback, if one is asked for.
    pub callback: Option<Callback>,
}

/// A request to cancel a signature.
#[derive(Clone, Debug)]
pub struct Cancel {
    pub(super) transaction_id: String,
    pub(super) recipients: Vec<Recipients>,
}

/// Members have the vendor's names. Unknown members are ignored, as the vendor's server does. Each
/// value is parsed separately, so that a refusal can name the member.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartFields {
    transaction_id: Member,
    device_go_online_timeout: Member,
    device_id: Member,
    pin_required: Member,
    push_notification_message: Member,
    signature_mode: Member,
    signature_message: Member,
    signature_message_items: Member,
    signature_timeout: Member,
    // The vendor's page writes one with a lower-case b and the other with a capital one.
    #[serde(alias = "callBackUrl")]
    callback_url: Member,
    #[serde(rename = "callBackHeaders", alias = "callbackHeaders")]
    callback_headers: Member,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CancelFields {
    transaction_id: Member,
    device_id: Member,
}

impl Start {
    /// Parses a request for a signature by `user`.
    pub fn parse(body: &[u8], user: &UserName) -> Result<Self, BadBody> {
        let fields: StartFields = object(body)?;
        let transaction_id = transaction_id(fields.transaction_id)?;
        let go_online = seconds(fields.device_go_online_timeout, "deviceGoOnlineTimeout", 0)?;
        let sign = seconds(fields.signature_timeout, "signatureTimeout", 1)?;
        let device_id: Option<String> = optional(fields.device_id, "deviceId", "a string")?;
        let pin_required = optional(fields.pin_required, "pinRequired", "true or false")?;
        let notice: Option<String> =
            optional(fields.push_notification_message, "pushNotificationMessage", "a string")?;
        if notice.as_ref().is_some_and(|text| text.len() > NOTICE_BYTES_MAX) {
            return bad("pushNotificationMessage", &format!("at most {NOTICE_BYTES_MAX} bytes"));
        }
        let mode: Option<String> = optional(fields.signature_mode, "signatureMode", "MESSAGE")?;
        if mode.is_some_and(|mode| mode != "MESSAGE") {
            return bad("signatureMode", "MESSAGE, or absent");
        }
        let items: Option<Pairs> = optional(
            fields.signature_message_items,
            "signatureMessageItems",
            "an object of strings",
        )?;
        let content = content(
            required(fields.signature_message, "signatureMessage", "a string")?,
            items.map(|items| items.0).unwrap_or_default(),
        )?;
        let callback = callback(fields.callback_url, fields.callback_headers)?;

        let mut start = Self {
            reference: Reference { name: transaction_id, request: [0; 32] },
            recipients: recipients(device_id.as_deref(), "deviceId")?,
            clocks: Clocks::Two { go_online, sign },
            pin_required: pin_required.unwrap_or(false),
            notice: notice.filter(|text| !text.is_empty()),
            content,
            callback,
        };
        start.reference.request = start.fingerprint(user);
        Ok(start)
    }

    /// The fingerprint of the whole request. The same request has the same fingerprint, however it
    /// is written.
    fn fingerprint(&self, user: &UserName) -> [u8; 32] {
        let mut all = Fingerprint::new();
        all.part(user.as_str().as_bytes());
        all.part(self.reference.name.as_bytes());
        all.recipients(&self.recipients);
        all.clocks(self.clocks);
        all.part(&[u8::from(self.pin_required)]);
        all.part(self.notice.as_deref().unwrap_or("").as_bytes());
        all.part(self.content.media_type.as_str().as_bytes());
        all.part(&self.content.bytes);
        all.end_with(self.callback.as_ref())
    }
}

impl Cancel {
    /// Parses a request to cancel a signature. Only here is `deviceId` an array.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let fields: CancelFields = object(body)?;
        let transaction_id = transaction_id(fields.transaction_id)?;
        let devices: Option<Vec<String>> =
            optional(fields.device_id, "deviceId", "an array of strings")?;
        let devices = devices.unwrap_or_default();
        let each = devices.iter().map(|device| recipients(Some(device), "deviceId"));
        Ok(Self { transaction_id, recipients: each.collect::<Result<_, _>>()? })
    }
}

impl Cancel {
    /// Whether the named devices include the transaction's recipients. A transaction that is
    /// offered to further devices is cancelled for all of them or not at all.
    pub(super) fn covers(&self, transaction: &Transaction) -> bool {
        self.recipients.iter().all(|named| match named {
            Recipients::Any | Recipients::Devices(_) => true,
            Recipients::Device(device) => {
                transaction.spec.recipients == *named || transaction.taken_by(*device)
            }
        })
    }
}

/// The content that is shown and signed: the message, or the message and its rows as a statement.
fn content(message: String, rows: Vec<(String, String)>) -> Result<Content, BadBody> {
    if message.is_empty() {
        return bad("signatureMessage", "not empty: it is what the person signs");
    }
    if rows.len() > ROWS_MAX {
        return bad("signatureMessageItems", &format!("at most {ROWS_MAX} items"));
    }
    let content = if rows.is_empty() {
        Content { media_type: MediaType::Text, bytes: message.into_bytes() }
    } else {
        let bytes = Statement { message, rows }.to_bytes();
        Content { media_type: MediaType::Statement, bytes }
    };
    if content.bytes.len() > CONTENT_BYTES_MAX {
        let bound = format!("at most {CONTENT_BYTES_MAX} bytes, its items included");
        return bad("signatureMessage", &bound);
    }
    Ok(content)
}

fn callback(url: Member, headers: Member) -> Result<Option<Callback>, BadBody> {
    let url: Option<String> = optional(url, "callbackUrl", "a string")?;
    let headers: Option<Pairs> = optional(headers, "callBackHeaders", "an object of strings")?;
    let headers = headers.map(|headers| headers.0).unwrap_or_default();
    // Without a URL, the response carries the result and no headers are sent. They are checked all
    // the same, so that adding the URL later cannot fail because of them.
    let present = url.filter(|url| !url.is_empty());
    let checked =
        callback_url::callback(present.as_deref().unwrap_or("https://localhost/"), headers);
    checked.map(|callback| present.map(|_| callback)).map_err(|reason| bad_callback(&reason))
}

/// Names the refused member, the URL or the headers.
pub(super) fn bad_callback(reason: &callback_url::BadCallback) -> BadBody {
    let field = match reason {
        callback_url::BadCallback::Header(_)
        | callback_url::BadCallback::Reserved(_)
        | callback_url::BadCallback::ManyHeaders => "callBackHeaders",
        callback_url::BadCallback::Long
        | callback_url::BadCallback::NotUrl
        | callback_url::BadCallback::NotHttps
        | callback_url::BadCallback::Credentials
        | callback_url::BadCallback::Forbidden(_) => "callbackUrl",
    };
    BadBody(format!("{field}: {reason}"))
}

/// `-1`, an empty string and an absent member mean every device.
fn recipients(device: Option<&str>, field: &str) -> Result<Recipients, BadBody> {
    match device {
        None | Some("" | "-1") => Ok(Recipients::Any),
        Some(id) => match id.parse::<DeviceId>() {
            Ok(id) => Ok(Recipients::Device(id)),
            Err(_) => bad(field, "a device's number as a string, or \"-1\" for any"),
        },
    }
}

fn transaction_id(raw: Member) -> Result<String, BadBody> {
    let id: String = required(raw, "transactionId", "a string")?;
    let plain = !id.is_empty() && id.len() <= NAME_BYTES_MAX && !id.chars().any(char::is_control);
    if plain { Ok(id) } else { bad("transactionId", "1 to 255 bytes without control characters") }
}

/// Seconds, as a whole number or in a string: the vendor's table says String, its sample has 1.
fn seconds(raw: Member, field: &str, least: u64) -> Result<Duration, BadBody> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }

    let most = CLOCK_MAX.as_secs();
    let what = format!("a whole number of seconds from {least} to {most}");
    let seconds = match required(raw, field, &what)? {
        Seconds::Number(number) => Some(number),
        Seconds::Text(text) => {
            let digits = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        }
    };
    match seconds.filter(|seconds| (least..=most).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => bad(field, &what),
    }
}

/// An object of strings, in the order received. A repeated name is refused, because the user would
/// be shown only one of the values.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object(PhantomData<()>);

        impl<'de> Visitor<'de> for Object {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                while let Some(pair) = map.next_entry::<String, String>()? {
                    if pairs.iter().any(|(name, _)| *name == pair.0) {
                        return Err(serde::de::Error::custom("a name is repeated"));
                    }
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Object(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sample() -> Value {
        json!({
            "transactionId": "demo", "deviceGoOnlineTimeout": 1, "deviceId": "-1",
            "pinRequired": false, "pushNotificationMessage": "string",
            "signatureMessage": "string", "signatureMode": "MESSAGE", "signatureTimeout": 1,
            "callbackUrl": "", "callBackHeaders": {"additionalProp1": "string"},
        })
    }

    fn parse(body: &Value) -> Result<Start, BadBody> {
        Start::parse(body.to_string().as_bytes(), &"jane".parse().unwrap())
    }

    fn with(field: &str, value: Value) -> Result<Start, BadBody> {
        let mut body = sample();
        body[field] = value;
        parse(&body)
    }

    #[test]
    fn the_vendors_sample_is_read() {
        let start = parse(&sample()).unwrap();
        assert_eq!(start.recipients, Recipients::Any);
        let second = Duration::from_secs(1);
        assert_eq!(start.clocks, Clocks::Two { go_online: second, sign: second });
        assert_eq!(start.content.bytes, b"string");
        assert_eq!(start.callback, None);
    }

    #[test]
    fn every_field_of_a_wrong_type_is_refused_by_name() {
        for field in [
            "transactionId",
            "deviceGoOnlineTimeout",
            "deviceId",
            "pinRequired",
            "pushNotificationMessage",
            "signatureMessage",
            "signatureMessageItems",
            "signatureMode",
            "signatureTimeout",
            "callbackUrl",
            "callBackHeaders",
        ] {
            for wrong in [json!([1]), json!({"a": {}}), json!(1.5), json!(["-1"])] {
                let BadBody(sentence) = with(field, wrong.clone()).unwrap_err();
                assert!(sentence.starts_with(&format!("{field} must be ")), "{wrong}: {sentence}");
            }
        }
    }

    #[test]
    fn a_number_may_come_as_a_string_and_must_make_sense() {
        for good in [json!(60), json!("60"), json!("060")] {
            assert!(with("signatureTimeout", good).is_ok());
        }
        for wrong in [
            json!(0),
            json!("0"),
            json!(-1),
            json!("-1"),
            json!("1.5"),
            json!(""),
            json!("1e3"),
            json!(604_801),
            json!(null),
        ] {
            assert!(with("signatureTimeout", wrong.clone()).is_err(), "{wrong}");
        }
        assert!(with("deviceGoOnlineTimeout", json!(0)).is_ok());
    }

    #[test]
    fn what_is_required_is_required() {
        for field in
            ["transactionId", "deviceGoOnlineTimeout", "signatureMessage", "signatureTimeout"]
        {
            let mut body = sample();
            body.as_object_mut().unwrap().remove(field);
            let BadBody(sentence) = parse(&body).unwrap_err();
            assert!(sentence.starts_with(&format!("{field} is required")), "{sentence}");
        }
    }

    #[test]
    fn items_keep_their_order_and_are_signed() {
        let body = r#"{"transactionId":"t","deviceGoOnlineTimeout":1,"signatureTimeout":1,
            "signatureMessage":"Pay","signatureMessageItems":{"To":"Bob","Amount":"5","A":"1"}}"#;
        let start = Start::parse(body.as_bytes(), &"jane".parse().unwrap()).unwrap();
        assert_eq!(start.content.media_type, MediaType::Statement);
        assert_eq!(
            String::from_utf8(start.content.bytes).unwrap(),
            r#"{"message":"Pay","rows":[["To","Bob"],["Amount","5"],["A","1"]]}"#
        );
        assert!(body.replace("\"A\"", "\"To\"").contains("\"To\":\"1\""));
        let twice = body.replace("\"A\"", "\"To\"");
        assert!(Start::parse(twice.as_bytes(), &"jane".parse().unwrap()).is_err());
    }

    #[test]
    fn the_same_request_is_told_from_another_however_it_is_spelled() {
        let first = parse(&sample()).unwrap().reference;
        assert_eq!(with("signatureTimeout", json!("1")).unwrap().reference, first);
        for (field, value) in [
            ("signatureMessage", json!("other")),
            ("signatureTimeout", json!(2)),
            ("pinRequired", json!(true)),
            ("deviceId", json!("7")),
            ("callbackUrl", json!("https://shop.example/")),
            ("pushNotificationMessage", json!("other")),
        ] {
            assert_ne!(with(field, value).unwrap().reference.request, first.request, "{field}");
        }
    }

    #[test]
    fn callbacks_are_checked_at_the_start_in_either_spelling() {
        assert!(with("callbackUrl", json!("https://shop.example/")).unwrap().callback.is_some());
        assert!(with("callBackUrl", json!("x")).is_err(), "given twice");
        for (field, value) in [
            ("callbackUrl", json!("http://shop.example/")),
            ("callBackHeaders", json!({"Host": "x"})),
            ("callBackHeaders", json!({"X": "a\r\nb"})),
        ] {
            let BadBody(sentence) = with(field, value).unwrap_err();
            assert!(sentence.starts_with(&format!("{field}: ")), "{sentence}");
        }
    }

    #[test]
    fn a_cancel_names_its_devices_in_an_array() {
        let cancel = Cancel::parse(br#"{"deviceId":["-1"],"transactionId":"demo"}"#).unwrap();
        assert_eq!(
            (cancel.transaction_id.as_str(), cancel.recipients),
            ("demo", vec![Recipients::Any])
        );
        assert!(Cancel::parse(br#"{"deviceId":"-1","transactionId":"demo"}"#).is_err());
        assert!(Cancel::parse(b"[]").is_err());
        assert!(Cancel::parse(b"{").is_err());
    }
}
