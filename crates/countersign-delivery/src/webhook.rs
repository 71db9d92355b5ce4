//! One call of a callback's address: signed, limited, and with a closed set of outcomes.
//!
//! Signatures follow Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use countersign_core::delivery::Attempt;
use countersign_core::id::{DeliveryId, TenantName};
use countersign_core::port::CallbackMacs;
use countersign_core::spec::Callback;
use countersign_core::time::Timestamp;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use url::Url;

use countersign_egress::outbound::{GuardedOutbound, Unanswered, is_outage};

pub(super) const AGENT: &str = concat!("Countersign/", env!("CARGO_PKG_VERSION"));

/// Calls the addresses of callbacks. Clones share their connections.
#[derive(Clone)]
pub struct CallbackClient(GuardedOutbound);

/// The content of one call.
pub struct Message {
    /// The delivery's id, the same in each attempt.
    pub id: DeliveryId,
    /// The time of this attempt.
    pub at: Timestamp,
    /// The result, in its dialect's format.
    pub body: Bytes,
    /// The MACs of its [`signed_content`].
    pub macs: CallbackMacs,
}

/// The outcome of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CallOutcome {
    /// A complete head of an answer, and the pause that it asks for.
    Answered(StatusCode, Option<Duration>),
    /// No answer.
    Unanswered(Unanswered),
}

impl CallbackClient {
    /// Makes calls through `outbound`.
    pub fn new(outbound: GuardedOutbound) -> Self {
        Self(outbound)
    }

    /// Makes one call for `tenant`. The outcome depends only on the answer's head.
    pub async fn call(
        &self,
        tenant: &TenantName,
        callback: &Callback,
        message: Message,
    ) -> CallOutcome {
        // The address was checked when the transaction started; it is checked again by today's
        // configuration.
        let Ok(url) = Url::parse(&callback.url) else {
            return CallOutcome::Unanswered(Unanswered::Broken("the address is no URL".into()));
        };
        let headers = headers(callback, &message);
        match self.0.post(tenant, url, headers, message.body).await {
            Ok(answer) => CallOutcome::Answered(answer.status, answer.retry_after(message.at)),
            Err(unanswered) => CallOutcome::Unanswered(unanswered),
        }
    }
}

/// The caller's own headers, and ours. If both contain one, ours is sent, except for the agent's
/// name.
fn headers(callback: &Callback, message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &callback.headers {
        // Both were checked when the transaction started.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    sign(&mut headers, message);
    headers
}

/// Adds the headers of Standard Webhooks.
pub(super) fn sign(headers: &mut HeaderMap, message: &Message) {
    let (id, at) = (message.id.to_string(), message.at.seconds().to_string());
    let CallbackMacs { newest, before } = message.macs;
    let signatures = std::iter::once(newest).chain(before);
    let signatures = signatures.map(|mac| format!("v1,{}", BASE64.encode(mac)));
    let signatures = signatures.collect::<Vec<_>>().join(" ");
    for (name, value) in
        [("webhook-id", id), ("webhook-timestamp", at), ("webhook-signature", signatures)]
    {
        let value = HeaderValue::try_from(value).expect("hex, digits and base64 are visible ASCII");
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// The bytes that a call's signatures are over: `id.timestamp.body`.
pub(super) fn signed_content(id: DeliveryId, at: Timestamp, body: &[u8]) -> Vec<u8> {
    let mut content = format!("{id}.{}.", at.seconds()).into_bytes();
    content.extend_from_slice(body);
    content
}

impl CallOutcome {
    /// The result of the attempt, for the delivery.
    ///
    /// Every status but 2xx is retried until the time is over, also redirects and refusals: a
    /// receiver that loses its credentials for an hour loses no result. `410 Gone` ends the retries
    /// at once.
    pub fn attempt(&self) -> Attempt {
        match self {
            Self::Answered(status, _) if status.is_success() => Attempt::Accepted,
            Self::Answered(StatusCode::GONE, _) => Attempt::Rejected,
            Self::Answered(_, asked) => Attempt::Deferred(*asked),
            Self::Unanswered(_) => Attempt::Deferred(None),
        }
    }

    /// Whether the receiver as a whole has an outage, so that further calls do not help.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Answered(status, _) => is_outage(*status),
            Self::Unanswered(_) => true,
        }
    }

    /// Its name in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Answered(status, _) => match status.as_u16() {
                200..=299 => "delivered",
                300..=399 => "redirected",
                400..=499 => "refused",
                _ => "server_error",
            },
            Self::Unanswered(unanswered) => unanswered.as_str(),
        }
    }
}

