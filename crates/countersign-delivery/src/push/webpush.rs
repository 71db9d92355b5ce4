//! Browsers' push services, and others with the same protocol: Web Push (RFC 8030), encrypted (RFC
//! 8291), with a token for each service (RFC 8292). `UnifiedPush` requires the same.

use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use countersign_core::limited_cache::LimitedCache;
use countersign_core::push::{PushAddress, SubscriptionKeys};
use countersign_core::time::Timestamp;
use countersign_wire::jwk::PublicJwk;
use countersign_wire::webpush::{self, Subscription};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use url::Url;

use super::credential::Credential;
use super::{PushOutcome, Wake};
use countersign_config::ServiceConfig;
use countersign_egress::outbound::GuardedOutbound;

/// The lifetime of a token; at most a day (RFC 8292, section 2).
const TOKEN_LIFE: Duration = Duration::from_hours(12);
/// How long a token is used before it is renewed.
const TOKEN_USE: Duration = Duration::from_hours(6);
/// The number of services whose tokens are kept.
const TOKENS_MAX: usize = 1_024;

/// A sender to browsers.
pub(super) struct WebPush {
    contact: String,
    key: Credential<VapidKey>,
}

/// The sender's key, and the tokens that it signed, by audience.
struct VapidKey {
    signing: EncodingKey,
    public: String,
    tokens: Mutex<LimitedCache<String, (Timestamp, HeaderValue)>>,
}

#[derive(Serialize)]
struct VapidClaims<'a> {
    aud: &'a str,
    exp: u64,
    sub: &'a str,
}

impl WebPush {
    /// `None` for another service's configuration.
    pub(super) fn new(service: &ServiceConfig) -> Option<Self> {
        let ServiceConfig::WebPush { key_file, contact } = service else { return None };
        Some(Self { contact: contact.clone(), key: Credential::at(key_file, VapidKey::read) })
    }

    /// Checks that the key can be used.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), String> {
        self.key.get(now).map(drop)
    }

    /// The public key that a browser needs to subscribe, base64url.
    pub(super) fn public_key(&self, now: Timestamp) -> Option<String> {
        self.key.get(now).ok().map(|key| key.public.clone())
    }

    /// Sends through the guard, because a device chose the address.
    pub(super) async fn send(&self, guarded: &GuardedOutbound, wake: &Wake<'_>) -> PushOutcome {
        let key = match self.key.get(wake.at) {
            Ok(key) => key,
            Err(trouble) => return PushOutcome::Credentials(trouble),
        };
        let parsed = Url::parse(&wake.address.token).ok().zip(subscription(wake.address));
        let Some((url, subscription)) = parsed else {
            return PushOutcome::Refused("its address is not a subscription".into());
        };
        let audience = url.origin().ascii_serialization();
        let token = match key.token(&audience, &self.contact, wake.at) {
            Ok(token) => token,
            Err(error) => {
                return PushOutcome::Credentials(format!("no token can be signed: {error}"));
            }
        };
        let text = serde_json::to_vec(&wake.payload).expect("a payload is plain JSON");
        let message = Bytes::from(webpush::seal(&subscription, &text));
        match guarded.post(wake.tenant, url, headers(wake, token), message).await {
            Ok(answer) => PushOutcome::by_status(&answer, wake),
            Err(unanswered) => PushOutcome::Unanswered(unanswered),
        }
    }
}

fn subscription(address: &PushAddress) -> Option<Subscription> {
    let SubscriptionKeys { p256dh, auth } = address.keys.as_ref()?;
    let p256dh = PublicJwk::from_point(p256dh).ok()?;
    Some(Subscription { endpoint: address.token.clone(), p256dh, auth: *auth })
}

fn headers(wake: &Wake<'_>, token: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, token);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
    let ttl = wake.at.until(wake.expires_at).as_secs().to_string();
    for (name, value) in [
        ("ttl", ttl.as_str()),
        ("urgency", "high"),
        // At most 32 characters of base64url (RFC 8030, section 5.4); a repeated attempt replaces
        // the one before.
        ("topic", &wake.id.to_string()),
    ] {
        let value = HeaderValue::from_str(value).expect("hex and digits are visible ASCII");
        headers.insert(HeaderName::from_static(name), value);
    }
    headers
}

impl VapidKey {
    fn read(pem: &[u8]) -> anyhow::Result<Self> {
        let why = "it is no P-256 key in PKCS#8, PEM";
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).ok().context(why)?;
        let der = der.secret_pkcs8_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        let pair = pair.ok().context(why)?;
        Ok(Self {
            signing: EncodingKey::from_ec_der(der),
            public: BASE64URL.encode(pair.public_key()),
            tokens: Mutex::new(LimitedCache::new(TOKENS_MAX)),
        })
    }

    fn token(&self, audience: &str, contact: &str, now: Timestamp) -> anyhow::Result<HeaderValue> {
        let mut tokens = self.tokens.lock();
        if let Some((made_at, token)) = tokens.get(&audience.to_owned())
            && now < *made_at + TOKEN_USE
        {
            return Ok(token.clone());
        }
        let exp = (now + TOKEN_LIFE).seconds();
        let claims = VapidClaims { aud: audience, exp, sub: contact };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.signing)?;
        let token = HeaderValue::from_str(&format!("vapid t={token}, k={}", self.public))?;
        tokens.insert(audience.to_owned(), (now, token.clone()), 1);
        Ok(token)
    }
}
