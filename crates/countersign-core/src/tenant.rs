//! Who runs transactions here: a tenant, with its own authority, its relying parties, and the keys
//! of the applications that speak for its people's phones.

use crate::id::{ApiKeyId, ClientId, TenantName};
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
    /// What its tokens may be good for, by names that dialects give; everything where `None`.
    pub scopes: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key that a whole application presents, on every phone that runs it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKey {
    /// Its name for those who manage it; not the key.
    pub id: ApiKeyId,
    /// Whose it is; `None` is good for every tenant.
    pub tenant: Option<TenantName>,
    /// What it may be used for.
    pub kind: KeyKind,
    /// SHA-256 of the key, which is random and long, so that no slow hash is needed.
    pub digest: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
}

/// What an API key may be used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// What phones do.
    FrontEnd,
    /// What a bank's own systems do.
    BackEnd,
}

impl ApiKey {
    /// Whether it is good for `tenant`.
    #[must_use]
    pub fn covers(&self, tenant: &TenantName) -> bool {
        self.tenant.as_ref().is_none_or(|own| own == tenant)
    }
}

impl KeyKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::FrontEnd, Self::BackEnd];

    /// Its name in the ledger and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FrontEnd => "front-end",
            Self::BackEnd => "back-end",
        }
    }
}
