//! Tenants, each with its own certificate authority, clients and API keys.

use crate::id::{ApiKeyId, ClientId, TenantName};
use crate::key::{PublicKey, StoredKey};
use crate::time::Timestamp;

/// An organisation, such as a bank. Its data is separate from that of other tenants. It has its own
/// certificate authority, whose private key only [`Keys`](crate::port::Keys) uses.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The tenant's name, which is its key everywhere.
    pub name: TenantName,
    /// The certificate of the tenant's own authority, which issues its device certificates, DER.
    pub authority_certificate: Vec<u8>,
    /// The trust anchors of its device certificates, DER, including its own authority.
    pub roots: Vec<Vec<u8>>,
    /// The key that verifies the tenant's access tokens.
    pub token_public_key: PublicKey,
    /// The time of the creation.
    pub created_at: Timestamp,
}

/// A tenant to create, with its private keys.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// The private key of its authority.
    pub authority_key: StoredKey,
    /// The private key of its access tokens.
    pub token_key: StoredKey,
}

/// A client: an application of a relying party that starts transactions.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's tenant.
    pub tenant: TenantName,
    /// The id with which the client authenticates.
    pub id: ClientId,
    /// The name that is shown to users as the party that asks them to sign. Unique in the tenant.
    pub name: String,
    /// SHA-256 of the client's secret. The secret is random and long, so that no slow hash is
    /// needed.
    pub secret_digest: [u8; 32],
    /// The scopes of the client's tokens, by the dialects' names; `None` means all scopes.
    pub scopes: Option<Vec<String>>,
    /// The time of the creation.
    pub created_at: Timestamp,
}

/// A key that an application presents, the same on every phone that runs it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKey {
    /// The key's id for administration; it is not the key.
    pub id: ApiKeyId,
    /// The key's tenant; `None` means every tenant.
    pub tenant: Option<TenantName>,
    /// The permitted use.
    pub kind: KeyKind,
    /// SHA-256 of the key. The key is random and long, so that no slow hash is needed.
    pub digest: [u8; 32],
    /// The time of the creation.
    pub created_at: Timestamp,
}

/// The use of an API key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// Calls of phones.
    FrontEnd,
    /// Calls of a bank's own systems.
    BackEnd,
}

impl ApiKey {
    /// Whether the key is valid for `tenant`.
    #[must_use]
    pub fn covers(&self, tenant: &TenantName) -> bool {
        self.tenant.as_ref().is_none_or(|own| own == tenant)
    }
}

impl KeyKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::FrontEnd, Self::BackEnd];

    /// The kind's name in the ledger and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FrontEnd => "front-end",
            Self::BackEnd => "back-end",
        }
    }
}
