//! Authentication of callers: the tenant that an address names, and the client that a credential
//! proves.

mod api_key;
pub mod password;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::digest;
use countersign_config::Scopes;
use countersign_core::Fault;
use countersign_core::event::{Actor, EventKind, NewEvent, Subject};
use countersign_core::id::{ClientId, TenantName};
use countersign_core::role::{Role, Roles};
use countersign_core::tenant::{Client, Tenant, TenantState};
use http::header::HOST;
use http::{HeaderMap, Uri};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

pub use super::authorization::{basic, bearer};
use super::callback_url::Callbacks;
use super::token::{Issuer, TokenClaims, Tokens};
use crate::host;
use crate::listen::KnownNetworks;
use crate::tries::{Counter, Quota, Tries, Wrong, network};
use countersign_node::{Core, log};
use tracing::info;

/// The limit on wrong secrets for all clients of one address, as a multiple of the limit for one
/// client.
const CLIENTS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");

/// Authenticates the callers of every dialect.
#[derive(Clone)]
pub struct Authenticator {
    /// The engine.
    pub core: Arc<Core>,
    /// Access tokens.
    pub tokens: Arc<Tokens>,
    /// Checks callback addresses.
    pub callbacks: Callbacks,
    /// Networks for which connections are reserved.
    known: KnownNetworks,
    tries: Arc<Tries>,
    tries_per_client: Quota,
    hashing: Arc<Semaphore>,
    settings: Arc<CallerSettings>,
}

/// The operator's settings for callers.
#[derive(Clone, Debug)]
pub struct CallerSettings {
    /// The number of wrong secrets that are checked for one client from one address in a minute.
    pub tries_per_minute: NonZeroU32,
    /// The server's own name; tenants are its subdomains.
    pub hostname: String,
    /// The tenant of addresses that name none.
    pub default_tenant: Option<TenantName>,
    /// The scopes of `TrustedX`'s dialect, by which a client may be limited.
    pub scopes: Scopes,
}

/// An authenticated client.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its tenant.
    pub tenant: TenantName,
    /// The id with which it authenticated.
    pub client: ClientId,
    /// Its name for people.
    pub name: String,
    /// The scopes of its token, separated by blanks.
    pub scope: Arc<str>,
    /// The roles that it has through this dialect.
    pub roles: Roles,
}

/// A client whose secret was verified.
#[derive(Debug)]
pub struct AuthenticatedClient {
    /// The client.
    pub client: Client,
    /// The number of the secret.
    pub secret_number: u32,
    /// The number of its account's password, if that was verified too.
    pub password_number: Option<u32>,
}

/// The reason why a caller is not authenticated.
#[derive(Debug)]
pub enum AuthError {
    /// The address names an unknown tenant, or no tenant.
    NoTenant,
    /// There is no bearer token.
    NoToken,
    /// The credential is invalid; or it is absent, and not a bearer token.
    NotAuthenticated,
    /// The client is authenticated but does not have this role.
    NoRole(Role),
    /// There were too many wrong credentials recently; this one was not checked.
    TooManyTries,
    /// The ledger failed; the failure has been logged.
    Failed,
}

impl From<Wrong> for AuthError {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Guess => Self::NotAuthenticated,
            Wrong::TooMany => Self::TooManyTries,
        }
    }
}

/// Logs the fault here, once; the outer layers learn only that the call failed.
impl From<Fault> for AuthError {
    fn from(fault: Fault) -> Self {
        log(&fault);
        Self::Failed
    }
}

impl Caller {
    /// Checks that the caller has this role.
    ///
    /// # Errors
    /// [`AuthError::NoRole`] if it does not.
    pub fn check(&self, role: Role) -> Result<(), AuthError> {
        if self.roles.has(role) { Ok(()) } else { Err(AuthError::NoRole(role)) }
    }
}

impl Authenticator {
    /// Joins the parts.
    pub fn new(
        core: Arc<Core>,
        tokens: Tokens,
        callbacks: Callbacks,
        known: KnownNetworks,
        settings: CallerSettings,
    ) -> Self {
        let tries_per_client = Quota::per_minute(settings.tries_per_minute);
        let (tokens, settings) = (Arc::new(tokens), Arc::new(settings));
        let hashing = Arc::new(Semaphore::new(password::HASHES_AT_ONCE));
        let tries = Arc::default();
        Self { core, tokens, callbacks, known, tries, tries_per_client, hashing, settings }
    }

