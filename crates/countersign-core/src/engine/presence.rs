//! Where a user's devices are online: at this node, and at the others that share the ledger.

use super::Engine;
use crate::id::{DeviceId, TenantName, UserName};
use crate::port::{Clock, Entropy, Ledger, Notifier, Presence};
use crate::refusal::Fault;
use crate::spec::Recipients;

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Where the user's devices are online at other nodes. Nothing is read if all of `devices` are
    /// connected to this node, because then nothing depends on the others.
    ///
    /// # Errors
    /// Fails if the ledger does.
    pub async fn presence_elsewhere(
        &self,
        tenant: &TenantName,
        user: &UserName,
        devices: impl IntoIterator<Item = DeviceId>,
    ) -> Result<Vec<Presence>, Fault> {
        let is_here = |device| self.notifier.connected(tenant, user, &Recipients::Device(device));
        if devices.into_iter().all(is_here) {
            return Ok(Vec::new());
        }
        self.store.presence(tenant, user).await
    }
}
