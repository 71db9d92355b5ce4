//! Google's service: FCM's HTTP v1 API, with an access token for a service account.
//!
//! Sources: Firebase, "projects.messages.send", "FCM error codes"; Google, "Using OAuth 2.0 for
//! server to server applications" (RFC 7523).

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use countersign_core::time::Timestamp;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

use super::credential::Credential;
use super::{PushOutcome, Wake};
use countersign_config::ServiceConfig;
use countersign_egress::outbound::{Outbound, OutboundAnswer, Unanswered};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// The lifetime of the assertion that requests an access token; Google allows an hour.
const ASSERTION_LIFE: Duration = Duration::from_mins(10);
/// How long before it expires an access token is renewed.
const TOKEN_MARGIN: Duration = Duration::from_mins(5);
/// The wait after status 429 if Google does not say how long.
const QUOTA_WAIT: Duration = Duration::from_mins(1);

/// One project at Google's service.
pub(super) struct Fcm {
    endpoint: Url,
    account: Credential<Account>,
}

/// A service account's file, and the latest access token for it.
struct Account {
    project_id: String,
    client_email: String,
    key_id: String,
    token_uri: Url,
    key: EncodingKey,
    token: Mutex<Option<(Timestamp, HeaderValue)>>,
}

#[derive(Deserialize)]
struct AccountFile {
    project_id: String,
    client_email: String,
    private_key_id: String,
    private_key: String,
    token_uri: String,
}

#[derive(Serialize)]
struct FcmClaims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: u64,
}

impl Fcm {
    /// `None` for another service's configuration.
    pub(super) fn new(service: &ServiceConfig) -> Option<Self> {
        let ServiceConfig::Fcm { endpoint, service_account_file } = service else { return None };
        let account = Credential::at(service_account_file, Account::read);
        Some(Self { endpoint: endpoint.clone(), account })
    }

    /// Checks that the service account's file is valid.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), String> {
        self.account.get(now).map(drop)
    }

    /// Checks that Google issues a token to the service account.
    pub(super) async fn try_out(
        &self,
        outbound: &Outbound,
        now: Timestamp,
    ) -> Result<(), PushOutcome> {
        let account = self.account.get(now).map_err(PushOutcome::Credentials)?;
        account.token(outbound, now).await.map(drop)
    }

    pub(super) async fn send(&self, outbound: &Outbound, wake: &Wake<'_>) -> PushOutcome {
        let account = match self.account.get(wake.at) {
            Ok(account) => account,
            Err(trouble) => return PushOutcome::Credentials(trouble),
        };
        let token = match account.token(outbound, wake.at).await {
            Ok(token) => token,
            Err(outcome) => return outcome,
        };
        let path = format!("/v1/projects/{}/messages:send", account.project_id);
        let Ok(url) = self.endpoint.join(&path) else {
            return PushOutcome::Credentials("`project_id` fits in no address".into());
        };
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, token.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Bytes::from(body(wake).to_string());
        match outbound.post(url, headers, body).await {
            Ok(answer) => {
                let outcome = judge(&answer, wake);
                if answer.status.as_u16() == 401 {
                    account.forget(&token).await;
                }
                outcome
            }
            Err(unanswered) => PushOutcome::Unanswered(unanswered),
        }
    }
}

/// A data message: the application decides what it shows. Values are texts.
fn body(wake: &Wake<'_>) -> Value {
    let mut data = serde_json::Map::new();
    if let Some(fetch) = &wake.payload.countersign {
        data.insert("countersign".into(), json!(json!(fetch).to_string()));
    }
    if let Some(text) = &wake.payload.text {
        data.insert("text".into(), json!(text));
    }
    let ttl = wake.at.until(wake.expires_at);
    let ttl = format!("{}.{:03}s", ttl.as_secs(), ttl.subsec_millis());
    json!({"message": {
        "token": wake.address.token,
        "data": data,
        "android": {"priority": "HIGH", "ttl": ttl},
    }})
}

