//! The push services that wake devices: choosing one, the message, and the outcome.
//!
//! The guarantee: a service learns that a user is asked for something, until when, and a text that
//! may be shown; never the content. One invalid address blocks no other push, and one sender's
//! problem affects no other sender.

mod apns;
mod credential;
mod fcm;
mod webhook;
mod webpush;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_core::delivery::Attempt;
use countersign_core::id::{DeliveryId, TenantName};
use countersign_core::push::{Provider, PushAddress, Registration, SubscriptionKeys};
use countersign_core::push_policy::PushTarget;
use countersign_core::time::Timestamp;
use countersign_core::transaction::Transaction;
use countersign_wire::body::Push;
use countersign_wire::push::{Address, BadAddress, Fetch, Payload};
use parking_lot::RwLock;
use tracing::{info, warn};
use url::Url;

use self::apns::Apns;
use self::fcm::Fcm;
use self::webhook::WebhookSender;
use self::webpush::WebPush;
use countersign_config::{PushConfig, SenderConfig};
use countersign_egress::guard::Forbidden;
use countersign_egress::outbound::{GuardedOutbound, Outbound, OutboundAnswer, Unanswered};
use countersign_egress::resolve::Resolver;

/// The longest text, as JSON, in bytes; every service accepts it whole.
const TEXT_BYTES_MAX: usize = 2_048;
/// The number of bytes that are kept of a service's own message.
const WORDS_BYTES_MAX: usize = 64;

/// All push senders. Clones share them.
#[derive(Clone)]
pub struct Pushes(Arc<RwLock<Arc<Capacity>>>);

struct Capacity {
    senders: Vec<PushSender>,
    texts: BTreeMap<String, String>,
    language: String,
    is_bare: bool,
    guarded: GuardedOutbound,
    trusting: Outbound,
    resolver: Resolver,
}

/// A way to wake the devices that run one application.
struct PushSender {
    tenant: Option<TenantName>,
    app: Option<String>,
    provider: Provider,
    /// The sender's name in metrics and the log.
    name: String,
    service: PushService,
}

enum PushService {
    Apns(Apns),
    Fcm(Fcm),
    WebPush(WebPush),
    Webhook(WebhookSender),
}

/// One attempt to wake one device.
struct Wake<'a> {
    id: DeliveryId,
    tenant: &'a TenantName,
    /// The time of the attempt.
    at: Timestamp,
    /// The time after which the push is useless.
    expires_at: Timestamp,
    address: &'a PushAddress,
    /// The time of the device's registration.
    since: Timestamp,
    payload: Payload,
    /// The text that may be shown, even if the payload has none.
    text: String,
}

/// The outcome of an attempt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PushOutcome {
    /// The service accepted it.
    Sent,
    /// The address is no longer valid.
    Gone(String),
    /// The service will never accept this push.
    Refused(String),
    /// This device has received too many pushes; the limit is not for others.
    Crowded(String),
    /// The service has an outage, or asks for a pause.
    Later {
        /// The pause that the service asks for.
        asked: Option<Duration>,
        /// The service's message.
        says: String,
    },
    /// Our credentials for the service are unusable or refused.
    Credentials(String),
    /// The service did not answer.
    Unanswered(Unanswered),
    /// No sender is configured for this device's application.
    NoSender,
}

/// The reason why a device's address is refused; a sentence that may be shown.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadRegistration {
    /// The address is invalid.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// The endpoint is at a forbidden address.
    #[error("the endpoint may not be called: {0}")]
    Forbidden(#[from] Forbidden),
    /// The endpoint of a Web Push subscription is not a plain URL.
    #[error("a webpush endpoint is a URL without user name and password")]
    Endpoint,
    /// The language is not a language tag (RFC 5646).
    #[error("`language` is a language's tag, such as de or pt-BR")]
    Language,
}

impl Pushes {
    /// The senders of the configuration. `guarded` calls endpoints that devices name, and
    /// `trusting` calls those that the operator names.
    pub fn new(
        config: &PushConfig,
        guarded: GuardedOutbound,
        trusting: Outbound,
        resolver: Resolver,
    ) -> Self {
        let room = Capacity::new(config, guarded, trusting, resolver);
        Self(Arc::new(RwLock::new(Arc::new(room))))
    }

    /// Uses the senders of this configuration from now on, whose files are read again, also in
    /// clones.
    pub fn reload(&self, config: &PushConfig) {
        let room = self.room();
        let (guarded, trusting) = (room.guarded.clone(), room.trusting.clone());
        let reloaded = Capacity::new(config, guarded, trusting, room.resolver.clone());
        *self.0.write() = Arc::new(reloaded);
    }

    fn room(&self) -> Arc<Capacity> {
        self.0.read().clone()
    }

