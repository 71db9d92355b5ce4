//! Makes deliveries: calls clients' callback addresses when transactions end, and wakes devices.
//!
//! ```text
//!                      ┌──▶ webhook ──────▶ the receiver
//! ledger ──claim──▶ worker
//!    ▲                 ├──▶ wake ─▶ push ─▶ Apple's, Google's, a browser's service, or the operator's
//!    └─────settle──────┘      guard, resolver: which addresses may be called
//! ```
//!
//! The guarantee: at least once, always with the same id and the same bytes, never before the end
//! is durable, and never to an address that the guard forbids.

#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an internal crate: its interface is for the server's other crates"
)]

pub mod dispatcher;
pub mod push;
mod settlements;
mod wake;
pub mod webhook;

use std::path::Path;

use anyhow::Context as _;
use countersign_core::transaction::Transaction;
use reqwest::Certificate;

use self::dispatcher::DeliverySettings;
use self::push::Pushes;
use self::webhook::CallbackClient;
use countersign_config::{Config, DeliveryConfig};
use countersign_egress::names::Names;
use countersign_egress::outbound::{GuardedOutbound, Outbound};
use countersign_egress::resolve::Resolver;
use countersign_node::PrivateKeys;

/// Renders a callback's body from a transaction's end, in the format of its dialect. `None` before
/// the end.
pub type ResultBody = fn(&Transaction) -> Option<Vec<u8>>;

/// The clients that make calls, as the operator configured them.
pub struct Callers {
    /// The keys of callbacks.
    pub keys: PrivateKeys,
    /// The client for callbacks.
    pub webhook: CallbackClient,
    /// The clients for push services.
    pub pushes: Pushes,
    /// Renders the bodies of callbacks.
    pub result_body: ResultBody,
    /// The trusted authorities of both.
    pub trust: Trust,
}

impl Callers {
    /// The clients for this configuration.
    ///
    /// # Errors
    /// Names the problem with a file of certificates.
    pub fn new(
        config: &Config,
        keys: PrivateKeys,
        names: &Names,
        resolver: Resolver,
        result_body: ResultBody,
    ) -> anyhow::Result<Self> {
        let (timeout, roots) = (config.delivery.timeout, ExtraRoots::read(config)?);
        let guarded = GuardedOutbound::new(resolver.clone(), &roots.delivery, timeout)?;
        let webhook = CallbackClient::new(guarded.clone());
        let trusting = Outbound::trusting(names, &roots.push, timeout)?;
        let trust = Trust { guarded: guarded.clone(), trusting: trusting.clone() };
        let pushes = Pushes::new(&config.push, guarded, trusting, resolver);
        Ok(Self { keys, webhook, pushes, result_body, trust })
    }
}

/// The clients whose trusted authorities can be replaced while they are in use.
#[derive(Clone)]
pub struct Trust {
    guarded: GuardedOutbound,
    trusting: Outbound,
}

impl Trust {
    /// Reads the files of trusted authorities again. If one cannot be used, nothing changes.
    ///
    /// # Errors
    /// Names the problem with the file.
    pub fn reload(&self, config: &Config) -> anyhow::Result<()> {
        let roots = ExtraRoots::read(config)?;
        self.guarded.trust(&roots.delivery)?;
        self.trusting.trust(&roots.push)
    }

    /// Checks the files of trusted authorities.
    ///
    /// # Errors
    /// Names the problem with the file.
    pub fn check(config: &Config) -> anyhow::Result<()> {
        ExtraRoots::read(config).map(drop)
    }
}

/// The authorities that the operator trusts besides the platform's.
struct ExtraRoots {
    delivery: Vec<Certificate>,
    push: Vec<Certificate>,
}

impl ExtraRoots {
    fn read(config: &Config) -> anyhow::Result<Self> {
        let delivery = config.delivery.extra_ca_file.as_deref();
        let push = config.push.extra_ca_file.as_deref();
        Ok(Self {
            delivery: roots("delivery.extra_ca_file", delivery)?,
            push: roots("push.extra_ca_file", push)?,
        })
    }
}

fn roots(key: &str, file: Option<&Path>) -> anyhow::Result<Vec<Certificate>> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let what = || format!("`{key}`, {}", file.display());
    let text = std::fs::read(file).with_context(|| format!("{} cannot be read", what()))?;
    let roots = Certificate::from_pem_bundle(&text);
    let roots = roots.with_context(|| format!("{} is no PEM", what()))?;
    anyhow::ensure!(!roots.is_empty(), "{} holds no certificate", what());
    Ok(roots)
}

/// The dispatcher's settings from the configuration.
pub fn rules(config: &Config) -> DeliverySettings {
    let DeliveryConfig { concurrency, per_host_concurrency, timeout, retry, .. } = config.delivery;
    DeliverySettings {
        concurrency,
        per_host: per_host_concurrency,
        pushes: config.push.concurrency,
        pushes_per_sender: config.push.per_sender_concurrency,
        timeout,
        retry,
    }
}
