//! Access tokens: signed by their tenant's key and short-lived, so that any node verifies them
//! (RFC 9068). A verified token is cached until it expires. Whether its client, its secret and its
//! key are still accepted is not cached: the caller reads them for each call.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use countersign_core::id::{ClientId, TenantName};
use countersign_core::limited_cache::LimitedCache;
use countersign_core::port::{Keys as _, PublicKey, Signer as _, SigningRole};
use countersign_core::tenant::Tenant;
use countersign_core::time::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::token_key;
use countersign_node::PrivateKeys;

/// The largest token that is read; real ones have a few hundred bytes.
const TOKEN_BYTES_MAX: usize = 2 * 1024;
/// Verified tokens that a node caches.
const TOKENS_REMEMBERED_MAX: usize = 65_536;
/// RFC 9068, section 2.1.
const TYPE: &str = "at+jwt";

/// The issuer of a token. Each issuer has an address of its own, and its tokens are valid only for
/// its own calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Issuer {
    /// A realm, for the callers of KOBIL's and OneSpan's dialects. Its tokens have no scopes.
    Realm,
    /// `TrustedX`'s authorization server.
    AuthServer,
}

/// The claims of a token.
#[derive(Debug, Deserialize, Serialize)]
struct AccessClaims {
    /// The issuer's address, which names the tenant: a token gives access to no other tenant.
    iss: String,
    /// The client.
    sub: String,
    client_id: String,
    /// The scopes, separated by blanks (RFC 9068, section 2.2.3).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    scope: String,
    /// The number of the secret with which the token was obtained: ours.
    #[serde(default)]
    secret_number: u32,
    /// The number of the password with which the token was obtained: ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_number: Option<u32>,
    iat: u64,
    exp: u64,
    jti: String,
}

/// Issues tokens, and caches those that it has verified.
#[derive(Debug)]
pub struct Tokens {
    keys: PrivateKeys,
    lifetime: Duration,
    /// The server's public address.
    server: String,
    verified: Mutex<LimitedCache<[u8; 32], CachedToken>>,
}

#[derive(Clone, Debug)]
struct CachedToken {
    issuer: Issuer,
    tenant: TenantName,
    claims: TokenClaims,
}

/// The claims of a valid token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenClaims {
    /// The client.
    pub client: ClientId,
    /// The scopes, separated by blanks.
    pub scope: Arc<str>,
    /// The number of the secret with which the token was obtained.
    pub secret_number: u32,
    /// The number of the password with which the token was obtained, if it was.
    pub password_number: Option<u32>,
    /// The key that verified the token.
    pub key: PublicKey,
    /// When it was issued, in seconds since the Unix epoch.
    pub issued: u64,
    /// When it expires, in seconds since the Unix epoch.
    pub expires: u64,
}

/// The parameters of a new token.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The issuer.
    pub issuer: Issuer,
    /// The client's tenant.
    pub tenant: &'a TenantName,
    /// The client, which has authenticated.
    pub client: &'a ClientId,
    /// The number of the secret with which it has authenticated.
    pub secret_number: u32,
    /// The number of its account's password, if that was given.
    pub password_number: Option<u32>,
    /// The scopes, separated by blanks.
    pub scope: &'a str,
}

impl Tokens {
    /// Issues tokens that are valid for `lifetime`, for the server at this public address.
    pub fn new(keys: PrivateKeys, lifetime: Duration, server: &str) -> Self {
        let verified = Mutex::new(LimitedCache::new(TOKENS_REMEMBERED_MAX));
        Self { keys, lifetime, server: server.to_owned(), verified }
    }

    /// The address of the issuer of a tenant's tokens, at which a realm is discovered (RFC 8414,
    /// section 2).
    pub fn issuer(&self, issuer: Issuer, tenant: &TenantName) -> String {
        format!("{}{}{tenant}", self.server, issuer.path())
    }

    /// The tenant that an unverified token names, to find the key for its verification.
    pub fn tenant_of(&self, issuer: Issuer, token: &str) -> Option<TenantName> {
        #[derive(Deserialize)]
        struct IssuerClaim {
            iss: String,
        }

        let claims = token.split('.').nth(1).filter(|_| token.len() <= TOKEN_BYTES_MAX)?;
        let IssuerClaim { iss } = serde_json::from_slice(&BASE64URL.decode(claims).ok()?).ok()?;
        iss.strip_prefix(self.server.as_str())?.strip_prefix(issuer.path())?.parse().ok()
    }

