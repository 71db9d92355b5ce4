//! Pays debts: tells callers' addresses how their transactions ended.
//!
//! ```text
//! ledger ──claim──▶ worker ──▶ webhook ──▶ the receiver
//!    ▲                 │           └─ guard, resolver: which addresses may be called
//!    └─────settle──────┘
//! ```
//!
//! The promise: at least once, always with the same id and the same bytes, never before the end is
//! durable, and never to an address that the guard forbids.

pub(crate) mod guard;
pub(crate) mod resolve;
pub(crate) mod webhook;
pub(crate) mod worker;

use anyhow::Context as _;
use reqwest::Certificate;

use self::resolve::Resolver;
use self::webhook::Webhook;
use self::worker::Rules;
use crate::config::DeliveryConfig;

/// What calls addresses, as the operator configured it.
///
/// # Errors
/// Says what is wrong with the file of certificates.
pub(crate) fn webhook(config: &DeliveryConfig, resolver: Resolver) -> anyhow::Result<Webhook> {
    let roots = match &config.extra_ca_file {
        None => Vec::new(),
        Some(file) => {
            let what = || format!("`delivery.extra_ca_file`, {}", file.display());
            let text = std::fs::read(file).with_context(|| format!("{} cannot be read", what()))?;
            let roots = Certificate::from_pem_bundle(&text);
            let roots = roots.with_context(|| format!("{} is no PEM", what()))?;
            anyhow::ensure!(!roots.is_empty(), "{} holds no certificate", what());
            roots
        }
    };
    Webhook::new(resolver, &roots, config.timeout)
}

/// What the worker keeps to.
pub(crate) fn rules(config: &DeliveryConfig) -> Rules {
    Rules {
        concurrency: config.concurrency,
        per_host: config.per_host_concurrency,
        timeout: config.timeout,
        patience: config.patience,
    }
}
