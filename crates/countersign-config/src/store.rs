//! `[store]`: the places of the ledger and its key.

use std::path::PathBuf;

use super::layers::Layers;

/// The `[store]` section.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The directory with the ledger.
    pub data: PathBuf,
    /// The key that seals secrets in the ledger.
    pub master_key_file: PathBuf,
}

impl StoreConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let key = layers.take("store.data");
        let Some(data) = key.path()? else {
            anyhow::bail!("{key} names no directory");
        };
        let master_key_file = layers.take("store.master_key_file").path()?;
        Ok(Self {
            master_key_file: master_key_file.unwrap_or_else(|| data.join("master.key")),
            data,
        })
    }
}