    /// Checks every sender's credentials, as far as possible without a device, and logs problems.
    /// Nothing waits for the result.
    pub async fn check(self, now: Timestamp) {
        let room = self.room();
        for sender in &room.senders {
            let name = &sender.name;
            let looked = match &sender.service {
                PushService::Apns(apns) => apns.check(now),
                PushService::Fcm(fcm) => fcm.check(now),
                PushService::WebPush(webpush) => webpush.check(now),
                PushService::Webhook(webhook) => webhook.check(now),
            };
            let tried = match (&sender.service, looked) {
                (_, Err(trouble)) => Err(trouble),
                (PushService::Fcm(fcm), Ok(())) => {
                    let tried = fcm.try_out(&room.trusting, now).await;
                    tried.map_err(|outcome| outcome.to_string())
                }
                (_, Ok(())) => Ok(()),
            };
            match tried {
                Ok(()) => info!(push.sender = name, "Pushes through {name} can be sent"),
                Err(why) => warn!(
                    push.sender = name,
                    "Pushes through {name} cannot be sent: {why}. All other functions work"
                ),
            }
        }
    }

    /// Sends one push, about an open transaction.
    pub async fn send(
        &self,
        id: DeliveryId,
        transaction: &Transaction,
        device: &PushTarget,
        registration: &Registration,
        now: Timestamp,
    ) -> PushOutcome {
        let room = self.room();
        let address = &registration.address;
        let sender = room.sender(&device.tenant, &device.app, address.provider);
        let Some(sender) = sender else { return PushOutcome::NoSender };
        let text = room.text(transaction, registration.language.as_deref());
        let wake = Wake {
            id,
            tenant: &device.tenant,
            at: now,
            expires_at: transaction.deadline(),
            address,
            since: registration.since,
            payload: room.payload(transaction, &text),
            text,
        };
        let outcome = match &sender.service {
            PushService::Apns(apns) => apns.send(&room.trusting, &wake).await,
            PushService::Fcm(fcm) => fcm.send(&room.trusting, &wake).await,
            PushService::WebPush(webpush) => webpush.send(&room.guarded, &wake).await,
            PushService::Webhook(webhook) => webhook.send(&room.guarded, &wake).await,
        };
        let name = sender.name.clone();
        metrics::counter!(
            "countersign_pushes_total", "sender" => name, "outcome" => outcome.as_str()
        )
        .increment(1);
        outcome
    }

    /// The services that wake devices of this application, and the data that a browser needs to
    /// subscribe.
    pub fn offered(
        &self,
        tenant: &TenantName,
        app: &str,
        now: Timestamp,
    ) -> (Vec<&'static str>, Option<String>) {
        let room = self.room();
        let known = |provider: &Provider| room.sender(tenant, app, *provider).is_some();
        let providers = Provider::ALL.into_iter().filter(known).map(Provider::as_str).collect();
        let key = match room.sender(tenant, app, Provider::WebPush).map(|found| &found.service) {
            Some(PushService::WebPush(webpush)) => webpush.public_key(now),
            _ => None,
        };
        (providers, key)
    }

    /// Reads a device's push address, and checks its form by the rules of its service, and whether
    /// it may be called.
    ///
    /// # Errors
    /// [`BadRegistration`].
    pub async fn read(
        &self,
        tenant: &TenantName,
        push: &Push,
        now: Timestamp,
    ) -> Result<(PushAddress, Option<String>), BadRegistration> {
        let language = push.language.clone();
        let is_tag = |tag: &String| tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !language.as_ref().is_none_or(is_tag) {
            return Err(BadRegistration::Language);
        }
        let plain = |provider, token| PushAddress { provider, token, keys: None };
        let address = match push.address()? {
            Address::Apns(token) => plain(Provider::Apns, token),
            Address::Fcm(token) => plain(Provider::Fcm, token),
            Address::Webhook(token) => plain(Provider::Webhook, token),
            Address::WebPush(subscription) => {
                let url = Url::parse(&subscription.endpoint);
                let mut url = url.map_err(|_| BadRegistration::Endpoint)?;
                if !url.username().is_empty() || url.password().is_some() {
                    return Err(BadRegistration::Endpoint);
                }
                url.set_fragment(None);
                self.room().resolver.check(tenant, &url, now).await?;
                let (p256dh, auth) = (*subscription.p256dh.point(), subscription.auth);
                let keys = Some(SubscriptionKeys { p256dh, auth });
                PushAddress { provider: Provider::WebPush, token: url.into(), keys }
            }
        };
        Ok((address, language))
    }
}

impl Capacity {
    fn new(
        config: &PushConfig,
        guarded: GuardedOutbound,
        trusting: Outbound,
        resolver: Resolver,
    ) -> Self {
        Self {
            senders: config.senders.iter().filter_map(PushSender::new).collect(),
            texts: config.texts.clone(),
            language: config.language.clone(),
            is_bare: config.is_bare,
            guarded,
            trusting,
            resolver,
        }
    }

    fn sender(&self, tenant: &TenantName, app: &str, provider: Provider) -> Option<&PushSender> {
        self.senders.iter().find(|sender| {
            sender.provider == provider
                && sender.tenant.as_ref().is_none_or(|whose| whose == tenant)
                && sender.app.as_ref().is_none_or(|which| which == app)
        })
    }

