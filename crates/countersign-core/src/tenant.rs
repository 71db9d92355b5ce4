//! Tenants, each with its own certificate authority, clients and API keys.

use crate::id::{ApiKeyId, ClientId, DomainName, TenantName, UserName};
use crate::key::{StoredKey, TokenKeys};
use crate::role::Roles;
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
    /// The keys that verify the tenant's access tokens.
    pub token_keys: TokenKeys,
    /// Whether the tenant is served.
    pub state: TenantState,
    /// The time of the creation.
    pub created_at: Timestamp,
}

/// A domain of a tenant: a further name, unique among the names and domains of all tenants.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TenantDomain {
    /// The domain.
    pub domain: DomainName,
    /// The tenant's name.
    pub tenant: TenantName,
}

/// Whether a tenant is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TenantState {
    /// It is served.
    Active,
    /// No call of its clients, keys and devices is accepted until an operator unlocks it. Open
    /// transactions end at their own deadlines.
    Locked,
    /// It was deleted, for good. Its name, its roots, its events and the evidence of its signatures
    /// are kept.
    Deleted,
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
    /// The client's roles.
    pub roles: Roles,
    /// Whether the client may call at all.
    pub state: CredentialState,
    /// Whether its tenant was locked when the client was read. No change of a client writes it.
    pub tenant_locked: bool,
    /// The number of the client's present secret: 1 for the first. Access tokens name it, so that
    /// they end with the secret with which they were obtained.
    pub secret_number: u32,
    /// The client's present secret.
    pub secret: ClientSecret,
    /// The secret before the present one, until its end.
    pub secret_before: Option<ClientSecret>,
    /// The client's account for tokens by password, if it may have such tokens.
    pub password: PasswordGrant,
    /// The scopes of the client's tokens, by the dialects' names; `None` means all scopes.
    pub scopes: Option<Vec<String>>,
    /// The time of the creation.
    pub created_at: Timestamp,
}

/// A secret with which a client authenticates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientSecret {
    /// SHA-256 of the secret. The secret is random and long, so that no slow hash is needed.
    pub digest: [u8; 32],
    /// The time at which the secret ends; `None` means never.
    pub not_after: Option<Timestamp>,
}

/// Whether and how a client obtains tokens with the name and the password of an account (RFC 6749,
/// section 4.3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PasswordGrant {
    /// The number of the newest password, 0 before the first. Access tokens name it, so that they
    /// end with the password with which they were obtained.
    pub number: u32,
    /// The account; `None` if the client may not obtain tokens in this way.
    pub account: Option<Account>,
}

/// An account of a client: a person's or a technical one. It is no user, who signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// The name that goes with the password.
    pub name: UserName,
    /// The Argon2id hash of the password, a PHC string.
    pub hash: String,
}

/// Whether a credential is accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialState {
    /// It is accepted until its end.
    Active,
    /// It is refused until an operator unlocks it.
    Locked,
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
    /// Whether the key is accepted.
    pub state: CredentialState,
    /// Whether its own tenant was locked when the key was read. No change of a key writes it.
    pub tenant_locked: bool,
    /// The time at which the key ends; `None` means never.
    pub not_after: Option<Timestamp>,
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

impl Client {
    /// The secrets that have not ended at `now`, each with its number.
    pub fn secrets(&self, now: Timestamp) -> impl Iterator<Item = (u32, &ClientSecret)> {
        let before =
            self.secret_before.iter().map(|before| (self.secret_number.saturating_sub(1), before));
        let all = core::iter::once((self.secret_number, &self.secret)).chain(before);
        all.filter(move |(_, secret)| secret.is_valid(now))
    }

    /// Whether a call at `now` is accepted that was authenticated, now or earlier, with the secret
    /// of this number.
    #[must_use]
    pub fn accepts(&self, secret_number: u32, now: Timestamp) -> bool {
        self.state == CredentialState::Active
            && !self.tenant_locked
            && self.secrets(now).any(|(number, _)| number == secret_number)
    }

    /// Whether a token is accepted at `now` that was obtained with the secret of this number and,
    /// if there is a second number, with the password of that one.
    #[must_use]
    pub fn accepts_token(
        &self,
        secret_number: u32,
        password_number: Option<u32>,
        now: Timestamp,
    ) -> bool {
        let PasswordGrant { number, account } = &self.password;
        let is_present = |given| account.is_some() && *number == given;
        self.accepts(secret_number, now) && password_number.is_none_or(is_present)
    }

