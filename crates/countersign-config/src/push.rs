//! `[push]`: which devices are woken, through which services, and what a push says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use countersign_core::id::TenantName;
use countersign_core::limits::{NOTICE_BYTES_MAX, PUSH_PLACES_MAX};
use countersign_core::push::Provider;
use countersign_core::push_policy::{PushPolicy, When};
use serde::Deserialize;
use url::Url;

use super::layers::Layers;

/// Apple's service, for applications from the store.
const APNS: &str = "https://api.push.apple.com";
/// Apple's service, for applications that a developer installs.
const APNS_DEVELOPMENT: &str = "https://api.sandbox.push.apple.com";
/// Google's service.
const FCM: &str = "https://fcm.googleapis.com";

/// The `[push]` section.
#[derive(Clone, Debug)]
pub struct PushConfig {
    /// Which devices are woken, and when.
    pub policy: PushPolicy,
    /// Whether a push carries no text.
    pub is_bare: bool,
    /// Texts that may be shown if the caller gave none: by language, in lower case.
    pub texts: BTreeMap<String, String>,
    /// The language for devices that name none, or one without a text.
    pub language: String,
    /// PEM file of roots that are trusted in addition to the platform's, for the services named
    /// here.
    pub extra_ca_file: Option<PathBuf>,
    /// Pushes in progress at once.
    pub concurrency: u16,
    /// The part of `concurrency` that one sender may use; with Web Push, one host.
    pub per_sender_concurrency: u16,
    /// The senders; the first that fits a device is used.
    pub senders: Vec<SenderConfig>,
}

/// One `[[push.sender]]`: a way to wake the devices that run one application.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// The tenant whose devices are woken; `None` for all tenants.
    pub tenant: Option<TenantName>,
    /// The application that the devices report; `None` for any.
    pub app: Option<String>,
    /// The push service.
    pub service: ServiceConfig,
}

/// The settings of one push service.
#[derive(Clone, Debug)]
pub enum ServiceConfig {
    /// Apple's push notification service (APNs).
    Apns {
        /// The service's address.
        endpoint: Url,
        /// The file with the signing key, PKCS#8 PEM, as Apple gives it (`.p8`).
        key_file: PathBuf,
        /// The key's id at Apple.
        key_id: String,
        /// The id of the developer's team at Apple.
        team_id: String,
        /// The application's bundle id.
        topic: String,
        /// How the phone handles the push.
        kind: ApnsPushType,
    },
    /// Firebase Cloud Messaging (FCM).
    Fcm {
        /// The service's address.
        endpoint: Url,
        /// The file with the service account, JSON, as Google gives it.
        service_account_file: PathBuf,
    },
    /// Web Push (RFC 8030), with VAPID (RFC 8292).
    WebPush {
        /// The file with the server's key, PKCS#8 PEM.
        key_file: PathBuf,
        /// Where the push service reaches the operator: a `mailto:` or `https:` URI.
        contact: String,
    },
    /// A service of the operator's own, which is called with a signed request.
    Webhook {
        /// The service's address.
        url: Url,
        /// The file with the secret that signs the requests.
        secret_file: PathBuf,
    },
}

/// How an Apple phone handles a push.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ApnsPushType {
    /// The phone shows the text.
    Alert,
    /// The phone wakes the application when the system allows it.
    Background,
}

impl ServiceConfig {
    /// The provider of this service.
    pub fn provider(&self) -> Provider {
        match self {
            Self::Apns { .. } => Provider::Apns,
            Self::Fcm { .. } => Provider::Fcm,
            Self::WebPush { .. } => Provider::WebPush,
            Self::Webhook { .. } => Provider::Webhook,
        }
    }
}

impl PushConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let when = layers.take("push.when");
        let content = layers.take("push.content");
        let concurrency = layers.take("push.concurrency");
        let per_sender = layers.take("push.per_sender_concurrency");
        let after = layers.take("push.after_seconds");
        let senders = read_senders(layers)?;
        let (texts, language) = read_texts(layers)?;
        let places = |key: &super::key::UncheckedValue| {
            let count = u16::try_from(key.count()?).unwrap_or(u16::MAX);
            ensure!(count <= PUSH_PLACES_MAX, "{key} is at most {PUSH_PLACES_MAX}");
            Ok(count)
        };
        let config = Self {
            policy: PushPolicy {
                // Without a sender, no push is queued.
                when: match when.text()? {
                    "absent" | "always" | "both" if senders.is_empty() => When::Never,
                    "absent" => When::Absent,
                    "always" => When::Always,
                    "both" => When::Both,
                    other => {
                        bail!("{when} is \"absent\", \"always\" or \"both\", not \"{other}\"")
                    }
                },
                after: Duration::from_secs(u64::from(after.number()?)),
            },
            is_bare: match content.text()? {
                "key" => false,
                "wake" => true,
                other => bail!("{content} is \"key\" or \"wake\", not \"{other}\""),
            },
            texts,
            language,
            extra_ca_file: layers.take("push.extra_ca_file").path()?,
            concurrency: places(&concurrency)?,
            per_sender_concurrency: places(&per_sender)?,
            senders,
        };
        ensure!(
            config.per_sender_concurrency <= config.concurrency,
            "{} is at most `push.concurrency`",
            per_sender.beside(&concurrency)
        );
        Ok(config)
    }
}

