//! Authentication of callers: the tenant that an address names, and the client that a credential
//! proves.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::Fault;
use countersign_core::event::{Actor, EventKind, NewEvent, Subject};
use countersign_core::id::{ClientId, TenantName};
use countersign_core::tenant::{ApiKey, Client, KeyKind, Tenant};
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Uri};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::callback_url::Callbacks;
use super::token::{Bearer, Issuer, TokenClaims, Tokens};
use crate::listen::KnownNetworks;
use crate::tries::{Counter, Quota, Tries, Wrong, network};
use countersign_node::{Core, log};

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
    hostname: Arc<str>,
    default_tenant: Option<TenantName>,
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
}

/// The reason why a caller is not authenticated.
#[derive(Debug)]
pub enum AuthError {
    /// The address names an unknown tenant, or no tenant.
    NoTenant,
    /// The credential is absent or invalid.
    NotAuthenticated,
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

impl Authenticator {
    /// Joins the parts. `tries_per_minute` is the number of wrong secrets that are checked for one
    /// client from one address.
    pub fn new(
        core: Arc<Core>,
        tokens: Tokens,
        callbacks: Callbacks,
        known: KnownNetworks,
        tries_per_minute: NonZeroU32,
        hostname: &str,
        default_tenant: Option<TenantName>,
    ) -> Self {
        let (tries, tries_per_client) = (Arc::default(), Quota::per_minute(tries_per_minute));
        let (tokens, hostname) = (Arc::new(tokens), hostname.into());
        Self { core, tokens, callbacks, known, tries, tries_per_client, hostname, default_tenant }
    }