    /// Returns the client with this account, or without one. Tokens that were obtained with the
    /// password before are no longer accepted.
    #[must_use]
    pub fn with_account(self, account: Option<Account>) -> Self {
        let number = self.password.number + u32::from(account.is_some());
        Self { password: PasswordGrant { number, account }, ..self }
    }

    /// Returns the client with another secret. The present one stays valid until `keep_until`, and
    /// ends at once if it is `None`. The secret before it ends at once.
    #[must_use]
    pub fn with_secret(self, new: ClientSecret, keep_until: Option<Timestamp>) -> Self {
        let kept = keep_until.map(|end| {
            let not_after = self.secret.not_after.map_or(end, |own| own.min(end));
            ClientSecret { not_after: Some(not_after), ..self.secret }
        });
        let secret_number = self.secret_number + 1;
        Self { secret_number, secret: new, secret_before: kept, ..self }
    }
}

impl ClientSecret {
    /// Whether the secret has not ended at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_after.is_none_or(|end| now < end)
    }
}

impl TenantState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Active, Self::Locked, Self::Deleted];

    /// The state's name in the ledger and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Locked => "locked",
            Self::Deleted => "deleted",
        }
    }
}

impl CredentialState {
    /// All states.
    pub const ALL: [Self; 2] = [Self::Active, Self::Locked];

    /// The state's name in the ledger and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Locked => "locked",
        }
    }
}

impl ApiKey {
    /// Whether the key is accepted at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.state == CredentialState::Active
            && !self.tenant_locked
            && self.not_after.is_none_or(|end| now < end)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn client(not_after: Option<Timestamp>) -> Client {
        Client {
            tenant: "acme".parse().unwrap(),
            id: "shop".parse().unwrap(),
            name: "Shop".into(),
            roles: Roles::default(),
            state: CredentialState::Active,
            tenant_locked: false,
            secret_number: 1,
            secret: ClientSecret { digest: [1; 32], not_after },
            secret_before: None,
            password: PasswordGrant::default(),
            scopes: None,
            created_at: Timestamp(0),
        }
    }

    /// The numbers that are accepted at `now`, among the first four.
    fn accepted(client: &Client, now: u64) -> Vec<u32> {
        (0..4).filter(|number| client.accepts(*number, Timestamp(now))).collect()
    }

    #[test]
    fn a_token_by_password_ends_with_its_password_and_with_its_secret() {
        let account =
            |hash: &str| Some(Account { name: "robot".parse().unwrap(), hash: hash.into() });
        let accepts = |client: &Client, number| client.accepts_token(1, number, Timestamp(0));
        let none = client(None);
        assert!(accepts(&none, None) && !accepts(&none, Some(0)) && !accepts(&none, Some(1)));
        let first = none.with_account(account("a"));
        assert!(accepts(&first, Some(1)) && accepts(&first, None) && !accepts(&first, Some(2)));
        assert!(!first.accepts_token(2, Some(1), Timestamp(0)), "another secret");
        let second = first.with_account(account("b"));
        assert!(accepts(&second, Some(2)) && !accepts(&second, Some(1)));
        let removed = second.with_account(None);
        assert!(!accepts(&removed, Some(2)) && accepts(&removed, None));
        let third = removed.with_account(account("b"));
        assert!(accepts(&third, Some(3)) && !accepts(&third, Some(2)), "numbers are not reused");
    }

    #[test]
    fn a_secret_is_accepted_until_its_end_or_until_it_is_replaced() {
        let new = |n| ClientSecret { digest: [n; 32], not_after: None };
        let first = client(Some(Timestamp(100)));
        assert_eq!((accepted(&first, 99), accepted(&first, 100)), (vec![1], vec![]));
        let at_once = client(None).with_secret(new(2), None);
        assert_eq!(accepted(&at_once, 0), [2]);
        let kept = client(None).with_secret(new(2), Some(Timestamp(50)));
        assert_eq!((accepted(&kept, 49), accepted(&kept, 50)), (vec![1, 2], vec![2]));
        let thrice = kept.with_secret(new(3), Some(Timestamp(60)));
        assert_eq!(accepted(&thrice, 49), [2, 3]);
        let earlier = first.with_secret(new(2), Some(Timestamp(500)));
        assert_eq!((accepted(&earlier, 99), accepted(&earlier, 100)), (vec![1, 2], vec![2]));
        let locked = Client { state: CredentialState::Locked, ..thrice.clone() };
        assert_eq!(accepted(&locked, 0), []);
        assert_eq!(accepted(&Client { tenant_locked: true, ..thrice }, 0), []);
    }
}
