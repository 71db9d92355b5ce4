//! Google's service. Sources: Firebase, "projects.messages" and "FCM error codes"; Google, "Using
//! OAuth 2.0 for server to server applications".

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{Answer, PAYLOAD_BYTES_MAX, ReceivedPush, ServiceState, jwt, now, outage_answer};

/// The project of the devices.
pub const PROJECT: &str = "example-bank";
const ACCOUNT: &str = "sender@example-bank.iam.gserviceaccount.com";
const KEY_ID: &str = "0123456789abcdef0123456789abcdef01234567";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// The lifetime of an access token, in seconds.
const TOKEN_LIFE: u64 = 3_599;
/// The longest time to live of a message, in seconds: four weeks.
const TTL_MAX: f64 = 2_419_200.0;

pub(crate) struct Fcm {
    pair: KeyPair,
    /// The access tokens, each with its expiry in seconds.
    tokens: Mutex<BTreeMap<String, u64>>,
}

impl Fcm {
    pub(crate) fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        Self { pair, tokens: Mutex::default() }
    }

    /// A service account's file.
    pub(crate) fn account(&self, url: &str) -> String {
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&self.pair).expect("PKCS#8");
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            lines.join("\n")
        );
        json!({
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": KEY_ID,
            "private_key": pem,
            "client_email": ACCOUNT,
            "token_uri": format!("{url}/token"),
        })
        .to_string()
    }

    /// `POST /token` (RFC 7523).
    pub(crate) fn token(&self, asked: &ReceivedPush, url: &str) -> Answer {
        let refused = |error: &str| crate::json(400, &json!({"error": error}));
        let form: BTreeMap<_, _> = url::form_urlencoded::parse(&asked.body).into_owned().collect();
        if form.get("grant_type").map(String::as_str)
            != Some("urn:ietf:params:oauth:grant-type:jwt-bearer")
        {
            return refused("unsupported_grant_type");
        }
        let key = DecodingKey::from_rsa_raw_components(
            self.pair.public_key().modulus().big_endian_without_leading_zero(),
            self.pair.public_key().exponent().big_endian_without_leading_zero(),
        );
        let assertion = form.get("assertion").map(String::as_str).unwrap_or_default();
        let Some((header, claims)) = jwt::verified(assertion, Algorithm::RS256, &key) else {
            return refused("invalid_grant");
        };
        let seconds = |name: &str| claims[name].as_u64().unwrap_or_default();
        let (made_at, ends) = (seconds("iat"), seconds("exp"));
        let now = now().as_secs();
        let is_good = header["kid"] == KEY_ID
            && claims["iss"] == ACCOUNT
            && claims["scope"] == SCOPE
            && claims["aud"] == format!("{url}/token")
            && made_at <= now + 60
            && ends > now
            && ends.saturating_sub(made_at) <= 3_600;
        if !is_good {
            return refused("invalid_grant");
        }
        let mut tokens = self.tokens.lock();
        let token = format!("ya29.{}-{made_at}", tokens.len());
        tokens.insert(token.clone(), now + TOKEN_LIFE);
        crate::json(
            200,
            &json!({"access_token": token, "expires_in": TOKEN_LIFE, "token_type": "Bearer"}),
        )
    }

    /// `POST /v1/projects/{project}/messages:send`
    pub(crate) fn send(&self, state: &ServiceState, asked: &ReceivedPush, project: &str) -> Answer {
        let token = asked.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let until = token.and_then(|token| self.tokens.lock().get(token).copied());
        if until.is_none_or(|until| until <= now().as_secs()) {
            return crate::json(401, &error(401, "UNAUTHENTICATED", None));
        }
        if project != PROJECT {
            return crate::json(403, &error(403, "PERMISSION_DENIED", Some("SENDER_ID_MISMATCH")));
        }
        if let Some(trouble) = state.trouble() {
            let (status, reason) = (trouble.status, trouble.reason);
            return outage_answer(&trouble, &error(status, reason, Some(reason)));
        }
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let message = &body["message"];
        let invalid = |field: &str| {
            let mut body = error(400, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT"));
            let violation = json!({"fieldViolations": [{"field": field}]});
            body["error"]["details"].as_array_mut().expect("a list").push(violation);
            crate::json(400, &body)
        };
        let token = message["token"].as_str().unwrap_or_default();
        if token.len() < 20 {
            return invalid("message.token");
        }
        let texts = message["data"].as_object();
        let Some(data) = texts.filter(|data| data.values().all(Value::is_string)) else {
            return invalid("message.data");
        };
        let length =
            |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
        if data.iter().map(length).sum::<usize>() > PAYLOAD_BYTES_MAX {
            return invalid("message.data");
        }
        let android = &message["android"];
        if !matches!(android["priority"].as_str(), Some("HIGH" | "NORMAL")) {
            return invalid("message.android.priority");
        }
        let ttl = android["ttl"].as_str().and_then(|ttl| ttl.strip_suffix('s')?.parse().ok());
        if !ttl.is_some_and(|ttl: f64| (0.0..=TTL_MAX).contains(&ttl)) {
            return invalid("message.android.ttl");
        }
        if state.dead_since(token).is_some() {
            return crate::json(404, &error(404, "NOT_FOUND", Some("UNREGISTERED")));
        }
        state.took(asked, "fcm", token);
        let name = URL_SAFE_NO_PAD.encode(token.as_bytes());
        crate::json(200, &json!({"name": format!("projects/{PROJECT}/messages/{name}")}))
    }
}

/// An error in Google's form.
fn error(status: u16, name: &str, code: Option<&str>) -> Value {
    let details = code.map(|code| {
        let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
        json!({"@type": kind, "errorCode": code})
    });
    let details: Vec<_> = details.into_iter().collect();
    json!({"error": {"code": status, "status": name, "message": name, "details": details}})
}
