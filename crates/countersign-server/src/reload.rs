//! SIGHUP: what the running server reads again. Each part is replaced only if its files can be
//! used; otherwise the part that is in use stays, and the log says why.

use std::path::PathBuf;
use std::sync::Arc;

use countersign_config::{Config, Overrides};
use countersign_core::port::Clock as _;
use countersign_delivery::Trust;
use countersign_delivery::push::Pushes;
use countersign_http::tls::Certificates;
use countersign_node::clock;
use countersign_node::clock::System;
use countersign_node::task::Shutdown;
use tracing::{error, info, warn};
use tracing_subscriber::filter::Targets;

use crate::certificate_ends;
use crate::observe::LogLevel;
use crate::service_manager::ServiceManager;

/// The parts of the server that can be replaced while it runs, and where they are read from.
pub(crate) struct Reload {
    /// The configuration's file.
    pub(crate) file: Option<PathBuf>,
    /// The flags of the command line.
    pub(crate) overrides: Overrides,
    /// The configuration in effect. What cannot be replaced is compared with it.
    pub(crate) config: Config,
    /// The level of the log.
    pub(crate) log: LogLevel,
    /// The TLS certificates; `None` if a proxy ends TLS.
    pub(crate) certificates: Option<Certificates>,
    /// The trusted authorities of deliveries.
    pub(crate) trust: Trust,
    /// The push senders.
    pub(crate) pushes: Pushes,
    /// Who is told of the reload.
    pub(crate) manager: ServiceManager,
    /// The present time.
    pub(crate) system: System,
}

impl Reload {
    /// Reloads at each SIGHUP, from now on.
    ///
    /// # Errors
    /// If the system accepts no handler.
    pub(crate) fn at_hangup(self, tasks: &Shutdown) -> std::io::Result<()> {
        let reload = Arc::new(self);
        tasks.at_hangup(move || {
            let reload = Arc::clone(&reload);
            async move {
                reload.manager.reloading();
                reload.reload().await;
                reload.manager.ready();
            }
        })
    }

    async fn reload(&self) {
        info!("SIGHUP: reading configuration, certificates and credentials again");
        let config = match Config::load(self.file.as_deref(), self.overrides.clone()) {
            Ok(config) => config,
            Err(why) => {
                return error!("Nothing was reloaded: {why:#}. All that is in use stays");
            }
        };
        let now = self.system.now();
        let mut done = Vec::new();
        let mut tell = |what: &'static str, result: anyhow::Result<()>| match result {
            Ok(()) => done.push(what),
            Err(why) => error!("The {what} in use stay: {why:#}"),
        };
        tell("log levels", self.log.set(&config.observe.log));
        if let Some(certificates) = &self.certificates {
            let (server, data) = (&config.server, &self.config.store.data);
            tell("certificates", certificates.reload(server, data, clock::system_time(now)));
            let warn = self.config.certificates.warn;
            certificate_ends::tell_server(certificates, now, warn, true);
        }
        tell("trusted authorities", self.trust.reload(&config));
        self.pushes.reload(&config.push);
        done.push("push senders");
        info!("Reloaded: {}", done.join(", "));
        for section in self.unchanged(&config) {
            warn!("[{section}] has changed; it takes effect when the server is restarted");
        }
        self.pushes.clone().check(now).await;
    }

    /// The sections with changes that need a restart.
    fn unchanged(&self, config: &Config) -> Vec<&'static str> {
        let (old, new) = (sections(&self.config), sections(config));
        let changed = old.into_iter().zip(new).filter(|(old, new)| old.1 != new.1);
        changed.map(|(old, _)| old.0).collect()
    }
}

/// The sections, without the keys that are reloaded.
fn sections(config: &Config) -> Vec<(&'static str, String)> {
    let mut config = config.clone();
    config.observe.log = Targets::default();
    config.delivery.extra_ca_file = None;
    config.server.shares.lower(1); // The limit on open files may have lowered it.
    if let countersign_config::Tls::Files { certificate, key } = &mut config.server.tls {
        (*certificate, *key) = (PathBuf::new(), PathBuf::new());
    }
    let push = &config.push;
    vec![
        ("server", format!("{:?}", config.server)),
        ("transactions", format!("{:?}", config.transactions)),
        ("tokens", format!("{:?}", config.tokens)),
        ("enrolment", format!("{:?}", config.enrolment)),
        ("locks", format!("{:?}", config.locks)),
        ("channel", format!("{:?}", config.channel)),
        ("onespan", format!("{:?}", config.onespan)),
        ("trustedx", format!("{:?}", config.trustedx)),
        ("delivery", format!("{:?}", config.delivery)),
        ("push", format!("{:?}", (&push.policy, push.concurrency, push.per_sender_concurrency))),
        ("store", format!("{:?}", config.store)),
        ("retention", format!("{:?}", config.retention)),
        ("observe", format!("{:?}", config.observe)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_that_need_a_restart_are_told() {
        let before = Config::load(None, Overrides::default()).unwrap();
        let changed = |change: fn(&mut Config)| {
            let mut after = before.clone();
            change(&mut after);
            let (old, new) = (sections(&before), sections(&after));
            let differing = old.into_iter().zip(new).filter(|(old, new)| old != new);
            differing.map(|(old, _)| old.0).collect::<Vec<_>>()
        };
        assert!(changed(|config| config.observe.log = "debug".parse().unwrap()).is_empty());
        assert!(changed(|config| config.push.language = "de".into()).is_empty());
        assert!(changed(|config| config.server.shares.lower(7)).is_empty());
        assert_eq!(changed(|config| config.locks.wrong_max = 9), ["locks"]);
        assert_eq!(changed(|config| config.push.concurrency = 9), ["push"]);
    }
}
