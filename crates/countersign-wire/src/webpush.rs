//! Web Push encryption: one message that the push service carries and cannot read (RFC 8291, RFC
//! 8188).
//!
//! ```text
//! salt (16) ‖ record size (4) ‖ 65 ‖ the sender's public key (65) ‖ AES-128-GCM of text ‖ 02
//! ```

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, UnparsedPublicKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::encoding::{from_base64url, to_base64url};
use crate::jwk::{PrivateJwk, PublicJwk};
use crate::limits::{PUSH_ENDPOINT_BYTES_MAX, PUSH_MESSAGE_BYTES_MAX};
use crate::secret::fill_random;

/// The longest text of a message: the largest push without header, delimiter and tag.
pub const TEXT_BYTES_MAX: usize = PUSH_MESSAGE_BYTES_MAX - HEAD_BYTES - 1 - TAG_BYTES;

const HEAD_BYTES: usize = SALT_BYTES + 4 + 1 + POINT_BYTES;
const SALT_BYTES: usize = 16;
const POINT_BYTES: usize = 65;
const TAG_BYTES: usize = 16;
/// The record size in the header. A message is one record of any size up to this.
const RECORD_BYTES: u32 = 4_096;
/// The delimiter after the text of the last record.
const LAST: u8 = 2;

/// The address at which a browser, or another receiver, gets messages.
#[derive(Clone, Eq, PartialEq)]
pub struct Subscription {
    /// The push service's URL for this receiver. Every holder of the URL can send to it.
    pub endpoint: String,
    /// The receiver's public key.
    pub p256dh: PublicJwk,
    /// The authentication secret.
    pub auth: [u8; 16],
}

/// The secrets of a receiver.
#[derive(Clone)]
pub struct Keys {
    private: PrivateJwk,
    auth: [u8; 16],
}

/// The message was encrypted to other keys, or was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the push message does not open")]
pub struct Unopened;

/// The JSON of `JSON.stringify(subscription)` (Push API §8). Other members are ignored.
#[derive(Deserialize)]
struct SubscriptionBody {
    endpoint: String,
    keys: KeysBody,
}

#[derive(Deserialize)]
struct KeysBody {
    p256dh: String,
    auth: String,
}

impl Subscription {
    /// Reads a subscription as a browser writes it. `None` if the text is not a subscription.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        let body: SubscriptionBody = serde_json::from_str(text).ok()?;
        let bytes = |text: &str| from_base64url(text.trim_end_matches('='));
        let endpoint = body.endpoint;
        let is_plain = endpoint.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || endpoint.len() > PUSH_ENDPOINT_BYTES_MAX {
            return None;
        }
        endpoint.strip_prefix("https://").filter(|rest| !rest.is_empty())?;
        let p256dh = PublicJwk::from_point(&bytes(&body.keys.p256dh)?).ok()?;
        let auth = bytes(&body.keys.auth)?.try_into().ok()?;
        Some(Self { endpoint, p256dh, auth })
    }

    /// Writes the subscription as a browser does.
    #[must_use]
    pub fn to_json(&self) -> String {
        let p256dh = to_base64url(self.p256dh.point());
        let keys = serde_json::json!({"p256dh": p256dh, "auth": to_base64url(self.auth)});
        serde_json::json!({"endpoint": self.endpoint, "keys": keys}).to_string()
    }
}

/// Hides the endpoint and the secret.
impl core::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

impl Keys {
    /// Generates the secrets of a receiver.
    #[must_use]
    pub fn generate() -> Self {
        let mut auth = [0; 16];
        fill_random(&mut auth);
        Self { private: PrivateJwk::generate(), auth }
    }

    /// The subscription for senders, with messages to `endpoint`.
    #[must_use]
    pub fn subscription(&self, endpoint: String) -> Subscription {
        Subscription { endpoint, p256dh: self.private.public().clone(), auth: self.auth }
    }

