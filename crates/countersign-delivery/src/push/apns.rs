//! Apple's service: one HTTP/2 request a push, with a token that we sign.
//!
//! Sources: Apple, "Sending notification requests to APNs", "Establishing a token-based connection
//! to APNs", "Handling notification responses from APNs".

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use countersign_core::time::Timestamp;
use countersign_wire::push::Fetch;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use url::Url;

use super::credential::Credential;
use super::{PushOutcome, Wake};
use countersign_config::{ApnsPushType, ServiceConfig};
use countersign_egress::outbound::{Outbound, OutboundAnswer};

/// The use of a token: Apple allows a new one at most every 20 minutes, and requires one every 60.
const TOKEN_LIFE: Duration = Duration::from_mins(45);
const TOKEN_LIFE_MIN: Duration = Duration::from_mins(20);

const TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const ID: HeaderName = HeaderName::from_static("apns-id");
const COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");

/// One application at Apple's service.
pub(super) struct Apns {
    endpoint: Url,
    topic: HeaderValue,
    team_id: String,
    key_id: String,
    kind: ApnsPushType,
    key: Credential<ApnsKey>,
}

/// The key of a `.p8` file, and the latest token that it signed.
struct ApnsKey {
    key: EncodingKey,
    token: Mutex<Option<(Timestamp, HeaderValue)>>,
}

/// Apple's `aps` member, with ours beside it.
#[derive(Serialize)]
struct Payload<'a> {
    aps: Aps<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    countersign: Option<&'a Fetch>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Aps<'a> {
    Alert {
        alert: Alert<'a>,
        sound: &'static str,
    },
    Background {
        #[serde(rename = "content-available")]
        content_available: u8,
    },
}

#[derive(Serialize)]
struct Alert<'a> {
    body: &'a str,
}

#[derive(Serialize)]
struct ApnsClaims<'a> {
    iss: &'a str,
    iat: u64,
}

/// The body of Apple's answer.
#[derive(Default, Deserialize)]
struct ApnsError {
    #[serde(default)]
    reason: String,
    /// With 410: when the device token became invalid, in milliseconds.
    timestamp: Option<u64>,
}

impl Apns {
    /// `None` for another service's configuration.
    pub(super) fn new(service: &ServiceConfig) -> Option<Self> {
        let ServiceConfig::Apns { endpoint, key_file, key_id, team_id, topic, kind } = service
        else {
            return None;
        };
        Some(Self {
            endpoint: endpoint.clone(),
            topic: HeaderValue::from_str(topic).ok()?,
            team_id: team_id.clone(),
            key_id: key_id.clone(),
            kind: *kind,
            key: Credential::at(key_file, ApnsKey::read),
        })
    }

