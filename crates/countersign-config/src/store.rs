//! `[store]`: the places of the ledger and its key.

use std::path::PathBuf;
use std::time::Duration;

use super::layers::Layers;

/// The `[store]` section.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The directory with the ledger.
    pub data: PathBuf,
    /// The key that seals secrets in the ledger.
    pub master_key_file: PathBuf,
    /// The database of the ledger; `None` if it is a file in the directory.
    pub postgres: Option<PostgresConfig>,
}

/// The database of a ledger on PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// Its URL, without a password.
    pub url: String,
    /// The file with the password of the database's user.
    pub password_file: Option<PathBuf>,
    /// The authorities of the database's certificate, as PEM.
    pub ca_file: Option<PathBuf>,
    /// The client certificate and its private key, as PEM.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// The schema of the ledger's tables.
    pub schema: String,
    /// The most connections for listings and for administration.
    pub connections_max: usize,
    /// The longest time of one statement.
    pub statement_timeout: Duration,
}

impl StoreConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let key = layers.take("store.data");
        let Some(data) = key.path()? else {
            anyhow::bail!("{key} names no directory");
        };
        let master_key_file = layers.take("store.master_key_file").path()?;
        let postgres = PostgresConfig::read(layers)?;
        Ok(Self {
            postgres,
            master_key_file: master_key_file.unwrap_or_else(|| data.join("master.key")),
            data,
        })
    }
}

impl PostgresConfig {
    fn read(layers: &mut Layers) -> anyhow::Result<Option<Self>> {
        let url = layers.take("store.url");
        let certificate_key = layers.take("store.client_certificate_file");
        let certificate = certificate_key.path()?;
        let private_key = layers.take("store.client_key_file").path()?;
        let client_certificate = match (certificate, private_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => anyhow::bail!(
                "{certificate_key} and `store.client_key_file` are set together, or neither is"
            ),
        };
        let config = Self {
            url: url.text()?.to_owned(),
            password_file: layers.take("store.password_file").path()?,
            ca_file: layers.take("store.ca_file").path()?,
            client_certificate,
            schema: layers.take("store.schema").text()?.to_owned(),
            connections_max: layers.take("store.connections_max").count()? as usize,
            statement_timeout: layers.take("store.statement_timeout_seconds").seconds()?,
        };
        Ok((!config.url.is_empty()).then_some(config))
    }
}
