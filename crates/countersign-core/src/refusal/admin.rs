//! The refusals to operators of tenants and their credentials.

use super::Refusal;

/// The reason for refusing an operator's request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AdminRefusal {
    /// There is no such tenant.
    #[error("no such tenant")]
    UnknownTenant,
    /// The tenant is not locked, which deleting it requires.
    #[error("the tenant is not locked")]
    NotLocked,
    /// The tenant has no such client.
    #[error("no such client")]
    UnknownClient,
    /// There is no such API key.
    #[error("no such API key")]
    UnknownKey,
    /// The tenant does not trust this root.
    #[error("the tenant does not trust this root")]
    UnknownRoot,
    /// The root is the tenant's own authority.
    #[error("this root is the tenant's own authority")]
    OwnAuthority,
    /// The object already has the requested state.
    #[error("it already has that state")]
    Unchanged,
    /// An object of that name exists already.
    #[error("it exists already")]
    Exists,
    /// The tenant has the maximum of trusted roots.
    #[error("the tenant trusts too many roots")]
    ManyRoots,
    /// The tenant has the maximum of domains.
    #[error("the tenant has too many domains")]
    ManyDomains,
    /// The tenant has no such domain.
    #[error("the tenant has no such domain")]
    UnknownDomain,
    /// Two keys already sign the client's callbacks.
    #[error("two keys sign the client's callbacks already: end the older one first")]
    ManyKeys,
}

impl Refusal for AdminRefusal {
    fn kind(&self) -> &'static str {
        match self {
            Self::UnknownTenant => "unknown_tenant",
            Self::NotLocked => "not_locked",
            Self::UnknownClient => "unknown_client",
            Self::UnknownKey => "unknown_key",
            Self::UnknownRoot => "unknown_root",
            Self::OwnAuthority => "own_authority",
            Self::Unchanged => "unchanged",
            Self::Exists => "exists",
            Self::ManyRoots => "many_roots",
            Self::ManyDomains => "many_domains",
            Self::UnknownDomain => "unknown_domain",
            Self::ManyKeys => "many_keys",
        }
    }
}