    /// The lifetime of a token.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Issues a token to an authenticated client.
    ///
    /// # Errors
    /// If the tenant's key cannot be used.
    pub async fn issue(
        &self,
        grant: Grant<'_>,
        jti: u128,
        now: Timestamp,
    ) -> anyhow::Result<String> {
        let Grant { issuer, tenant, client, secret_number, password_number, scope } = grant;
        let claims = AccessClaims {
            iss: self.issuer(issuer, tenant),
            sub: client.to_string(),
            client_id: client.to_string(),
            scope: scope.to_owned(),
            secret_number,
            password_number,
            iat: now.seconds(),
            exp: now.seconds() + self.lifetime.as_secs(),
            jti: format!("{jti:032x}"),
        };
        let signer = self.keys.prepare(tenant, SigningRole::Tokens).await?;
        let kid = Some(token_key::key_name(signer.public_key()));
        let header = Header { typ: Some(TYPE.into()), kid, ..Header::new(Algorithm::ES256) };
        let part = |json| BASE64URL.encode(json);
        // RFC 7515, section 5.1.
        let mut token = part(serde_json::to_vec(&header).context("writing a token's header")?);
        token.push('.');
        token += &part(serde_json::to_vec(&claims).context("writing a token's claims")?);
        let signature = signer.sign(token.as_bytes()).context("signing an access token")?;
        token.push('.');
        BASE64URL.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The tenant and the claims of this token, if the token is cached and has not expired.
    pub fn known(
        &self,
        issuer: Issuer,
        token: &str,
        now: Timestamp,
    ) -> Option<(TenantName, TokenClaims)> {
        let mut verified = self.verified.lock();
        let known = verified.get(&name(token)?)?;
        let holds = known.issuer == issuer && now.seconds() < known.claims.expires;
        holds.then(|| (known.tenant.clone(), known.claims.clone()))
    }

    /// Verifies a token with the key of its tenant that it names. `None` for an invalid token.
    pub fn verify(
        &self,
        issuer: Issuer,
        tenant: &Tenant,
        token: &str,
        now: Timestamp,
    ) -> Option<TokenClaims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.typ.as_deref() != Some(TYPE) {
            return None;
        }
        let named = |key: &&PublicKey| header.kid == Some(token_key::key_name(key));
        let public_key = tenant.token_keys.valid(now).find(named)?;
        let key = DecodingKey::from_ec_der(public_key);
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_issuer(&[self.issuer(issuer, &tenant.name)]);
        rules.set_required_spec_claims(&["iss", "sub", "exp"]);
        // Expiry is checked below, with the time that the caller gives.
        rules.validate_exp = false;
        rules.validate_aud = false;
        let claims = jsonwebtoken::decode::<AccessClaims>(token, &key, &rules).ok()?.claims;
        if now.seconds() >= claims.exp {
            return None;
        }
        let AccessClaims { secret_number, password_number, iat: issued, exp: expires, .. } = claims;
        let (client, scope) = (claims.sub.parse().ok()?, claims.scope.into());
        let key = *public_key;
        Some(TokenClaims { client, scope, secret_number, password_number, key, issued, expires })
    }

    /// Caches a token's claims, which never change, until the token expires.
    pub fn remember(&self, issuer: Issuer, tenant: &TenantName, token: &str, claims: TokenClaims) {
        let Some(token) = name(token) else { return };
        let known = CachedToken { issuer, tenant: tenant.clone(), claims };
        self.verified.lock().insert(token, known, 1);
    }
}

impl Issuer {
    /// The path between the server's address and the tenant's name.
    fn path(self) -> &'static str {
        match self {
            Self::Realm => "/auth/realms/",
            Self::AuthServer => "/trustedx-authserver/oauth/",
        }
    }
}

