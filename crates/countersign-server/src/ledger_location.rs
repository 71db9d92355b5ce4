//! Where the ledger is: a file in the data directory, or a schema of a database.

use anyhow::Context as _;
use countersign_config::{Config, PostgresConfig};
use countersign_core::port::Clock as _;
use countersign_node::clock::System;
use countersign_store::{OpenFor, PostgresLocation, Store};

/// Opens the ledger that the configuration names.
///
/// # Errors
/// Names the problem and a remedy.
pub(crate) async fn open(config: &Config, purpose: OpenFor) -> anyhow::Result<Store> {
    let store = &config.store;
    let Some(postgres) = &store.postgres else {
        return Store::sqlite_for(&store.data, Some(&store.master_key_file), purpose)
            .with_context(|| format!("the ledger in {} cannot be opened", store.data.display()));
    };
    let location = location(postgres);
    let (key, now) = (&store.master_key_file, System::default().now());
    let opened = Store::postgres(&location, key, purpose == OpenFor::Init, now);
    opened.await.with_context(|| format!("the ledger {} cannot be opened", name(config)))
}

/// Where the ledger on PostgreSQL is.
pub(crate) fn location(config: &PostgresConfig) -> PostgresLocation {
    PostgresLocation {
        url: config.url.clone(),
        password_file: config.password_file.clone(),
        ca_file: config.ca_file.clone(),
        client_certificate: config.client_certificate.clone(),
        schema: config.schema.clone(),
        connections_max: config.connections_max,
        statement_timeout: config.statement_timeout,
    }
}

/// The ledger as people are told of it: its file, or its database and schema.
pub(crate) fn name(config: &Config) -> String {
    match &config.store.postgres {
        None => config.store.data.join("ledger.db").display().to_string(),
        Some(postgres) => format!("{} in schema {}", postgres.url, postgres.schema),
    }
}
