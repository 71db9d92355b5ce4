//! `countersign serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::parent;
use crate::serve::serve;
use countersign_config::Overrides;

/// Runs the server, until SIGTERM or Ctrl-C.
///
/// In an empty data directory it creates everything that it needs: the ledger, its master key, and
/// a certificate for localhost under a CA of its own in tls/ca.pem. When it is ready, it prints one
/// line on standard output, `ready https://HOST:PORT`; its log goes to standard error.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// A configuration file; other keys keep the defaults of the manual, config.default.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory, created if it is missing [default: data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The address for applications and devices; port 0 takes a free one [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Ends when standard input closes.
    #[arg(long, hide = true)]
    with_parent: bool,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let overrides = Overrides { data: self.data, listen: self.listen, to: None };
        let serving = serve(self.config.as_deref(), overrides);
        if !self.with_parent {
            return serving.await;
        }
        tokio::select! {
            ended = serving => ended,
            // Interrupting it is safe, because everything that it acknowledged is on disk.
            () = parent::gone() => anyhow::bail!("the process that started the server has ended"),
        }
    }
}
