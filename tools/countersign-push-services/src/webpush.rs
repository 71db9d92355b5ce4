//! A browser's service: RFC 8030, with the sender's identification of RFC 8292. It cannot read
//! messages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::json;

use crate::{
    Answer, PAYLOAD_BYTES_MAX, ReceivedPush, ServiceState, jwt, now, outage_answer, plain,
};

/// The longest lifetime of a token, in seconds: a day.
const TOKEN_LIFE_MAX: u64 = 86_400;

pub(crate) fn send(state: &ServiceState, asked: &ReceivedPush, service: &'static str) -> Answer {
    if let Some(trouble) = state.trouble() {
        return outage_answer(&trouble, &json!({"reason": trouble.reason}));
    }
    let path = asked.head.uri.path();
    if let Some(status) = state.failing.lock().get(path) {
        return plain(StatusCode::from_u16(*status).expect("a status"));
    }
    match judge(state, asked, path) {
        Ok(()) => {
            state.took(asked, service, path);
            state.ntfy.took(path, &asked.body);
            let mut answer = plain(StatusCode::CREATED);
            let message = format!("{}/message/{}", state.url(), asked.connection);
            answer.headers_mut().insert("location", message.parse().expect("a URL"));
            answer
        }
        Err(status) => plain(StatusCode::from_u16(status).expect("a status")),
    }
}

fn judge(state: &ServiceState, asked: &ReceivedPush, path: &str) -> Result<(), u16> {
    if asked.head.method != Method::POST {
        return Err(405);
    }
    identified(state, asked)?;
    let number = |name| asked.header(name).and_then(|value| value.parse::<u32>().ok());
    number("ttl").ok_or(400_u16)?; // RFC 8030 §5.2.
    if !matches!(asked.header("urgency"), None | Some("very-low" | "low" | "normal" | "high")) {
        return Err(400);
    }
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_topic = |topic: &str| topic.len() <= 32 && topic.bytes().all(is_letter);
    if !asked.header("topic").is_none_or(is_topic) {
        return Err(400);
    }
    if asked.body.len() > PAYLOAD_BYTES_MAX {
        return Err(413);
    }
    // RFC 8188 §2.1: a salt, a record size, and the sender's point.
    let is_encrypted = asked.header("content-encoding") == Some("aes128gcm");
    if !is_encrypted || asked.body.len() < 16 + 4 + 1 + 65 + 17 || asked.body[20] != 65 {
        return Err(400);
    }
    if state.dead_since(path).is_some() { Err(410) } else { Ok(()) }
}

/// RFC 8292 §2 to §4.
fn identified(state: &ServiceState, asked: &ReceivedPush) -> Result<(), u16> {
    let header = asked.header("authorization").and_then(|value| value.strip_prefix("vapid "));
    let parts = header.ok_or(401_u16)?.split(',').map(str::trim);
    let parts: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
    let part = |name| parts.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let (token, key) = part("t").zip(part("k")).ok_or(401_u16)?;
    let point = URL_SAFE_NO_PAD.decode(key).map_err(|_| 403_u16)?;
    let key = DecodingKey::from_ec_der(&point);
    let (_, claims) = jwt::verified(token, Algorithm::ES256, &key).ok_or(403_u16)?;
    let now = now().as_secs();
    let exp = claims["exp"].as_u64().unwrap_or_default();
    let sub = claims["sub"].as_str().unwrap_or_default();
    let is_good = claims["aud"] == state.url()
        && exp > now
        && exp <= now + TOKEN_LIFE_MAX
        && (sub.starts_with("mailto:") || sub.starts_with("https://"));
    if is_good { Ok(()) } else { Err(403) }
}