    /// The text that may be shown: the caller's, or else the one in the device's language.
    fn text(&self, transaction: &Transaction, language: Option<&str>) -> String {
        let notice = transaction.spec.notice.as_deref().filter(|notice| !notice.is_empty());
        if let (Some(notice), false) = (notice, self.is_bare) {
            return fitting(notice);
        }
        let asked = language.unwrap_or_default().to_lowercase();
        let primary = asked.split('-').next().unwrap_or_default();
        let found = [asked.as_str(), primary, &self.language];
        let found = found.into_iter().find_map(|language| self.texts.get(language));
        found.cloned().unwrap_or_default()
    }

    fn payload(&self, transaction: &Transaction, text: &str) -> Payload {
        if self.is_bare {
            return Payload::default();
        }
        let fetch = Fetch {
            key: transaction.spec.request_key.to_string(),
            expires_at: Duration::from_millis(transaction.deadline().0),
        };
        Payload { countersign: Some(fetch), text: Some(text.to_owned()) }
    }
}

/// The beginning of a text, as long as it fits as JSON.
fn fitting(text: &str) -> String {
    let mut left = TEXT_BYTES_MAX;
    let mut fitting = String::new();
    for character in text.chars() {
        let length = match character {
            '"' | '\\' | '\n' | '\r' | '\t' => 2,
            character if character.is_control() => 6,
            character => character.len_utf8(),
        };
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => break,
        }
        fitting.push(character);
    }
    fitting
}

/// A service's message, shortened and cleaned for the log and the ledger.
fn shown(words: &str) -> String {
    words.chars().filter(char::is_ascii_graphic).take(WORDS_BYTES_MAX).collect()
}

impl PushSender {
    fn new(config: &SenderConfig) -> Option<Self> {
        let service = &config.service;
        let made = match service.provider() {
            Provider::Apns => PushService::Apns(Apns::new(service)?),
            Provider::Fcm => PushService::Fcm(Fcm::new(service)?),
            Provider::WebPush => PushService::WebPush(WebPush::new(service)?),
            Provider::Webhook => PushService::Webhook(WebhookSender::new(service)?),
        };
        let tenant = config.tenant.as_ref().map_or("*", TenantName::as_str);
        let app = config.app.as_deref().unwrap_or("*");
        let provider = service.provider();
        Some(Self {
            tenant: config.tenant.clone(),
            app: config.app.clone(),
            provider,
            name: format!("{}/{tenant}/{app}", provider.as_str()),
            service: made,
        })
    }
}

impl PushOutcome {
    /// The outcome by the status alone, for a service without error codes: an expired subscription
    /// (RFC 8030, section 7.3), or refused credentials (RFC 8292, section 4).
    fn by_status(answer: &OutboundAnswer, wake: &Wake<'_>) -> Self {
        let status = answer.status.as_u16();
        let says = format!("answered {status}");
        match status {
            200..=299 => Self::Sent,
            404 | 410 => Self::Gone(says),
            401 | 403 => Self::Credentials(says),
            _ if answer.is_outage() => Self::later(answer, wake, says),
            _ => Self::Refused(says),
        }
    }

    fn later(answer: &OutboundAnswer, wake: &Wake<'_>, says: String) -> Self {
        Self::Later { asked: answer.retry_after(wake.at), says }
    }

    /// The result of the attempt, for the delivery.
    pub fn attempt(&self) -> Attempt {
        match self {
            Self::Sent => Attempt::Accepted,
            Self::Gone(_) => Attempt::Gone,
            Self::Refused(_) | Self::NoSender => Attempt::Rejected,
            Self::Later { asked, .. } => Attempt::Deferred(*asked),
            Self::Crowded(_) | Self::Credentials(_) | Self::Unanswered(_) => {
                Attempt::Deferred(None)
            }
        }
    }

    /// Whether the service would accept no push at present.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Later { .. } | Self::Credentials(_) | Self::Unanswered(_))
    }

    /// The pause that the service asks for.
    pub fn asked(&self) -> Option<Duration> {
        match self {
            Self::Later { asked, .. } => *asked,
            _ => None,
        }
    }

    /// Its name in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Gone(_) => "gone",
            Self::Refused(_) => "refused",
            Self::Crowded(_) | Self::Later { .. } => "later",
            Self::Credentials(_) => "credentials",
            Self::Unanswered(unanswered) => unanswered.as_str(),
            Self::NoSender => "no_sender",
        }
    }
}

/// For the log and the ledger; contains nothing of the message.
impl fmt::Display for PushOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent => f.write_str("sent"),
            Self::Gone(says) => write!(f, "the address is dead: {says}"),
            Self::Refused(says) => write!(f, "refused: {says}"),
            Self::Crowded(says) | Self::Later { says, .. } => f.write_str(says),
            Self::Credentials(why) => write!(f, "the credentials are wrong: {why}"),
            Self::Unanswered(unanswered) => unanswered.fmt(f),
            Self::NoSender => f.write_str("no sender is configured for this application"),
        }
    }
}
