//! Changes of credentials, in memory: clients, API keys, token keys and trusted roots.

use countersign_core::id::{ApiKeyId, TenantName};
use countersign_core::port::{ClientDeletion, Committed, SigningRole, TokenKeyChange};
use countersign_core::tenant::{Client, CredentialState};

use super::Tables;

impl Tables {
    pub(super) fn change_client(&mut self, client: &Client, expected: u32) -> Committed {
        let place = (client.tenant.clone(), client.id.clone());
        match self.clients.get_mut(&place) {
            Some(found) if found.version == expected => {
                let Client { roles, state, secret_number, secret, secret_before, .. } = *client;
                let password = client.password.clone();
                let before = found.value.clone();
                found.value = Client {
                    roles,
                    state,
                    secret_number,
                    secret,
                    secret_before,
                    password,
                    ..before
                };
                found.version += 1;
                Committed::Written
            }
            _ => Committed::Stale,
        }
    }

    pub(super) fn delete_client(&mut self, old: ClientDeletion) -> Committed {
        if old.only_of_locked && !self.tenant_is_locked(&old.tenant) {
            return Committed::Stale;
        }
        let place = (old.tenant, old.client);
        self.callback_keys.remove(&place);
        written_if(self.clients.remove(&place).is_some())
    }

    pub(super) fn distrust(&mut self, tenant: &TenantName, root: &[u8]) -> Committed {
        let Some(found) = self.tenants.get_mut(tenant) else { return Committed::Stale };
        if found.authority_certificate == root {
            return Committed::Stale;
        }
        let before = found.roots.len();
        found.roots.retain(|one| one.as_slice() != root);
        written_if(found.roots.len() < before)
    }

    pub(super) fn replace_token_key(&mut self, change: TokenKeyChange) -> Committed {
        let TokenKeyChange { tenant, expected, keys, key } = change;
        match self.tenants.get_mut(&tenant) {
            Some(found) if found.token_keys.newest == expected.newest => found.token_keys = keys,
            _ => return Committed::Stale,
        }
        self.signing_keys.insert((tenant, SigningRole::Tokens), key);
        Committed::Written
    }

    pub(super) fn set_key_state(&mut self, id: ApiKeyId, state: CredentialState) -> Committed {
        let key = self.keys.iter_mut().find(|key| key.id == id && key.state != state);
        let Some(key) = key else { return Committed::Stale };
        key.state = state;
        Committed::Written
    }

    pub(super) fn delete_key(&mut self, id: ApiKeyId) -> Committed {
        let before = self.keys.len();
        self.keys.retain(|key| key.id != id);
        written_if(self.keys.len() < before)
    }

    pub(super) fn delete_activation(&mut self, tenant: &TenantName, id: u128) -> Committed {
        let before = self.activations.len();
        self.activations.retain(|one| one.value.tenant != *tenant || one.value.id != id);
        written_if(self.activations.len() < before)
    }
}

fn written_if(changed: bool) -> Committed {
    if changed { Committed::Written } else { Committed::Stale }
}