fn name(token: &str) -> Option<[u8; 32]> {
    let bounded = token.len() <= TOKEN_BYTES_MAX;
    bounded.then(|| {
        digest::digest(&digest::SHA256, token.as_bytes())
            .as_ref()
            .try_into()
            .expect("SHA-256 is 32 bytes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::port::{Change, Commit, Ledger as _};
    use countersign_node::authority::{Terms, found_tenant};
    use countersign_store::Store;

    /// Tenants `acme` and `other`, and the issuer of their tokens.
    async fn world() -> (Tokens, Tenant, Tenant) {
        let store = Store::memory();
        let tenant = async |name: &str| {
            let name = name.parse().unwrap();
            let lifetime = Duration::from_hours(24);
            let terms = Terms { serial: 7, now: Timestamp(1_000_000), lifetime };
            let new = found_tenant(&store.private_keys(), name, terms).await.unwrap();
            let tenant = new.tenant.clone();
            let change = Change::CreateTenant(Box::new(new));
            store.commit(Commit { change, events: Vec::new() }).await.unwrap();
            tenant
        };
        let (acme, other) = (tenant("acme").await, tenant("other").await);
        let lifetime = Duration::from_mins(5);
        (Tokens::new(store.private_keys(), lifetime, "https://localhost"), acme, other)
    }

    async fn issue(tokens: &Tokens, issuer: Issuer, tenant: &Tenant) -> String {
        let client = &"shop".parse().unwrap();
        let tenant = &tenant.name;
        let (secret_number, password_number) = (7, Some(2));
        let scope = "read write";
        let grant = Grant { issuer, tenant, client, secret_number, password_number, scope };
        tokens.issue(grant, 1, NOW).await.unwrap()
    }

    const NOW: Timestamp = Timestamp(2_000_000);
    const LATER: Timestamp = Timestamp(2_000_001);

    #[tokio::test]
    async fn a_tokens_header_names_its_type_its_algorithm_and_its_key() {
        let (tokens, acme, _) = world().await;
        let token = issue(&tokens, Issuer::Realm, &acme).await;
        let header = BASE64URL.decode(token.split('.').next().unwrap()).unwrap();
        let kid = token_key::key_name(&acme.token_keys.newest);
        let expected = format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}"}}"#);
        assert_eq!(String::from_utf8(header).unwrap(), expected);
    }

    #[tokio::test]
    async fn a_token_holds_for_its_tenant_until_it_expires() {
        let (tokens, acme, _) = world().await;
        let token = issue(&tokens, Issuer::Realm, &acme).await;
        assert_eq!(tokens.known(Issuer::Realm, &token, NOW), None);
        let held = tokens.verify(Issuer::Realm, &acme, &token, NOW).unwrap();
        assert_eq!((held.client.as_str(), &*held.scope), ("shop", "read write"));
        assert_eq!((held.issued, held.expires, held.secret_number), (2_000, 2_300, 7));
        assert_eq!(held.password_number, Some(2));
        assert_eq!(held.key, acme.token_keys.newest);
        tokens.remember(Issuer::Realm, &acme.name, &token, held.clone());
        assert_eq!(tokens.known(Issuer::Realm, &token, NOW), Some((acme.name.clone(), held)));
        let late = Timestamp(2_300_000);
        assert_eq!(tokens.known(Issuer::Realm, &token, late), None);
        assert_eq!(tokens.verify(Issuer::Realm, &acme, &token, late), None);
    }

    #[tokio::test]
    async fn a_token_of_a_replaced_key_holds_as_long_as_that_key_was_kept() {
        let (tokens, acme, other) = world().await;
        let token = issue(&tokens, Issuer::Realm, &acme).await;
        let new = other.token_keys.newest;
        for (keep_until, holds) in [(None, false), (Some(NOW), false), (Some(LATER), true)] {
            let token_keys = acme.token_keys.replaced_by(new, keep_until);
            let replaced = Tenant { token_keys, ..acme.clone() };
            let held = tokens.verify(Issuer::Realm, &replaced, &token, NOW);
            assert_eq!(held.is_some(), holds, "{keep_until:?}");
        }
    }

    #[tokio::test]
    async fn another_tenants_token_and_a_changed_one_hold_nowhere() {
        let (tokens, acme, other) = world().await;
        let token = issue(&tokens, Issuer::Realm, &acme).await;
        assert_eq!(tokens.verify(Issuer::Realm, &other, &token, NOW), None);
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = rest.split_once('.').unwrap();
        let swapped = claims.replace(&claims[8..9], if &claims[8..9] == "A" { "B" } else { "A" });
        for bad in [format!("{header}.{swapped}.{signature}"), format!("{rest}."), String::new()] {
            assert_eq!(tokens.verify(Issuer::Realm, &acme, &bad, NOW), None);
        }
    }

    #[tokio::test]
    async fn a_token_is_good_at_the_door_that_gave_it_only() {
        let (tokens, acme, _) = world().await;
        for (own, other) in
            [(Issuer::Realm, Issuer::AuthServer), (Issuer::AuthServer, Issuer::Realm)]
        {
            let token = issue(&tokens, own, &acme).await;
            let held = tokens.verify(own, &acme, &token, NOW).unwrap();
            assert_eq!(tokens.verify(other, &acme, &token, NOW), None);
            tokens.remember(own, &acme.name, &token, held);
            assert_eq!(tokens.known(other, &token, NOW), None);
            assert_eq!(tokens.tenant_of(own, &token), Some(acme.name.clone()));
            assert_eq!(tokens.tenant_of(other, &token), None);
        }
        for none in ["", "a.b.c", "..", "e30.e30.e30"] {
            assert_eq!(tokens.tenant_of(Issuer::Realm, none), None, "{none}");
        }
    }
}
