//! Tells the service manager that started this process what state it is in: `sd_notify(3)`, one
//! datagram a message. Without a service manager, nothing is told.

#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use countersign_node::clock;
use countersign_node::task::{Criticality, Shutdown};
use tracing::warn;

/// The service manager, if there is one. Clones tell the same one.
#[derive(Clone)]
pub(crate) struct ServiceManager(Option<Arc<Connection>>);

struct Connection {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl ServiceManager {
    /// The service manager that the environment names. If it names one that cannot be told, that is
    /// logged.
    pub(crate) fn of_environment() -> Self {
        let Some(name) = countersign_config::notify_socket() else { return Self(None) };
        let connected = address(name.as_bytes())
            .and_then(|address| Ok(Connection { socket: UnixDatagram::unbound()?, address }));
        match connected {
            Ok(connection) => Self(Some(Arc::new(connection))),
            Err(error) => {
                warn!("The service manager's socket cannot be used: {error}");
                Self(None)
            }
        }
    }

    /// The server serves.
    pub(crate) fn ready(&self) {
        self.tell("READY=1\nSTATUS=Serving\n");
    }

    /// The server reads its files again; [`ServiceManager::ready`] follows. The time orders this
    /// against the manager's own reload.
    pub(crate) fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", clock::monotonic_microseconds()));
    }

    /// The server will stop.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Stopping\n");
    }

    /// Gives signs of life while `is_alive` says so, if the manager wants them: twice in its time.
    pub(crate) fn watch(
        &self,
        tasks: &Shutdown,
        is_alive: impl Fn() -> bool + Send + Sync + 'static,
    ) {
        let Some(within) = countersign_config::watchdog().filter(|_| self.0.is_some()) else {
            return;
        };
        let (manager, terminated) = (self.clone(), tasks.terminated());
        tasks.spawn("watchdog", Criticality::Essential, async move {
            let mut turns = tokio::time::interval((within / 2).max(Duration::from_millis(1)));
            while terminated.run_until_cancelled(turns.tick()).await.is_some() {
                if is_alive() {
                    manager.tell("WATCHDOG=1\n");
                }
            }
        });
    }

    fn tell(&self, state: &str) {
        let Some(connection) = &self.0 else { return };
        if let Err(error) = connection.socket.send_to_addr(state.as_bytes(), &connection.address) {
            warn!("The service manager cannot be told: {error}");
        }
    }
}

/// A path, or `@` and an abstract name.
fn address(name: &[u8]) -> std::io::Result<SocketAddr> {
    match name.split_first() {
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_path_or_an_abstract_name() {
        let path = address(b"/run/systemd/notify").unwrap();
        assert_eq!(path.as_pathname().unwrap().to_str(), Some("/run/systemd/notify"));
        #[cfg(target_os = "linux")]
        assert_eq!(address(b"@notify").unwrap().as_abstract_name(), Some(&b"notify"[..]));
    }
}
