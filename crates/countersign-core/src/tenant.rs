//! Who runs transactions here: a tenant, with its own authority, and its relying parties.

use crate::id::{ClientId, TenantName};
use crate::secret::{Key32, Secret};
use crate::time::Timestamp;

/// A bank, a ministry: a world of its own. Tenants never see each other.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name, and its key everywhere.
    pub name: TenantName,
    /// Who issues its devices' certificates.
    pub authority: Authority,
    /// Trust anchors of its devices' certificates, DER; its own authority's among them.
    pub roots: Vec<Vec<u8>>,
    /// PKCS#8 DER of the P-256 key that signs its access tokens.
    pub token_key: Secret<Vec<u8>>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The tenant's embedded certificate authority.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// PKCS#8 DER of its key.
    pub key: Secret<Vec<u8>>,
}

/// A relying party: an application that starts transactions.
#[derive(Clone, Debug)]
pub struct Client {
    /// Whose it is.
    pub tenant: TenantName,
    /// What it authenticates as.
    pub id: ClientId,
    /// What people are shown: who asks them to sign. Unique in the tenant.
    pub name: String,
    /// SHA-256 of its secret, which is random and long, so that no slow hash is needed.
    pub secret_digest: [u8; 32],
    /// The key of its callbacks' signatures.
    pub webhook_key: Key32,
    /// The one before it, while its receivers change over: both sign.
    pub webhook_key_before: Option<Key32>,
    /// When it was made.
    pub created_at: Timestamp,
}