/// For the log and the ledger; contains nothing of the message.
impl fmt::Display for CallOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(status, _) => write!(f, "answered {}", status.as_u16()),
            Self::Unanswered(unanswered) => unanswered.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;

    use super::*;

    /// The `webhook-signature` header of a message with this MAC.
    fn signature(newest: [u8; 32], before: Option<[u8; 32]>) -> String {
        let mut headers = HeaderMap::new();
        let (id, at, body) = (DeliveryId(7), Timestamp(0), Bytes::new());
        sign(&mut headers, &Message { id, at, body, macs: CallbackMacs { newest, before } });
        headers["webhook-signature"].to_str().unwrap().to_owned()
    }

    fn mac(key: &[u8], content: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, content).as_ref().try_into().unwrap()
    }

    /// The example of the Standard Webhooks specification's reference libraries.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let key = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let text = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature(mac(&key, text), None), expected);
        let both = signature([1; 32], Some(mac(&key, text)));
        assert_eq!(both, format!("v1,{} {expected}", BASE64.encode([1; 32])));
    }

    /// `cargo xtask test` also checks the vectors with the specification's own library.
    #[test]
    fn a_signature_is_that_of_the_vectors() {
        let vectors = include_str!("../../../docs/vectors/webhooks.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let text = |name: &str| case[name].as_str().unwrap();
            let key = BASE64.decode(text("secret").strip_prefix("whsec_").unwrap()).unwrap();
            let id = DeliveryId(u128::from_str_radix(text("id"), 16).unwrap());
            let at = Timestamp(case["timestamp"].as_u64().unwrap() * 1_000);
            let content = signed_content(id, at, text("body").as_bytes());
            assert_eq!(signature(mac(&key, &content), None), text("signature"));
        }
    }

    #[test]
    fn our_headers_outrank_the_callers_besides_the_agents_name() {
        let callback = Callback {
            url: "https://shop.example/".into(),
            headers: vec![
                ("X-Order".into(), "7".into()),
                ("Content-Type".into(), "text/plain".into()),
                ("User-Agent".into(), "Shop".into()),
            ],
        };
        let message = Message {
            id: DeliveryId(7),
            at: Timestamp(1_999),
            body: Bytes::from_static(b"{}"),
            macs: CallbackMacs { newest: [1; 32], before: Some([2; 32]) },
        };
        let headers = headers(&callback, &message);
        assert_eq!(headers["x-order"], "7");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["user-agent"], "Shop");
        assert_eq!(headers["webhook-id"], "00000000000000000000000000000007");
        assert_eq!(headers["webhook-timestamp"], "1");
        let both = headers["webhook-signature"].to_str().unwrap();
        assert_eq!(both.split(' ').filter(|one| one.starts_with("v1,")).count(), 2);
    }

    #[test]
    fn everything_but_a_2xx_is_tried_again_and_gone_is_gone() {
        let answered =
            |status: u16| CallOutcome::Answered(StatusCode::from_u16(status).unwrap(), None);
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(answered(status).attempt(), Attempt::Accepted, "{status}");
        }
        for status in [301, 302, 400, 401, 403, 404, 408, 425, 429, 500, 502, 503, 599] {
            assert_eq!(answered(status).attempt(), Attempt::Deferred(None), "{status}");
        }
        assert_eq!(answered(410).attempt(), Attempt::Rejected);
        for (status, outage) in [(200, false), (404, false), (302, false), (429, true), (500, true)]
        {
            assert_eq!(answered(status).is_outage(), outage, "{status}");
        }
    }
}