fn read_texts(layers: &mut Layers) -> anyhow::Result<(BTreeMap<String, String>, String)> {
    let (texts, language) = (layers.take("push.texts"), layers.take("push.language"));
    let named: Result<BTreeMap<String, String>, _> = texts.value.clone().try_into();
    let named =
        named.with_context(|| format!("{texts} is a table of languages and their texts"))?;
    for (language, text) in &named {
        let is_fit = (1..=NOTICE_BYTES_MAX).contains(&text.len());
        ensure!(is_fit, "{texts}: `{language}` is 1 to {NOTICE_BYTES_MAX} bytes");
    }
    let named: BTreeMap<_, _> =
        named.into_iter().map(|(name, text)| (name.to_lowercase(), text)).collect();
    let chosen = language.text()?.to_lowercase();
    let is_named = named.contains_key(&chosen);
    ensure!(is_named, "{} must be one of those of `push.texts`", language.beside(&texts));
    Ok((named, chosen))
}

/// A `[[push.sender]]` before its provider is known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SenderTable {
    provider: String,
    tenant: Option<String>,
    app: Option<String>,
    key_file: Option<PathBuf>,
    key_id: Option<String>,
    team_id: Option<String>,
    topic: Option<String>,
    environment: Option<String>,
    kind: Option<String>,
    service_account_file: Option<PathBuf>,
    contact: Option<String>,
    url: Option<String>,
    secret_file: Option<PathBuf>,
    endpoint: Option<String>,
}

fn read_senders(layers: &mut Layers) -> anyhow::Result<Vec<SenderConfig>> {
    let key = layers.take("push.sender");
    let bodies = key.value.as_array().with_context(|| format!("{key} is a list of tables"))?;
    let mut senders = Vec::new();
    for (at, body) in (1..).zip(bodies) {
        let what = || format!("{key}, number {at}");
        let body: SenderTable = body.clone().try_into().with_context(what)?;
        senders.push(body.read().with_context(what)?);
    }
    Ok(senders)
}

impl SenderTable {
    fn read(mut self) -> anyhow::Result<SenderConfig> {
        let tenant = self.tenant.take().map(|name| name.parse()).transpose();
        let tenant = tenant.context("`tenant` is not a tenant's name")?;
        let app = self.app.take().filter(|app| !app.is_empty());
        let service = match self.provider.as_str() {
            "apns" => self.apns(app.as_deref())?,
            "fcm" => ServiceConfig::Fcm {
                endpoint: address(self.endpoint.take().as_deref().unwrap_or(FCM))?,
                service_account_file: needed(
                    &mut self.service_account_file,
                    "service_account_file",
                )?,
            },
            "webpush" => self.webpush()?,
            "webhook" => ServiceConfig::Webhook {
                url: address(&needed(&mut self.url, "url")?)?,
                secret_file: needed(&mut self.secret_file, "secret_file")?,
            },
            other => {
                bail!(
                    "`provider` is \"apns\", \"fcm\", \"webpush\" or \"webhook\", not \"{other}\""
                )
            }
        };
        self.nothing_left()?;
        Ok(SenderConfig { tenant, app, service })
    }

    fn apns(&mut self, app: Option<&str>) -> anyhow::Result<ServiceConfig> {
        let endpoint = match self.environment.take().as_deref() {
            None | Some("production") => APNS,
            Some("development") => APNS_DEVELOPMENT,
            Some(other) => {
                bail!("`environment` is \"production\" or \"development\", not \"{other}\"")
            }
        };
        let topic = self.topic.take().or_else(|| app.map(str::to_owned));
        Ok(ServiceConfig::Apns {
            endpoint: address(self.endpoint.take().as_deref().unwrap_or(endpoint))?,
            key_file: needed(&mut self.key_file, "key_file")?,
            key_id: visible(needed(&mut self.key_id, "key_id")?, "key_id")?,
            team_id: visible(needed(&mut self.team_id, "team_id")?, "team_id")?,
            topic: visible(topic.context("`topic` or `app` must be given")?, "topic")?,
            kind: match self.kind.take().as_deref() {
                None | Some("alert") => ApnsPushType::Alert,
                Some("background") => ApnsPushType::Background,
                Some(other) => bail!("`kind` is \"alert\" or \"background\", not \"{other}\""),
            },
        })
    }

    fn webpush(&mut self) -> anyhow::Result<ServiceConfig> {
        let contact = needed(&mut self.contact, "contact")?;
        let is_contact = contact.starts_with("mailto:") || contact.starts_with("https://");
        ensure!(is_contact, "`contact` begins with mailto: or https:// (RFC 8292, section 2.1)");
        Ok(ServiceConfig::WebPush { key_file: needed(&mut self.key_file, "key_file")?, contact })
    }