impl Account {
    fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        // The parser's error message could contain the key.
        let file: AccountFile = serde_json::from_slice(bytes).ok().context(
            "it is not a service account's file: project_id, client_email, private_key_id, \
             private_key and token_uri",
        )?;
        let key = EncodingKey::from_rsa_pem(file.private_key.as_bytes());
        let key = key.ok().context("`private_key` is no RSA key in PEM")?;
        let token_uri = Url::parse(&file.token_uri).ok().filter(|url| url.scheme() == "https");
        let account = Self {
            token_uri: token_uri.context("`token_uri` does not begin with https://")?,
            project_id: file.project_id,
            client_email: file.client_email,
            key_id: file.private_key_id,
            key,
            token: Mutex::new(None),
        };
        account.assertion(Timestamp(0)).context("`private_key` cannot sign")?;
        Ok(account)
    }

    fn assertion(&self, now: Timestamp) -> anyhow::Result<String> {
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::RS256) };
        let claims = FcmClaims {
            iss: &self.client_email,
            scope: SCOPE,
            aud: self.token_uri.as_str(),
            iat: now.seconds(),
            exp: (now + ASSERTION_LIFE).seconds(),
        };
        Ok(jsonwebtoken::encode(&header, &claims, &self.key)?)
    }

    /// The access token. If it has expired, one caller requests a new one, and the others wait for
    /// it.
    async fn token(&self, outbound: &Outbound, now: Timestamp) -> Result<HeaderValue, PushOutcome> {
        let mut held = self.token.lock().await;
        if let Some((until, token)) = &*held
            && now < *until
        {
            return Ok(token.clone());
        }
        let assertion = self.assertion(now).map_err(|error| {
            PushOutcome::Credentials(format!("no assertion can be signed: {error}"))
        })?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("assertion", &assertion)
            .finish();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, form_type)]);
        let answer = outbound.post(self.token_uri.clone(), headers, form.into()).await;
        let answer = answer.map_err(PushOutcome::Unanswered)?;
        let (token, life) = had(&answer, now)?;
        *held = Some((now + life.saturating_sub(TOKEN_MARGIN), token.clone()));
        Ok(token)
    }

    /// Drops this access token if it is the cached one, so that a new one is requested.
    async fn forget(&self, token: &HeaderValue) {
        let mut held = self.token.lock().await;
        if held.as_ref().is_some_and(|(_, held)| held == token) {
            *held = None;
        }
    }
}

/// The token in the token endpoint's answer, and its expiry (RFC 6749, section 5).
fn had(answer: &OutboundAnswer, now: Timestamp) -> Result<(HeaderValue, Duration), PushOutcome> {
    let status = answer.status.as_u16();
    if !answer.status.is_success() {
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let error = super::shown(told["error"].as_str().unwrap_or_default());
        let says = format!("the token endpoint answered {status} {error}");
        return Err(if answer.is_outage() {
            PushOutcome::Later { asked: answer.retry_after(now), says }
        } else {
            PushOutcome::Credentials(says)
        });
    }
    let token = serde_json::from_slice::<TokenAnswer>(&answer.body).ok().and_then(|answer| {
        let header = HeaderValue::from_str(&format!("Bearer {}", answer.access_token)).ok()?;
        Some((header, Duration::from_secs(answer.expires_in)))
    });
    let broken = || Unanswered::Broken("the token endpoint's answer holds no token".into());
    token.ok_or_else(|| PushOutcome::Unanswered(broken()))
}

fn judge(answer: &OutboundAnswer, wake: &Wake<'_>) -> PushOutcome {
    let status = answer.status.as_u16();
    if status == 200 {
        return PushOutcome::Sent;
    }
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let details = told["error"]["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let code = details.iter().find_map(|detail| detail["errorCode"].as_str());
    let code = code.or_else(|| told["error"]["status"].as_str()).unwrap_or_default();
    let says = format!("answered {status} {}", super::shown(code));
    // The device token was checked when the device registered, and the rest of the message is ours.
    let names_token = details.iter().any(|detail| {
        let fields = detail["fieldViolations"].as_array().map(Vec::as_slice).unwrap_or_default();
        fields.iter().any(|field| field["field"] == "message.token")
    });
    match (status, code) {
        (404, _) | (_, "UNREGISTERED") => PushOutcome::Gone(says),
        (400, "INVALID_ARGUMENT") if names_token => PushOutcome::Gone(says),
        (401 | 403, _) => PushOutcome::Credentials(says),
        (429, _) => {
            let asked = Some(answer.retry_after(wake.at).unwrap_or(QUOTA_WAIT));
            PushOutcome::Later { asked, says }
        }
        (500.., _) => PushOutcome::later(answer, wake, says),
        _ => PushOutcome::Refused(says),
    }
}