    /// The tenant that the host names by its first label, or else the default tenant.
    ///
    /// # Errors
    /// [`AuthError::NoTenant`] if neither exists.
    pub fn tenant_of_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<TenantName, AuthError> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or("");
        self.settings.tenant_of_host(host)
    }

    /// The client of the request's bearer token, which the realm of the addressed tenant issued.
    ///
    /// # Errors
    /// [`AuthError::NoToken`] if there is none, and [`AuthError::NotAuthenticated`] for an invalid
    /// or expired token, or another tenant's.
    pub async fn bearer(
        &self,
        tenant: &TenantName,
        headers: &HeaderMap,
    ) -> Result<Caller, AuthError> {
        let Some(token) = bearer(headers) else {
            return self.check_tenant(tenant).await.and(Err(AuthError::NoToken));
        };
        let known = self.tokens.known(Issuer::Realm, token, self.core.now());
        let known = known.filter(|(known, _)| known == tenant).map(|(_, claims)| claims);
        let (client, scope) = self.holder(Issuer::Realm, tenant, token, known).await?;
        Ok(self.caller(client, scope))
    }

    /// The client of this token, which the authorization server of any tenant issued.
    ///
    /// # Errors
    /// [`AuthError::NotAuthenticated`] for an invalid token, whichever tenant it names.
    pub async fn authenticate_token(&self, token: &str) -> Result<Caller, AuthError> {
        const ISSUER: Issuer = Issuer::AuthServer;
        let known = self.tokens.known(ISSUER, token, self.core.now());
        let (tenant, known) = if let Some((tenant, claims)) = known {
            (tenant, Some(claims))
        } else {
            let tenant = self.tokens.tenant_of(ISSUER, token);
            (tenant.ok_or(AuthError::NotAuthenticated)?, None)
        };
        let held = self.holder(ISSUER, &tenant, token, known).await;
        let (client, scope) = held.map_err(|stranger| match stranger {
            AuthError::NoTenant => AuthError::NotAuthenticated,
            other => other,
        })?;
        // The token's scopes limit it by themselves.
        let Client { tenant, id, name, roles, .. } = client;
        Ok(Caller { tenant, client: id, name, scope, roles })
    }

    /// The claims of a token that this tenant issued, if it is valid and its client accepted.
    ///
    /// # Errors
    /// If the ledger fails.
    pub async fn introspect(
        &self,
        issuer: Issuer,
        tenant: &Tenant,
        token: &str,
    ) -> Result<Option<TokenClaims>, AuthError> {
        let now = self.core.now();
        let Some(claims) = self.tokens.verify(issuer, tenant, token, now) else { return Ok(None) };
        let client = self.core.read().client(&tenant.name, &claims.client).await?;
        let is_accepted = client.is_some_and(|client| {
            client.value.accepts_token(claims.secret_number, claims.password_number, now)
        });
        Ok(Some(claims).filter(|_| is_accepted))
    }

    /// The client and the scopes of a token. `known` are the token's claims if it is cached. The
    /// client, its secret and the tenant's keys are read each time, so that what an operator takes
    /// back is refused from the next call on.
    async fn holder(
        &self,
        issuer: Issuer,
        tenant: &TenantName,
        token: &str,
        known: Option<TokenClaims>,
    ) -> Result<(Client, Arc<str>), AuthError> {
        let (now, is_new) = (self.core.now(), known.is_none());
        let claims = if let Some(claims) = known {
            claims
        } else {
            let tenant = self.known_tenant(tenant).await?;
            let claims = self.tokens.verify(issuer, &tenant, token, now);
            claims.ok_or(AuthError::NotAuthenticated)?
        };
        let found = self.core.read().token_holder(tenant, &claims.client).await?;
        let (client, keys) = found.ok_or(AuthError::NotAuthenticated)?;
        let is_accepted = keys.valid(now).any(|key| *key == claims.key)
            && client.accepts_token(claims.secret_number, claims.password_number, now);
        if !is_accepted {
            return Err(AuthError::NotAuthenticated);
        }
        let scope = Arc::clone(&claims.scope);
        if is_new {
            self.tokens.remember(issuer, tenant, token, claims);
        }
        Ok((client, scope))
    }

    /// A client that calls through a dialect without scopes. If it is limited to scopes, it has
    /// only the roles whose calls those scopes allow.
    pub(crate) fn caller(&self, client: Client, scope: Arc<str>) -> Caller {
        let Client { tenant, id, name, roles, scopes, .. } = client;
        let roles = match scopes {
            None => roles,
            Some(own) => roles.and(self.settings.scopes_allow(&own)),
        };
        Caller { tenant, client: id, name, scope, roles }
    }

    /// The client with this id and secret, in this tenant.
    ///
    /// # Errors
    /// [`AuthError::NotAuthenticated`] if the secret is wrong, and [`AuthError::TooManyTries`],
    /// without checking the secret, if too many from `address` were wrong recently.
    pub async fn credentials(
        &self,
        tenant: &TenantName,
        id: &str,
        secret: &str,
        address: IpAddr,
    ) -> Result<(Tenant, AuthenticatedClient), AuthError> {
        let counters = self.counters(id, address);
        self.tries.check(&counters, self.core.now())?;
        let tenant = self.core.read().tenant(tenant).await?;
        let client = match (&tenant, id.parse()) {
            (Some(tenant), Ok(id)) => self.core.read().client(&tenant.name, &id).await?,
            _ => None,
        };
        let client = client.map(|client| client.value);
        // A secret for an unknown tenant is counted like a wrong one, so that the status 429 does
        // not reveal which tenants exist.
        let client =
            self.verify_secret(client, secret, &counters, address).inspect_err(|wrong| {
                if let AuthError::NotAuthenticated = wrong {
                    let tenant = tenant.as_ref().map(|tenant| &tenant.name);
                    self.note_wrong(tenant, id, address, "secret");
                }
            })?;
        Ok((tenant.ok_or(AuthError::NoTenant)?, client))
    }

    /// The client with this id and secret, in any tenant, which calls without a token.
    ///
    /// # Errors
    /// As [`Authenticator::credentials`].
    pub async fn client(
        &self,
        id: &str,
        secret: &str,
        address: IpAddr,
    ) -> Result<Caller, AuthError> {
        let counters = self.counters(id, address);
        self.tries.check(&counters, self.core.now())?;
        let client = match id.parse() {
            Ok(id) => self.core.read().client_by_id(&id).await?,
            Err(_) => None,
        };
        let tenant = client.as_ref().map(|client| client.tenant.clone());
        let verified = self.verify_secret(client, secret, &counters, address);
        let verified = verified.inspect_err(|wrong| {
            if let AuthError::NotAuthenticated = wrong {
                self.note_wrong(tenant.as_ref(), id, address, "secret");
            }
        })?;
        Ok(self.caller(verified.client, "".into()))
    }

    /// Records in the history that a wrong credential of this kind was given for a client: an event
    /// of its tenant, or of the whole server if there is no such client or tenant.
    fn note_wrong(&self, tenant: Option<&TenantName>, id: &str, address: IpAddr, credential: &str) {
        let Ok(client) = id.parse() else { return };
        let (kind, subject) = (EventKind::ClientRefused, Subject::Client(client));
        let details = vec![("address", address.to_string()), ("credential", credential.into())];
        self.note_refused(kind, tenant, subject, details);
    }

    /// Records in the history that a credential was refused.
    fn note_refused(
        &self,
        kind: EventKind,
        tenant: Option<&TenantName>,
        subject: Subject,
        details: Vec<(&'static str, String)>,
    ) {
        self.core.notifier().note_refused(NewEvent {
            tenant: tenant.cloned(),
            at: self.core.now(),
            kind,
            actor: Actor::Unknown,
            subject,
            details,
        });
    }

    /// The counters of a wrong secret: one for the named client, known or not, from this address,
    /// and one for the address. An attacker at another address can use up neither.
    fn counters(&self, id: &str, address: IpAddr) -> [Counter; 2] {
        let (tries, quota, network) = (&self.tries, self.tries_per_client, network(address));
        [
            tries.counter(quota, ("client", id, network)),
            tries.counter(quota.times(CLIENTS_PER_ADDRESS), ("address", network)),
        ]
    }

    /// The client that was found, if this is one of its secrets and it is not locked. The right
    /// secret of a locked client is not counted as a guess.
    fn verify_secret(
        &self,
        client: Option<Client>,
        secret: &str,
        counters: &[Counter],
        address: IpAddr,
    ) -> Result<AuthenticatedClient, AuthError> {
        let (given, now) = (secret_digest(secret), self.core.now());
        let found = self.tries.judge(counters, now, || {
            let is_right = |digest: &[u8; 32]| -> bool { digest.ct_eq(&given).into() };
            let Some(client) = client else {
                // The comparison takes the same time for an unknown client.
                let _ = is_right(&[0; 32]);
                return None;
            };
            let right = client.secrets(now).find(|(_, secret)| is_right(&secret.digest));
            let secret_number = right.map(|(number, _)| number)?;
            Some(AuthenticatedClient { client, secret_number, password_number: None })
        })?;
        if !found.client.accepts(found.secret_number, now) {
            let AuthenticatedClient { client: Client { id, .. }, .. } = found;
            info!(client = %id, "Client {id} or its tenant is locked: its call was refused");
            return Err(AuthError::NotAuthenticated);
        }
        self.known.remember(address);
        Ok(found)
    }

    /// The scopes of `TrustedX`'s dialect.
    pub(crate) fn scopes(&self) -> &Scopes {
        &self.settings.scopes
    }

    /// The tenant of that name.
    ///
    /// # Errors
    /// [`AuthError::NoTenant`] if it does not exist.
    pub async fn tenant(&self, name: &str) -> Result<Tenant, AuthError> {
        let name = name.parse().map_err(|_| AuthError::NoTenant)?;
        self.known_tenant(&name).await
    }

    /// Checks that there is a tenant of that name.
    ///
    /// # Errors
    /// [`AuthError::NoTenant`] if it does not exist.
    pub(crate) async fn check_tenant(&self, name: &TenantName) -> Result<(), AuthError> {
        if self.core.has_tenant(name).await? { Ok(()) } else { Err(AuthError::NoTenant) }
    }

    /// Forgets addresses without recent failures.
    pub fn tidy(&self) {
        self.tries.tidy(self.core.now());
    }

    async fn known_tenant(&self, tenant: &TenantName) -> Result<Tenant, AuthError> {
        let found = self.core.read().tenant(tenant).await?;
        found.filter(|found| found.state != TenantState::Deleted).ok_or(AuthError::NoTenant)
    }
}

