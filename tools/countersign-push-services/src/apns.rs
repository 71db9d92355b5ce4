//! Apple's service. Sources: "Sending notification requests to APNs", "Establishing a token-based
//! connection to APNs", "Handling notification responses from APNs".

use std::time::Duration;

use http::{Method, Version};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::Mutex;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::{Answer, PAYLOAD_BYTES_MAX, ReceivedPush, ServiceState, jwt, now, outage_answer};

/// The team of the sender.
pub const TEAM: &str = "DEF123GHIJ";
/// The id of the team's key.
pub const KEY_ID: &str = "ABC123DEFG";
/// The team's application.
pub const TOPIC: &str = "com.example.bank";

/// The age after which a provider token is refused.
const TOKEN_LIFE: Duration = Duration::from_hours(1);
/// The shortest time between two new provider tokens.
const TOKEN_CHANGE: Duration = Duration::from_mins(20);

pub(crate) struct Apns {
    pair: KeyPair,
    /// The issue time of the last presented token, in seconds.
    made_at: Mutex<Option<u64>>,
}

impl Apns {
    pub(crate) fn new() -> Self {
        let pair = KeyPair::generate().expect("a P-256 key");
        Self { pair, made_at: Mutex::default() }
    }

    pub(crate) fn key_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    pub(crate) fn send(&self, state: &ServiceState, asked: &ReceivedPush, token: &str) -> Answer {
        if let Some(trouble) = state.trouble() {
            return outage_answer(&trouble, &json!({"reason": trouble.reason}));
        }
        match self.judge(state, asked, token) {
            Ok(()) => {
                state.took(asked, "apns", token);
                crate::plain(http::StatusCode::OK)
            }
            Err((status, reason)) => {
                let mut body = json!({"reason": reason});
                if let (410, Some(since)) = (status, state.dead_since(token)) {
                    body["timestamp"] = json!(since);
                }
                crate::json(status, &body)
            }
        }
    }

    fn judge(
        &self,
        state: &ServiceState,
        asked: &ReceivedPush,
        token: &str,
    ) -> Result<(), (u16, &'static str)> {
        if asked.head.version != Version::HTTP_2 {
            return Err((505, "HttpVersionNotSupported"));
        }
        if asked.head.method != Method::POST {
            return Err((405, "MethodNotAllowed"));
        }
        self.authorized(asked)?;
        let header = |name| asked.header(name);
        match header("apns-topic") {
            None => return Err((400, "MissingTopic")),
            Some(TOPIC) => {}
            Some(_) => return Err((400, "TopicDisallowed")),
        }
        if asked.body.len() > PAYLOAD_BYTES_MAX {
            return Err((413, "PayloadTooLarge"));
        }
        let body: Value = serde_json::from_slice(&asked.body).map_err(|_| (400, "PayloadEmpty"))?;
        let aps = body["aps"].as_object().ok_or((400, "PayloadEmpty"))?;
        let is_silent = aps.get("content-available") == Some(&json!(1));
        match (header("apns-push-type"), header("apns-priority")) {
            (Some("alert"), Some("10" | "5" | "1")) if aps.contains_key("alert") => {}
            (Some("background"), Some("5")) if is_silent && !aps.contains_key("alert") => {}
            (Some("alert" | "background"), _) => return Err((400, "BadPriority")),
            _ => return Err((400, "InvalidPushType")),
        }
        let expiration = header("apns-expiration").unwrap_or("0");
        if expiration.parse::<u64>().is_err() {
            return Err((400, "BadExpirationDate"));
        }
        if header("apns-collapse-id").is_some_and(|id| id.len() > 64) {
            return Err((400, "BadCollapseId"));
        }
        if header("apns-id").is_some_and(|id| !is_uuid(id)) {
            return Err((400, "BadMessageId"));
        }
        let is_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || token.len() < 64 {
            return Err((400, "BadDeviceToken"));
        }
        if state.dead_since(token).is_some() {
            return Err((410, "Unregistered"));
        }
        Ok(())
    }

    /// Checks the provider token: its team, key and age.
    fn authorized(&self, asked: &ReceivedPush) -> Result<(), (u16, &'static str)> {
        let token = asked.header("authorization").and_then(|value| value.strip_prefix("bearer "));
        let token = token.ok_or((403, "MissingProviderToken"))?;
        let invalid = (403, "InvalidProviderToken");
        let key = DecodingKey::from_ec_der(self.pair.public_key_raw());
        let (header, claims) = jwt::verified(token, Algorithm::ES256, &key).ok_or(invalid)?;
        if header["kid"] != KEY_ID || claims["iss"] != TEAM {
            return Err(invalid);
        }
        let made_at = claims["iat"].as_u64().ok_or(invalid)?;
        let age = now().as_secs().checked_sub(made_at);
        if age.is_none_or(|age| age > TOKEN_LIFE.as_secs()) {
            return Err((403, "ExpiredProviderToken"));
        }
        let mut before = self.made_at.lock();
        if before.is_some_and(|before| {
            made_at != before && made_at.abs_diff(before) < TOKEN_CHANGE.as_secs()
        }) {
            return Err((429, "TooManyProviderTokenUpdates"));
        }
        *before = Some(made_at);
        Ok(())
    }
}

/// Returns whether a text is 8, 4, 4, 4 and 12 lower-case hex digits.
fn is_uuid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    let is_digit =
        |byte: u8| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(is_digit)
}
