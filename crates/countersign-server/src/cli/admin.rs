//! Administration: the ledger, opened beside a server that may be running.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use countersign_core::event::Actor;
use countersign_core::id::{TenantName, UserName};
use countersign_core::port::Versioned;
use countersign_core::tenant::Tenant;
use countersign_core::time::Timestamp;
use countersign_core::user::User;
use countersign_store::{OpenFor, Store};

use crate::ledger_location;
use crate::serve;
use countersign_config::{Config, Overrides};
use countersign_node::authority::Terms;
use countersign_node::clock::System;
use countersign_node::notifier::LocalNotifier;
use countersign_node::{Core, PrivateKeys};

/// The place of the ledger, and the output format.
#[derive(Args, Clone, Debug)]
pub(super) struct LedgerArgs {
    /// The data directory with the ledger [default: data]
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// The server's configuration file, which may name the data directory and the master key
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON for programs, instead of text for people
    #[arg(long)]
    pub(super) json: bool,
}

/// The open ledger.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) config: Config,
    /// The engine over this ledger. No device is connected to it.
    pub(super) core: Core,
    /// The private keys of its tenants and clients.
    pub(super) keys: PrivateKeys,
    /// The operator who runs this command.
    pub(super) actor: Actor,
    pub(super) json: bool,
    /// The store, for what concerns the ledger as a whole.
    pub(super) store: Store,
}

impl Admin {
    /// Opens the existing ledger.
    ///
    /// # Errors
    /// If the ledger does not exist or cannot be opened.
    pub(super) async fn at(place: &LedgerArgs) -> anyhow::Result<Self> {
        Self::with(place.existing()?, place.json).await
    }

    /// Opens the ledger, and creates it if it does not exist.
    ///
    /// # Errors
    /// If it cannot be created or opened.
    pub(super) async fn at_new(place: &LedgerArgs) -> anyhow::Result<Self> {
        Self::with(place.configured()?, place.json).await
    }

    /// Opens the ledger that this configuration names.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) async fn with(config: Config, json: bool) -> anyhow::Result<Self> {
        let store = ledger_location::open(&config, OpenFor::Administration).await?;
        let policy = serve::policy(&config);
        let core = Core::new(store.clone(), LocalNotifier::new(0), System::default(), policy);
        Ok(Self {
            config,
            core,
            keys: store.private_keys(),
            actor: Actor::CommandLine(countersign_config::account()),
            json,
            store,
        })
    }

    /// The present time.
    pub(super) fn now(&self) -> Timestamp {
        self.core.now()
    }

    /// The terms of an authority that is made now.
    pub(super) fn authority_terms(&self) -> Terms {
        let (serial, lifetime) = (self.core.random_u128(), self.config.certificates.authority);
        Terms { serial, now: self.now(), lifetime }
    }

    /// Loads an existing tenant.
    pub(super) async fn tenant(&self, name: &TenantName) -> anyhow::Result<Tenant> {
        let found = self.core.read().tenant(name).await?;
        found.with_context(|| format!("there is no tenant {name}: `countersign tenant list`"))
    }

    /// Checks that there is a tenant, or the evidence of a deleted one.
    pub(super) async fn check_tenant_or_evidence(&self, name: &TenantName) -> anyhow::Result<()> {
        self.tenant(name).await.map(drop)
    }

    /// Checks that a tenant exists.
    pub(super) async fn check_tenant(&self, name: &TenantName) -> anyhow::Result<()> {
        let exists = self.core.has_tenant(name).await?;
        ensure!(exists, "there is no tenant {name}: `countersign tenant list`");
        Ok(())
    }

    /// Loads an existing user.
    pub(super) async fn user(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> anyhow::Result<Versioned<User>> {
        self.check_tenant(tenant).await?;
        let found = self.core.read().user(tenant, name).await?;
        found.with_context(|| format!("tenant {tenant} has no user {name}"))
    }

    /// Closes the ledger; all commits are on disk already.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.store.close().await.context("the ledger could not be closed")
    }
}

impl LedgerArgs {
    /// Reads the configuration, and checks that the ledger exists.
    ///
    /// # Errors
    /// If it does not, or the configuration is invalid.
    pub(super) fn existing(&self) -> anyhow::Result<Config> {
        let config = self.configured()?;
        if config.store.postgres.is_some() {
            return Ok(config);
        }
        let data = &config.store.data;
        let is_there = data.join("ledger.db").try_exists();
        let is_there = is_there.with_context(|| {
            format!(
                "the directory {} cannot be read by {}: run this as the account of the server",
                data.display(),
                countersign_config::account()
            )
        })?;
        ensure!(
            is_there,
            "there is no ledger in {}: `countersign init` makes one, or name another directory \
             with --data",
            data.display()
        );
        Ok(config)
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// If it is invalid.
    pub(super) fn configured(&self) -> anyhow::Result<Config> {
        let overrides = Overrides { data: self.data.clone(), ..Overrides::default() };
        Config::load(self.config.as_deref(), overrides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn looking_into_an_empty_directory_makes_nothing_there() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let place = LedgerArgs { data: Some(data.clone()), config: None, json: false };
        let error = Admin::at(&place).await.unwrap_err().to_string();
        assert!(error.contains("there is no ledger in") && error.contains("--data"), "{error}");
        assert!(!data.exists());
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_read_is_not_called_empty() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let place = LedgerArgs { data: Some(file.join("data")), config: None, json: false };
        let error = format!("{:#}", Admin::at(&place).await.unwrap_err());
        assert!(
            error.contains("cannot be read by") && error.contains("Not a directory"),
            "{error}"
        );
        assert!(!error.contains("there is no ledger"), "{error}");
    }
}
