//! A sender of the operator's own: a webhook with the push, signed like our callbacks.

use anyhow::Context as _;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use countersign_core::port::CallbackMacs;
use countersign_core::secret::Key32;
use countersign_core::time::Timestamp;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::credential::Credential;
use super::{PushOutcome, Wake};
use crate::webhook::{AGENT, Message, sign, signed_content};
use countersign_config::ServiceConfig;
use countersign_egress::outbound::GuardedOutbound;

/// One webhook sender.
pub(super) struct WebhookSender {
    url: Url,
    key: Credential<Key32>,
}

impl WebhookSender {
    /// `None` for another service's configuration.
    pub(super) fn new(service: &ServiceConfig) -> Option<Self> {
        let ServiceConfig::Webhook { url, secret_file } = service else { return None };
        Some(Self { url: url.clone(), key: Credential::at(secret_file, read) })
    }

    /// Checks that the secret can be used.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), String> {
        self.key.get(now).map(drop)
    }

    /// Sends through the guard, like callbacks.
    pub(super) async fn send(&self, guarded: &GuardedOutbound, wake: &Wake<'_>) -> PushOutcome {
        let key = match self.key.get(wake.at) {
            Ok(key) => key,
            Err(trouble) => return PushOutcome::Credentials(trouble),
        };
        let body = json!({
            "token": wake.address.token,
            "expires_at": wake.expires_at.0,
            "message": wake.payload,
        });
        let body = Bytes::from(body.to_string());
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
        let mac = hmac::sign(&key, &signed_content(wake.id, wake.at, &body));
        let newest = mac.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes");
        let macs = CallbackMacs { newest, before: None };
        let message = Message { id: wake.id, at: wake.at, body: body.clone(), macs };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        sign(&mut headers, &message);
        match guarded.post(wake.tenant, self.url.clone(), headers, body).await {
            Ok(answer) => PushOutcome::by_status(&answer, wake),
            Err(unanswered) => PushOutcome::Unanswered(unanswered),
        }
    }
}

/// `whsec_` and base64 of 32 bytes, as Standard Webhooks writes secrets.
fn read(text: &[u8]) -> anyhow::Result<Key32> {
    let why = "it does not hold `whsec_` and 32 bytes in base64";
    let text = str::from_utf8(text).ok().context(why)?.trim();
    let secret = text.strip_prefix("whsec_").context(why)?;
    let bytes = Zeroizing::new(BASE64.decode(secret).ok().context(why)?);
    let key: &[u8; 32] = bytes.as_slice().try_into().ok().context(why)?;
    Ok(Key32::copied(key))
}
