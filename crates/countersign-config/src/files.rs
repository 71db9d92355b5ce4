//! The files that the configuration names, besides those of the data directory.

use std::path::{Path, PathBuf};

use super::{Config, ServiceConfig, Tls};

impl Config {
    /// Files of other origin, which a backup does not have: certificates and their keys from
    /// elsewhere, trusted authorities, credentials of push senders.
    pub fn other_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if let Tls::Files { certificate, key } = &self.server.tls {
            files.extend([certificate.clone(), key.clone()]);
        }
        files.extend(self.delivery.extra_ca_file.clone());
        files.extend(self.push.extra_ca_file.clone());
        let credentials = self.push.senders.iter().map(|sender| sender.service.credential_file());
        files.extend(credentials.map(Path::to_path_buf));
        files
    }
}

impl ServiceConfig {
    /// The file with the sender's credential.
    pub fn credential_file(&self) -> &Path {
        match self {
            Self::Apns { key_file, .. } | Self::WebPush { key_file, .. } => key_file,
            Self::Fcm { service_account_file, .. } => service_account_file,
            Self::Webhook { secret_file, .. } => secret_file,
        }
    }
}