    /// Opens a message.
    ///
    /// # Errors
    /// [`Unopened`] for every change.
    pub fn open(&self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        if message.len() > PUSH_MESSAGE_BYTES_MAX {
            return Err(Unopened);
        }
        let (salt, rest) = message.split_first_chunk::<SALT_BYTES>().ok_or(Unopened)?;
        let (size, rest) = rest.split_first_chunk::<4>().ok_or(Unopened)?;
        let (length, rest) = rest.split_first().ok_or(Unopened)?;
        if usize::from(*length) != POINT_BYTES || rest.len() < POINT_BYTES {
            return Err(Unopened);
        }
        let (point, record) = rest.split_at(POINT_BYTES);
        // RFC 8291 §4: a receiver may refuse more than one record.
        if record.len() > u32::from_be_bytes(*size) as usize {
            return Err(Unopened);
        }
        let sender = PublicJwk::from_point(point).map_err(|_| Unopened)?;
        let receiver = self.private.public();
        let shared = agree(&self.private, &sender);
        let secrets = MessageSecrets::of(&shared, &self.auth, receiver, &sender, salt);
        let mut text = Zeroizing::new(record.to_vec());
        let (key, nonce) = secrets.parts();
        let length = key.open_in_place(nonce, Aad::empty(), &mut text);
        let length = length.map_err(|_| Unopened)?.len();
        text.truncate(length);
        // Zeros may follow the delimiter.
        let end = text.iter().rposition(|byte| *byte != 0).ok_or(Unopened)?;
        if text[end] != LAST {
            return Err(Unopened);
        }
        text.truncate(end);
        Ok(text)
    }
}

/// Encrypts at most [`TEXT_BYTES_MAX`] bytes for a subscriber. The result is the body of one push
/// (RFC 8291 §4).
#[must_use]
pub fn seal(to: &Subscription, text: &[u8]) -> Vec<u8> {
    let mut salt = [0; SALT_BYTES];
    fill_random(&mut salt);
    seal_with(to, text, &PrivateJwk::generate(), &salt)
}

fn seal_with(
    to: &Subscription,
    text: &[u8],
    sender: &PrivateJwk,
    salt: &[u8; SALT_BYTES],
) -> Vec<u8> {
    assert!(text.len() <= TEXT_BYTES_MAX, "callers bound the text of a push");
    let shared = agree(sender, &to.p256dh);
    let secrets = MessageSecrets::of(&shared, &to.auth, &to.p256dh, sender.public(), salt);
    let mut record = text.to_vec();
    record.push(LAST);
    let (key, nonce) = secrets.parts();
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record).expect("a record is small");
    let point = sender.public().point();
    [&salt[..], &RECORD_BYTES.to_be_bytes(), &[POINT_BYTES as u8], point, &record].concat()
}

fn agree(mine: &PrivateJwk, theirs: &PublicJwk) -> Zeroizing<Vec<u8>> {
    let theirs = UnparsedPublicKey::new(&agreement::ECDH_P256, theirs.point());
    let shared = agreement::agree(&mine.agreement(), theirs, (), |shared| {
        Ok(Zeroizing::new(shared.to_vec()))
    });
    shared.expect("a point on the curve and a private key have a shared secret")
}

/// The key and the nonce of a message.
struct MessageSecrets {
    key: Zeroizing<[u8; 16]>,
    nonce: [u8; 12],
}

impl MessageSecrets {
    fn of(
        shared: &[u8],
        auth: &[u8; 16],
        receiver: &PublicJwk,
        sender: &PublicJwk,
        salt: &[u8; SALT_BYTES],
    ) -> Self {
        let info: [&[u8]; 3] = [b"WebPush: info\0", receiver.point(), sender.point()];
        let key = Salt::new(HKDF_SHA256, auth).extract(shared);
        let key: Zeroizing<[u8; 32]> = expand(&key, &info);
        let key = Salt::new(HKDF_SHA256, salt).extract(&*key);
        Self {
            nonce: *expand(&key, &[b"Content-Encoding: nonce\0"]),
            key: expand(&key, &[b"Content-Encoding: aes128gcm\0"]),
        }
    }

    fn parts(&self) -> (LessSafeKey, Nonce) {
        let key = UnboundKey::new(&AES_128_GCM, &*self.key).expect("16 bytes are an AES-128 key");
        (LessSafeKey::new(key), Nonce::assume_unique_for_key(self.nonce))
    }
}

