//! Waking a device: the forms of its address at each service, and what a push says.
//!
//! The promise: a push says that there is something, until when, and what may be shown to anybody;
//! never what it is.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::body::Push;
use crate::encoding::millis;
use crate::limits::PUSH_TOKEN_BYTES_MAX;
use crate::webpush::Subscription;

/// Where a device is woken, in the one spelling of its service.
#[derive(Clone, Eq, PartialEq)]
pub enum Address {
    /// Apple's token, as lower-case hex digits.
    Apns(String),
    /// Google's registration token.
    Fcm(String),
    /// A Web Push subscription.
    WebPush(Subscription),
    /// Whatever the operator's own sender knows the device by.
    Webhook(String),
}

/// It is no address of that service; the sentence may be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadAddress {
    /// Nobody's name.
    #[error("`provider` is apns, fcm, webpush or webhook")]
    Provider,
    /// Apple's are bytes of no fixed number, written as hex.
    #[error("an apns token is 32 to 100 bytes in hex")]
    Apns,
    /// Google's are letters of base64url, and some besides.
    #[error("an fcm token is 20 to 4096 letters, digits and -_:.")]
    Fcm,
    /// See [`Subscription::from_json`].
    #[error("a webpush token is a subscription in JSON: an https endpoint, and its keys")]
    WebPush,
    /// Visible, and not too long.
    #[error("a webhook token is 1 to 512 visible ASCII characters")]
    Webhook,
}

impl Push {
    /// Checks the address by the rules of its service.
    ///
    /// # Errors
    /// [`BadAddress`], which says what the form is.
    pub fn address(&self) -> Result<Address, BadAddress> {
        let token = self.token.as_deref().unwrap_or_default();
        match self.provider.as_str() {
            "apns" => apns(token).ok_or(BadAddress::Apns),
            "fcm" => fcm(token).ok_or(BadAddress::Fcm),
            "webpush" => {
                Subscription::from_json(token).map(Address::WebPush).ok_or(BadAddress::WebPush)
            }
            "webhook" => webhook(token).ok_or(BadAddress::Webhook),
            _ => Err(BadAddress::Provider),
        }
    }
}

/// Apple, "Registering your app with APNs": tokens are of variable length, and no length is to be
/// hard-coded.
fn apns(token: &str) -> Option<Address> {
    let is_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = is_hex && token.len().is_multiple_of(2) && (64..=200).contains(&token.len());
    fits.then(|| Address::Apns(token.to_ascii_lowercase()))
}

fn fcm(token: &str) -> Option<Address> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte);
    let fits = token.bytes().all(is_letter) && (20..=PUSH_TOKEN_BYTES_MAX).contains(&token.len());
    fits.then(|| Address::Fcm(token.to_owned()))
}

fn webhook(token: &str) -> Option<Address> {
    let is_visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    (is_visible && (1..=512).contains(&token.len())).then(|| Address::Webhook(token.to_owned()))
}

/// What a push says, as a JSON object: the whole of a Web Push message and of a webhook's
/// `message`; one member among the service's own with Apple; with Google, whose values are texts,
/// the text of that object.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Payload {
    /// What to do about it. Absent where a push says nothing but "wake".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub countersign: Option<Fetch>,
    /// What may be shown to anybody who sees the screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What to fetch.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fetch {
    /// The transaction's request key: ten digits.
    pub key: String,
    /// From then on there is nothing to fetch.
    #[serde(with = "millis")]
    pub expires_at: Duration,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(provider: &str, token: &str) -> Result<Address, BadAddress> {
        Push { provider: provider.into(), token: Some(token.into()), language: None }.address()
    }

    #[test]
    fn each_service_has_a_form_of_its_own() {
        let apple = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
        assert!(matches!(read("apns", &apple.to_uppercase()), Ok(Address::Apns(t)) if t == apple));
        assert!(read("apns", &apple.repeat(3)).is_ok());
        for wrong in ["", &apple[..62], &apple[..63], &apple.repeat(4), &apple.replace('f', "g")] {
            assert_eq!(read("apns", wrong).err(), Some(BadAddress::Apns), "{wrong}");
        }
        let google = "bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1";
        assert!(read("fcm", google).is_ok() && read("fcm", &"x".repeat(4_096)).is_ok());
        for wrong in ["", "token", &google.replace(':', "/"), &"x".repeat(4_097)] {
            assert_eq!(read("fcm", wrong).err(), Some(BadAddress::Fcm), "{wrong}");
        }
        assert!(read("webhook", "a device").is_err());
        assert!(read("webhook", "device-7").is_ok());
        assert_eq!(read("webpush", "https://push.example").err(), Some(BadAddress::WebPush));
        assert_eq!(read("sms", google).err(), Some(BadAddress::Provider));
    }

    #[test]
    fn a_payload_reads_as_it_was_written_and_may_hold_more() {
        let fetch = Fetch { key: "0123456789".into(), expires_at: Duration::from_millis(1_500) };
        let payload = Payload { countersign: Some(fetch), text: Some("Look".into()) };
        let mut written = serde_json::to_value(&payload).unwrap();
        let fetch = json!({"key": "0123456789", "expires_at": 1_500});
        assert_eq!(written, json!({"countersign": fetch, "text": "Look"}));
        written["more"] = json!(1);
        assert_eq!(serde_json::from_value::<Payload>(written).unwrap(), payload);
        assert_eq!(serde_json::from_str::<Payload>("{}").unwrap(), Payload::default());
    }
}