impl CallerSettings {
    /// The tenant that this host names by its first label, or else the default tenant.
    fn tenant_of_host(&self, host: &str) -> Result<TenantName, AuthError> {
        let name = host::name(host).to_ascii_lowercase();
        match name.strip_suffix(&*self.hostname).and_then(|rest| rest.strip_suffix('.')) {
            Some(label) => label.parse().map_err(|_| AuthError::NoTenant),
            None => self.default_tenant.clone().ok_or(AuthError::NoTenant),
        }
    }

    /// The roles whose calls these scopes allow.
    fn scopes_allow(&self, own: &[String]) -> Roles {
        let Scopes { sign, manage, register, .. } = &self.scopes;
        let all = [(sign, Role::Ask), (manage, Role::People), (register, Role::Enrol)];
        all.into_iter().filter(|(scope, _)| own.contains(scope)).map(|(_, role)| role).collect()
    }
}

/// The stored digest of a client's secret. The secret is random and long, so it needs no slow hash.
pub fn secret_digest(secret: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 is 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> CallerSettings {
        let [sign, profile, manage, register] = ["s", "p", "m", "r"].map(str::to_owned);
        CallerSettings {
            tries_per_minute: NonZeroU32::MIN,
            hostname: "localhost".into(),
            default_tenant: None,
            scopes: Scopes { sign, profile, manage, register },
        }
    }

    #[test]
    fn a_host_names_its_tenant_in_any_spelling() {
        let mut settings = CallerSettings { hostname: "sign.example".into(), ..settings() };
        for host in [
            "acme.sign.example",
            "acme.sign.example.",
            "Acme.Sign.Example.:8443",
            "acme.sign.example:8443",
        ] {
            let tenant = settings.tenant_of_host(host).map(|tenant| tenant.to_string());
            assert_eq!(tenant.unwrap(), "acme", "{host}");
        }
        for host in ["", "sign.example.", "acme.sign.example..", "a.b.sign.example", "[::1]:8443"] {
            assert!(settings.tenant_of_host(host).is_err(), "{host}");
        }
        settings.default_tenant = Some("own".parse().unwrap());
        for host in ["sign.example", "sign.example.", "[::1]:8443"] {
            assert_eq!(settings.tenant_of_host(host).unwrap().as_str(), "own", "{host}");
        }
    }

    #[test]
    fn scopes_allow_the_roles_of_their_calls_and_reading_identities_allows_none() {
        let settings = settings();
        let allowed = |own: &str| {
            let own: Vec<String> = own.chars().map(String::from).collect();
            settings.scopes_allow(&own).iter().map(Role::as_str).collect::<Vec<_>>().join(" ")
        };
        for (own, roles) in
            [("", ""), ("p", ""), ("s", "ask"), ("pm", "people"), ("r", "enrol"), ("x", "")]
        {
            assert_eq!(allowed(own), roles, "{own}");
        }
        assert_eq!(allowed("spmr"), "ask people enrol");
    }
}
