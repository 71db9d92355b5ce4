//! Components: programs that call without credentials, from networks that the operator trusts.

use std::net::IpAddr;

use countersign_core::tenant::CredentialState;
use tracing::info;

pub use countersign_config::Component;

use crate::caller::{AuthError, Authenticator, Caller};

impl Authenticator {
    /// The client of the component of this type at this address.
    ///
    /// # Errors
    /// [`AuthError::NotAuthenticated`] if there is no such component, or its client is unknown or
    /// locked.
    pub async fn component(
        &self,
        components: &[Component],
        component_type: &str,
        address: IpAddr,
    ) -> Result<Caller, AuthError> {
        let is_caller =
            |one: &&Component| one.component_type == component_type && one.calls_from(address);
        let found = components.iter().find(is_caller).ok_or(AuthError::NotAuthenticated)?;
        let client = self.core.read().client_by_id(&found.client).await?;
        let client = client.ok_or(AuthError::NotAuthenticated)?;
        if client.state != CredentialState::Active || client.tenant_locked {
            info!(client = %client.id, "Client {} or its tenant is locked: its call was refused", client.id);
            return Err(AuthError::NotAuthenticated);
        }
        Ok(self.caller(client, "".into()))
    }
}