    /// Checks that the key can be used.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), String> {
        self.key.get(now).map(drop)
    }

    pub(super) async fn send(&self, outbound: &Outbound, wake: &Wake<'_>) -> PushOutcome {
        let key = match self.key.get(wake.at) {
            Ok(key) => key,
            Err(trouble) => return PushOutcome::Credentials(trouble),
        };
        let token = match key.token(&self.team_id, &self.key_id, wake.at) {
            Ok(token) => token,
            Err(error) => {
                return PushOutcome::Credentials(format!("no token can be signed: {error}"));
            }
        };
        let mut url = self.endpoint.clone();
        url.set_path(&format!("/3/device/{}", wake.address.token));
        let body = self.body(wake);
        match outbound.post(url, self.headers(wake, token), body).await {
            Ok(answer) => {
                let outcome = judge(&answer, wake);
                if matches!(&outcome, PushOutcome::Credentials(why) if why.contains("Expired")) {
                    key.forget(wake.at);
                }
                outcome
            }
            Err(unanswered) => PushOutcome::Unanswered(unanswered),
        }
    }

    fn headers(&self, wake: &Wake<'_>, token: HeaderValue) -> HeaderMap {
        let (kind, priority) = match self.kind {
            ApnsPushType::Alert => ("alert", "10"),
            // Apple refuses a background push with another priority.
            ApnsPushType::Background => ("background", "5"),
        };
        let id = wake.id.to_string();
        let uuid = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-");
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(AUTHORIZATION, token);
        headers.insert(TOPIC, self.topic.clone());
        headers.insert(PUSH_TYPE, HeaderValue::from_static(kind));
        headers.insert(PRIORITY, HeaderValue::from_static(priority));
        headers.insert(EXPIRATION, wake.expires_at.seconds().into());
        // A repeated attempt replaces the one before.
        for (name, value) in [(ID, uuid), (COLLAPSE_ID, id)] {
            let mut value = HeaderValue::try_from(value).expect("hex and dashes");
            // Apple: a value that differs in each request must not be added to the table of header
            // fields (RFC 7541, section 6.2.3).
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers
    }

    fn body(&self, wake: &Wake<'_>) -> Bytes {
        let aps = match self.kind {
            ApnsPushType::Alert => {
                Aps::Alert { alert: Alert { body: &wake.text }, sound: "default" }
            }
            ApnsPushType::Background => Aps::Background { content_available: 1 },
        };
        let body = Payload { aps, countersign: wake.payload.countersign.as_ref() };
        serde_json::to_vec(&body).expect("texts and numbers are JSON").into()
    }
}

impl ApnsKey {
    fn read(pem: &[u8]) -> anyhow::Result<Self> {
        let key = EncodingKey::from_ec_pem(pem).context("it is no P-256 key in PKCS#8, PEM")?;
        let key = Self { key, token: Mutex::new(None) };
        // A key on another curve is detected only when it signs.
        key.sign("check", "check", Timestamp(0)).context("it is no P-256 key")?;
        Ok(key)
    }

    fn sign(&self, team: &str, id: &str, now: Timestamp) -> anyhow::Result<HeaderValue> {
        let header =
            Header { typ: None, kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) };
        let claims = ApnsClaims { iss: team, iat: now.seconds() };
        let token = jsonwebtoken::encode(&header, &claims, &self.key)?;
        Ok(HeaderValue::from_str(&format!("bearer {token}"))?)
    }

    fn token(&self, team: &str, id: &str, now: Timestamp) -> anyhow::Result<HeaderValue> {
        let mut held = self.token.lock();
        if let Some((made_at, token)) = &*held
            && now < *made_at + TOKEN_LIFE
        {
            return Ok(token.clone());
        }
        let token = self.sign(team, id, now)?;
        *held = Some((now, token.clone()));
        Ok(token)
    }

    /// Makes the next call sign a new token, unless that would be too soon.
    fn forget(&self, now: Timestamp) {
        let mut held = self.token.lock();
        if held.as_ref().is_some_and(|(made_at, _)| now >= *made_at + TOKEN_LIFE_MIN) {
            *held = None;
        }
    }
}

fn judge(answer: &OutboundAnswer, wake: &Wake<'_>) -> PushOutcome {
    let status = answer.status.as_u16();
    let told: ApnsError = serde_json::from_slice(&answer.body).unwrap_or_default();
    let says = format!("answered {status} {}", super::shown(&told.reason));
    match (status, told.reason.as_str()) {
        (200, _) => PushOutcome::Sent,
        // The device registered again after Apple found the token invalid: the registration stays.
        (410, _) if told.timestamp.is_some_and(|at| wake.since.0 > at) => {
            PushOutcome::Refused(says)
        }
        (410, _) | (400, "BadDeviceToken") => PushOutcome::Gone(says),
        (403, _)
        | (400, "TopicDisallowed" | "BadTopic" | "MissingTopic")
        | (429, "TooManyProviderTokenUpdates") => PushOutcome::Credentials(says),
        (429, "TooManyRequests") => PushOutcome::Crowded(says),
        (429 | 500.., _) => PushOutcome::later(answer, wake, says),
        _ => PushOutcome::Refused(says),
    }
}
