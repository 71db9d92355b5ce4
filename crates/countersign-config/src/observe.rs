//! `[observe]`: logs, metrics and health.

use std::net::SocketAddr;
use std::str::FromStr;

use tracing_subscriber::filter::Targets;

use super::layers::Layers;

/// The `[observe]` section.
#[derive(Clone, Debug)]
pub struct ObserveConfig {
    /// The address on which health and metrics are served.
    pub listen: SocketAddr,
    /// Whether the operator set `listen`. If the default address is in use, a free port is taken
    /// instead.
    pub listen_chosen: bool,
    /// If less of the ledger's disk is free, in bytes, the server is not ready.
    pub disk_free_min: u64,
    /// The levels of the log: one for all modules, and one for each named module.
    pub log: Targets,
    /// The format of a log line.
    pub log_format: LogFormat,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl ObserveConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let listen = layers.take("observe.listen");
        Ok(Self {
            listen: listen.parse()?,
            listen_chosen: !listen.is_default(),
            disk_free_min: {
                let mebibytes = layers.take("observe.disk_free_mebibytes_min").number()?;
                u64::from(mebibytes) * 1024 * 1024
            },
            log: layers.take("observe.log").parse()?,
            log_format: layers.take("observe.log_format").parse()?,
        })
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it is \"text\" or \"json\""),
        }
    }
}