    /// The tenant that the host names by its first label, or else the default tenant.
    ///
    /// # Errors
    /// [`AuthError::NoTenant`] if neither exists.
    pub fn tenant_of_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<TenantName, AuthError> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or("");
        // A port follows the last colon, unless that colon is within an IPv6 address's brackets.
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => name,
            _ => host,
        };
        let name = name.to_ascii_lowercase();
        let label = name.strip_suffix(&*self.hostname).and_then(|rest| rest.strip_suffix('.'));
        match label {
            Some(label) => label.parse().map_err(|_| AuthError::NoTenant),
            None => self.default_tenant.clone().ok_or(AuthError::NoTenant),
        }
    }

    /// The client of the request's bearer token, which the realm of the addressed tenant issued.
    ///
    /// # Errors
    /// [`AuthError::NotAuthenticated`] for an absent or expired token, or another tenant's.
    pub async fn bearer(
        &self,
        tenant: &TenantName,
        headers: &HeaderMap,
    ) -> Result<Caller, AuthError> {
        let Some(token) = bearer(headers) else {
            return self.check_tenant(tenant).await.and(Err(AuthError::NotAuthenticated));
        };
        match self.tokens.known(Issuer::Realm, token, self.core.now()) {
            Some((known, bearer)) if known == *tenant => Ok(bearer.of(known)),
            _ => self.verify_and_cache(Issuer::Realm, tenant, token).await,
        }
    }

    /// The client of this token, which the authorization server of any tenant issued.
    ///
    /// # Errors
    /// [`AuthError::NotAuthenticated`] for an invalid token, whichever tenant it names.
    pub async fn authenticate_token(&self, token: &str) -> Result<Caller, AuthError> {
        const ISSUER: Issuer = Issuer::AuthServer;
        if let Some((tenant, bearer)) = self.tokens.known(ISSUER, token, self.core.now()) {
            return Ok(bearer.of(tenant));
        }
        let tenant = self.tokens.tenant_of(ISSUER, token).ok_or(AuthError::NotAuthenticated)?;
        self.verify_and_cache(ISSUER, &tenant, token).await.map_err(|stranger| match stranger {
            AuthError::NoTenant => AuthError::NotAuthenticated,
            other => other,
        })
    }

    /// Verifies a token that is not cached, and caches it.
    async fn verify_and_cache(
        &self,
        issuer: Issuer,
        tenant: &TenantName,
        token: &str,
    ) -> Result<Caller, AuthError> {
        let (tenant, now) = (self.known_tenant(tenant).await?, self.core.now());
        let held = self.tokens.verify(issuer, &tenant, token, now);
        let held: TokenClaims = held.ok_or(AuthError::NotAuthenticated)?;
        let client = self.core.read().client(&tenant.name, &held.client).await?;
        let Client { id, name, .. } = client.ok_or(AuthError::NotAuthenticated)?;
        let scope = Arc::clone(&held.scope);
        self.tokens.remember(issuer, &tenant.name, token, held, &name);
        Ok(Caller { tenant: tenant.name, client: id, name, scope })
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
    ) -> Result<(Tenant, Client), AuthError> {
        let counters = self.counters(id, address);
        self.tries.check(&counters, self.core.now())?;
        let tenant = self.core.read().tenant(tenant).await?;
        let client = match (&tenant, id.parse()) {
            (Some(tenant), Ok(id)) => self.core.read().client(&tenant.name, &id).await?,
            _ => None,
        };
        // A secret for an unknown tenant is counted like a wrong one, so that the status 429 does
        // not reveal which tenants exist.
        let client =
            self.verify_secret(client, secret, &counters, address).inspect_err(|wrong| {
                if let (AuthError::NotAuthenticated, Some(tenant)) = (wrong, &tenant) {
                    self.note_wrong_secret(&tenant.name, id, address);
                }
            })?;
        Ok((tenant.ok_or(AuthError::NoTenant)?, client))
    }

    /// The client with this id and secret, in any tenant.
    ///
    /// # Errors
    /// As [`Authenticator::credentials`].
    pub async fn client(
        &self,
        id: &str,
        secret: &str,
        address: IpAddr,
    ) -> Result<Client, AuthError> {
        let counters = self.counters(id, address);
        self.tries.check(&counters, self.core.now())?;
        let client = match id.parse() {
            Ok(id) => self.core.read().client_by_id(&id).await?,
            Err(_) => None,
        };
        let tenant = client.as_ref().map(|client| client.tenant.clone());
        self.verify_secret(client, secret, &counters, address).inspect_err(|wrong| {
            if let (AuthError::NotAuthenticated, Some(tenant)) = (wrong, &tenant) {
                self.note_wrong_secret(tenant, id, address);
            }
        })
    }

    /// Has the history know that a wrong secret was given for a client.
    fn note_wrong_secret(&self, tenant: &TenantName, id: &str, address: IpAddr) {
        let Ok(client) = id.parse() else { return };
        self.core.notifier().note_refused(NewEvent {
            tenant: Some(tenant.clone()),
            at: self.core.now(),
            kind: EventKind::ClientRefused,
            actor: Actor::Unknown,
            subject: Subject::Client(client),
            details: vec![("address", address.to_string())],
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

    /// The client that was found, if this is its secret.
    fn verify_secret(
        &self,
        client: Option<Client>,
        secret: &str,
        counters: &[Counter],
        address: IpAddr,
    ) -> Result<Client, AuthError> {
        let given = secret_digest(secret);
        let client = self.tries.judge(counters, self.core.now(), || {
            // The comparison takes the same time for an unknown client.
            let expected = client.as_ref().map_or([0; 32], |client| client.secret_digest);
            client.filter(|_| expected.ct_eq(&given).into())
        })?;
        self.known.remember(address);
        Ok(client)
    }

    /// The client whose API key of that kind is in HTTP Basic: as the password with any user name,
    /// as the user name with an empty password, or as the bare payload. A request without a key is
    /// not counted as a guess.
    ///
    /// # Errors
    /// As [`Authenticator::credentials`].
    pub async fn api_key(
        &self,
        headers: &HeaderMap,
        kind: KeyKind,
        address: IpAddr,
    ) -> Result<ApiKey, AuthError> {
        let spellings = key_spellings(headers);
        if spellings.is_empty() {
            return Err(AuthError::NotAuthenticated);
        }
        let counters = [self.tries.counter(self.tries_per_client, ("key", network(address)))];
        self.tries.check(&counters, self.core.now())?;
        let mut right = None;
        for text in spellings {
            // The look-up is by digest, so its time reveals nothing about the right key.
            let digest = secret_digest(&text);
            let found = self.core.read().api_key(&digest).await?;
            right = found.filter(|key| key.kind == kind && key.digest.ct_eq(&digest).into());
            if right.is_some() {
                break;
            }
        }
        let key = self.tries.judge(&counters, self.core.now(), || right)?;
        self.known.remember(address);
        Ok(key)
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
        self.core.read().tenant(tenant).await?.ok_or(AuthError::NoTenant)
    }
}

impl Bearer {
    fn of(self, tenant: TenantName) -> Caller {
        let Self { client, name, scope } = self;
        Caller { tenant, client, name, scope }
    }
}

/// The bearer token of a request (RFC 6750, section 2.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The stored digest of a client's secret. The secret is random and long, so it needs no slow hash.
pub fn secret_digest(secret: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 is 32 bytes")
}

/// Id and secret from HTTP Basic. RFC 6749, section 2.3.1 requires form-encoding first. Some
/// clients omit it; generated secrets read the same either way.
pub fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

/// The possible API keys in HTTP Basic, the likeliest first.
fn key_spellings(headers: &HeaderMap) -> Vec<Zeroizing<String>> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, payload) = value.and_then(|value| value.split_once(' ')).unwrap_or_default();
    let payload = payload.trim();
    if !scheme.eq_ignore_ascii_case("basic") || payload.is_empty() {
        return Vec::new();
    }
    let decoded = BASE64.decode(payload).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.map(Zeroizing::new);
    let inner = decoded.as_ref().map(|text| match text.split_once(':') {
        Some((name, "")) => name,
        Some((_, password)) => password,
        None => text.as_str(),
    });
    let spellings = inner.into_iter().chain([payload]);
    spellings.map(|text| Zeroizing::new(text.to_owned())).collect()
}

fn form_decoded(text: &str) -> String {
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    match (pairs.next(), text.contains(['&', '='])) {
        (Some((decoded, _)), false) => decoded.into_owned(),
        _ => text.to_owned(),
    }
}