/// The number of bytes that HKDF derives.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(key: &Prk, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    let expanded = key.expand(info, Length(N)).expect("the length is far below HKDF's limit");
    expanded.fill(&mut *bytes).expect("the output has the derived length");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 8291 appendix A and §5.
    mod rfc {
        pub(super) const TEXT: &str = "When I grow up, I want to be a watermelon";
        pub(super) const SENDER: &str = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
        pub(super) const SENDER_PUBLIC: &str = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3v\
             CYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
        pub(super) const RECEIVER: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
        pub(super) const RECEIVER_PUBLIC: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6\
             -AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
        pub(super) const SALT: &str = "DGv6ra1nlYgDCS1FRnbzlw";
        pub(super) const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
        pub(super) const KEY: &str = "oIhVW04MRdy2XN9CiKLxTg";
        pub(super) const NONCE: &str = "4h_95klXJ5E_qnoN";
        pub(super) const MESSAGE: &str = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkg\
             cy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLV\
             BSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
    }

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        from_base64url(text).unwrap().try_into().unwrap()
    }

    fn private(scalar: &str, point: &str) -> PrivateJwk {
        let (point, d) = (bytes::<65>(point), scalar);
        let (x, y) = (to_base64url(&point[1..33]), to_base64url(&point[33..]));
        let jwk = serde_json::json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "d": d});
        serde_json::from_value(jwk).unwrap()
    }

    fn receiver() -> Keys {
        let private = private(rfc::RECEIVER, rfc::RECEIVER_PUBLIC);
        Keys { private, auth: bytes(rfc::AUTH) }
    }

    #[test]
    fn a_sealed_message_equals_the_rfcs_example() {
        let to = receiver().subscription("https://push.example.net/push/x".to_owned());
        let sender = private(rfc::SENDER, rfc::SENDER_PUBLIC);
        let salt = bytes(rfc::SALT);
        let shared = agree(&sender, &to.p256dh);
        let secrets = MessageSecrets::of(&shared, &to.auth, &to.p256dh, sender.public(), &salt);
        assert_eq!(to_base64url(*secrets.key), rfc::KEY);
        assert_eq!(to_base64url(secrets.nonce), rfc::NONCE);
        let message = seal_with(&to, rfc::TEXT.as_bytes(), &sender, &salt);
        assert_eq!(to_base64url(message), rfc::MESSAGE);
    }

    #[test]
    fn the_rfcs_message_opens_and_no_other() {
        let message = from_base64url(rfc::MESSAGE).unwrap();
        assert_eq!(*receiver().open(&message).unwrap(), rfc::TEXT.as_bytes());
        assert_eq!(Keys::generate().open(&message), Err(Unopened));
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1;
            // The record size may be any size that the record fits in.
            let is_size = (SALT_BYTES..SALT_BYTES + 4).contains(&at);
            assert!(is_size || receiver().open(&changed).is_err(), "byte {at}");
            assert_eq!(receiver().open(&message[..at]), Err(Unopened), "cut at {at}");
        }
    }

    #[test]
    fn the_longest_text_makes_a_message_of_exactly_the_bound() {
        let keys = Keys::generate();
        let to = keys.subscription("https://push.example/".to_owned());
        for text in [vec![], vec![0], vec![2; TEXT_BYTES_MAX]] {
            let message = seal(&to, &text);
            assert_eq!(message.len(), PUSH_MESSAGE_BYTES_MAX - TEXT_BYTES_MAX + text.len());
            assert_eq!(*keys.open(&message).unwrap(), text);
        }
        assert_eq!(keys.open(&vec![0; PUSH_MESSAGE_BYTES_MAX + 1]), Err(Unopened));
    }

    #[test]
    fn a_subscription_reads_as_a_browser_writes_it() {
        let written = receiver().subscription("https://push.example/a?b".to_owned());
        assert_eq!(Subscription::from_json(&written.to_json()), Some(written.clone()));
        let json = |endpoint: &str, p256dh: &str, auth: &str| {
            format!(
                r#"{{"endpoint":"{endpoint}","expirationTime":null,
                    "keys":{{"p256dh":"{p256dh}","auth":"{auth}"}}}}"#
            )
        };
        let (point, auth) = (rfc::RECEIVER_PUBLIC, rfc::AUTH);
        let padded = json("https://push.example/a?b", &format!("{point}="), &format!("{auth}=="));
        assert_eq!(Subscription::from_json(&padded), Some(written));
        let long = format!("https://{}", "x".repeat(PUSH_ENDPOINT_BYTES_MAX));
        for wrong in [
            json("http://push.example/", point, auth),
            json("https://", point, auth),
            json("https://push.example/ x", point, auth),
            json(&long, point, auth),
            json("https://push.example/", &point[..80], auth),
            json("https://push.example/", &point.replace("BCV", "BCW"), auth),
            json("https://push.example/", point, &auth[..20]),
            "https://push.example/".to_owned(),
        ] {
            assert_eq!(Subscription::from_json(&wrong), None, "{wrong}");
        }
    }
}