    /// Refuses members that this service does not use; they were meant for another one.
    fn nothing_left(&self) -> anyhow::Result<()> {
        let left = [
            ("key_file", self.key_file.is_some()),
            ("key_id", self.key_id.is_some()),
            ("team_id", self.team_id.is_some()),
            ("topic", self.topic.is_some()),
            ("environment", self.environment.is_some()),
            ("kind", self.kind.is_some()),
            ("service_account_file", self.service_account_file.is_some()),
            ("contact", self.contact.is_some()),
            ("url", self.url.is_some()),
            ("secret_file", self.secret_file.is_some()),
            ("endpoint", self.endpoint.is_some()),
        ];
        for (name, is_left) in left {
            ensure!(!is_left, "`{name}` is not for provider \"{}\"", self.provider);
        }
        Ok(())
    }
}

fn needed<T>(field: &mut Option<T>, name: &str) -> anyhow::Result<T> {
    field.take().with_context(|| format!("`{name}` must be given"))
}

/// The https URL of a service, which is trusted because the operator configured it.
fn address(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).with_context(|| format!("\"{text}\" is not a URL"))?;
    ensure!(url.scheme() == "https" && url.has_host(), "\"{text}\" does not begin with https://");
    Ok(url)
}

/// A value for a header or a token.
fn visible(text: String, name: &str) -> anyhow::Result<String> {
    let is_visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(is_visible, "`{name}` is visible ASCII without blanks");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<PushConfig, String> {
        let mut layers = Layers::compiled_in();
        let laid = layers.lay_file(Path::new("/etc/c.toml"), &format!("[push]\n{text}"));
        laid.and_then(|()| PushConfig::read(&mut layers)).map_err(|error| format!("{error:#}"))
    }

    const APPLE: &str = "provider = \"apns\"\nkey_file = \"a.p8\"\nkey_id = \"K\"\nteam_id = \"T\"";

    #[test]
    fn nothing_is_owed_that_nobody_can_send() {
        assert_eq!(read("").unwrap().policy.when, When::Never);
        let some = read(&format!("[[push.sender]]\n{APPLE}\napp = \"com.example\"")).unwrap();
        assert_eq!(some.policy, PushPolicy { when: When::Absent, after: Duration::ZERO });
        let [sender] = &some.senders[..] else { panic!("one") };
        let ServiceConfig::Apns { endpoint, key_file, topic, kind, .. } = &sender.service else {
            panic!("Apple's")
        };
        assert_eq!(
            (endpoint.as_str(), topic.as_str()),
            ("https://api.push.apple.com/", "com.example")
        );
        assert_eq!((key_file.as_path(), *kind), (Path::new("/etc/a.p8"), ApnsPushType::Alert));
    }

    #[test]
    fn a_sender_has_what_its_service_asks_for_and_nothing_else() {
        let google = "provider = \"fcm\"\nservice_account_file = \"s.json\"";
        for (good, name) in [
            (google, Provider::Fcm),
            (
                "provider = \"webpush\"\nkey_file = \"v\"\ncontact = \"mailto:a@b\"",
                Provider::WebPush,
            ),
            (
                "provider = \"webhook\"\nurl = \"https://a/\"\nsecret_file = \"s\"",
                Provider::Webhook,
            ),
        ] {
            let config = read(&format!("[[push.sender]]\n{good}")).unwrap();
            assert_eq!(config.senders[0].service.provider(), name);
        }
        for (wrong, named) in [
            (APPLE, "`topic` or `app`"),
            ("provider = \"apns\"\nkey_id = \"K\"\napp = \"a\"", "`key_file`"),
            (&format!("{APPLE}\napp = \"a b\""), "`topic` is visible"),
            (&format!("{APPLE}\napp = \"a\"\nenvironment = \"test\""), "`environment`"),
            (&format!("{google}\nkey_id = \"K\""), "`key_id` is not for provider \"fcm\""),
            (&format!("{google}\nendpoint = \"http://a\""), "https://"),
            (&format!("{google}\ntenant = \"A b\""), "`tenant`"),
            (&format!("{google}\nsecret = \"K\""), "secret"),
            ("provider = \"webpush\"\nkey_file = \"v\"\ncontact = \"me\"", "`contact`"),
            ("provider = \"sms\"", "`provider`"),
        ] {
            let error = read(&format!("[[push.sender]]\n{wrong}")).unwrap_err();
            assert!(error.contains("number 1") && error.contains(named), "{wrong}: {error}");
        }
    }

    #[test]
    fn texts_have_a_language_that_is_there() {
        let config =
            read("texts = { De = \"Bitte\", en = \"Please\" }\nlanguage = \"de\"").unwrap();
        assert_eq!(config.texts["de"], "Bitte");
        let error = read("texts = { en = \"Please\" }\nlanguage = \"de\"").unwrap_err();
        assert!(error.contains("`push.language`"), "{error}");
        assert!(read("texts = { en = \"\" }").unwrap_err().contains("`push.texts`"));
        assert!(read("when = \"never\"").unwrap_err().contains("`push.when`"));
        assert!(read("content = \"all\"").unwrap_err().contains("`push.content`"));
    }
}
