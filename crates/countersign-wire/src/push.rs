//! Push messages that wake a device: the form of its address at each service, and the payload.
//!
//! The guarantee: a push announces a transaction, its expiry, and a text for the lock screen, and
//! never the content.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::body::Push;
use crate::encoding::millis;
use crate::limits::PUSH_TOKEN_BYTES_MAX;
use crate::webpush::Subscription;

/// The push address of a device, in its service's canonical spelling.
#[derive(Clone, Eq, PartialEq)]
pub enum Address {
    /// A device token of Apple's, as lower-case hex digits.
    Apns(String),
    /// A registration token of Google's.
    Fcm(String),
    /// A Web Push subscription.
    WebPush(Subscription),
    /// The device's name at the operator's own sender.
    Webhook(String),
}

/// The address is not valid at its service. The sentence may be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadAddress {
    /// The provider is unknown.
    #[error("`provider` is apns, fcm, webpush or webhook")]
    Provider,
    /// The address is not hex, or has a wrong length. Apple does not fix the length of its tokens.
    #[error("an apns token is 32 to 100 bytes in hex")]
    Apns,
    /// The address has a character other than letters, digits and `-_:.`, or a wrong length.
    #[error("an fcm token is 20 to 4096 letters, digits and -_:.")]
    Fcm,
    /// The address is not a subscription; see [`Subscription::from_json`].
    #[error("a webpush token is a subscription in JSON: an https endpoint, and its keys")]
    WebPush,
    /// The address has a character that is not visible ASCII, or a wrong length.
    #[error("a webhook token is 1 to 512 visible ASCII characters")]
    Webhook,
}

impl Push {
    /// Checks the address by the rules of its service.
    ///
    /// # Errors
    /// [`BadAddress`], which describes the valid form.
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

/// Apple, "Registering your app with APNs": tokens are of variable length, and an application must
/// not hard-code a length.
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

/// The payload of a push, a JSON object. It is a whole Web Push message, the `message` of a
/// webhook, and one member among Apple's own. Google's values are texts, so there it is the text of
/// that object.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Payload {
    /// The transaction to fetch. Absent if the push only wakes the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub countersign: Option<Fetch>,
    /// The text for the lock screen, which is not confidential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The transaction to fetch.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fetch {
    /// The transaction's request key: ten digits.
    pub key: String,
    /// The time from which the transaction can no longer be fetched.
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
    fn a_payload_round_trips_and_unknown_members_are_ignored() {
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
