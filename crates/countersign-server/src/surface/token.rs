//! Access tokens: signed by their tenant's key and short-lived, so that any node checks them without
//! a look-up (RFC 9068). One that was verified is remembered until it expires.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::digest;
use countersign_core::id::{ClientId, TenantName};
use countersign_core::tenant::Tenant;
use countersign_core::time::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use rcgen::{KeyPair, PublicKeyData as _};
use serde::{Deserialize, Serialize};

use super::discovery;

/// A token is a few hundred bytes; nothing longer is read.
const TOKEN_BYTES_MAX: usize = 2 * 1024;
/// Verified tokens that a node remembers.
const TOKENS_REMEMBERED_MAX: usize = 65_536;
/// RFC 9068, section 2.1.
const TYPE: &str = "at+jwt";

/// What a token says.
#[derive(Debug, Deserialize, Serialize)]
struct Claims {
    /// The tenant's address: a token reaches no other tenant's rows.
    iss: String,
    /// The client.
    sub: String,
    client_id: String,
    iat: u64,
    exp: u64,
    jti: String,
}

/// Makes tokens, and remembers those that it has verified.
#[derive(Debug)]
pub(crate) struct Tokens {
    lifetime: Duration,
    /// The server's public address.
    server: String,
    verified: Mutex<HashMap<[u8; 32], Verified>>,
}

#[derive(Clone, Debug)]
struct Verified {
    tenant: TenantName,
    bearer: Bearer,
    expires: u64,
}

/// Whose token it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Bearer {
    /// The client.
    pub(crate) client: ClientId,
    /// As people know it.
    pub(crate) name: String,
}

/// What a token says that holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Held {
    /// The client.
    pub(crate) client: ClientId,
    expires: u64,
}

impl Tokens {
    /// Tokens that are good for `lifetime`, issued by the realms of the server at this public address.
    pub(crate) fn new(lifetime: Duration, server: &str) -> Self {
        Self { lifetime, server: server.to_owned(), verified: Mutex::default() }
    }

    /// Who issues a tenant's tokens: the address that they are discovered at (RFC 8414, section 2).
    pub(crate) fn issuer(&self, tenant: &TenantName) -> String {
        format!("{}/auth/realms/{tenant}", self.server)
    }

    /// How long a token is good.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Makes a token for a client that has authenticated.
    ///
    /// # Errors
    /// When the tenant's key is broken.
    pub(crate) fn issue(
        &self,
        tenant: &Tenant,
        client: &ClientId,
        jti: u128,
        now: Timestamp,
    ) -> anyhow::Result<String> {
        let claims = Claims {
            iss: self.issuer(&tenant.name),
            sub: client.to_string(),
            client_id: client.to_string(),
            iat: now.seconds(),
            exp: now.seconds() + self.lifetime.as_secs(),
            jti: format!("{jti:032x}"),
        };
        let kid = Some(discovery::key_name(tenant)?);
        let header = Header { typ: Some(TYPE.into()), kid, ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(tenant.token_key.expose());
        jsonwebtoken::encode(&header, &claims, &key).context("signing an access token")
    }

    /// Whose token this is, if it was remembered and still holds.
    pub(crate) fn known(&self, tenant: &TenantName, token: &str, now: Timestamp) -> Option<Bearer> {
        let verified = self.verified.lock();
        let known = verified.get(&name(token)?)?;
        (known.tenant == *tenant && now.seconds() < known.expires).then(|| known.bearer.clone())
    }

    /// Verifies a token with its tenant's key. `None` for any that does not hold.
    pub(crate) fn verify(&self, tenant: &Tenant, token: &str, now: Timestamp) -> Option<Held> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.typ.as_deref() != Some(TYPE) {
            return None;
        }
        let key = KeyPair::try_from(tenant.token_key.expose().as_slice()).ok()?;
        let key = DecodingKey::from_ec_der(key.der_bytes());
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_issuer(&[self.issuer(&tenant.name)]);
        rules.set_required_spec_claims(&["iss", "sub", "exp"]);
        // Time is read in one place only, and expiry is judged below by that.
        rules.validate_exp = false;
        rules.validate_aud = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &rules).ok()?.claims;
        if now.seconds() >= claims.exp {
            return None;
        }
        Some(Held { client: claims.sub.parse().ok()?, expires: claims.exp })
    }

    /// Remembers whose token it is, until it expires. A client's name does not change, and one that was
    /// removed keeps its tokens until then.
    pub(crate) fn remember(
        &self,
        tenant: &TenantName,
        token: &str,
        held: Held,
        client_name: &str,
        now: Timestamp,
    ) {
        let Some(token) = name(token) else { return };
        let mut verified = self.verified.lock();
        if verified.len() >= TOKENS_REMEMBERED_MAX {
            verified.retain(|_, known| now.seconds() < known.expires);
            if verified.len() >= TOKENS_REMEMBERED_MAX {
                verified.clear();
            }
        }
        let bearer = Bearer { client: held.client, name: client_name.to_owned() };
        let known = Verified { tenant: tenant.clone(), bearer, expires: held.expires };
        verified.insert(token, known);
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
    use crate::authority::found_tenant;

    fn tokens() -> Tokens {
        Tokens::new(Duration::from_mins(5), "https://localhost")
    }

    fn tenant(name: &str) -> Tenant {
        found_tenant(name.parse().unwrap(), Timestamp(1_000_000)).unwrap()
    }

    #[test]
    fn a_token_holds_for_its_tenant_until_it_expires() {
        let (tokens, acme) = (tokens(), tenant("acme"));
        let client: ClientId = "shop".parse().unwrap();
        let now = Timestamp(2_000_000);
        let token = tokens.issue(&acme, &client, 1, now).unwrap();
        assert_eq!(tokens.known(&acme.name, &token, now), None);
        let held = tokens.verify(&acme, &token, now).unwrap();
        assert_eq!(held.client, client);
        tokens.remember(&acme.name, &token, held, "Shop", now);
        let bearer = Bearer { client, name: "Shop".into() };
        assert_eq!(tokens.known(&acme.name, &token, now), Some(bearer));
        let late = Timestamp(2_300_000);
        assert_eq!(tokens.known(&acme.name, &token, late), None);
        assert_eq!(tokens.verify(&acme, &token, late), None);
        let other: TenantName = "other".parse().unwrap();
        assert_eq!(tokens.known(&other, &token, now), None);
    }

    #[test]
    fn another_tenants_token_and_a_changed_one_hold_nowhere() {
        let (tokens, acme, other) = (tokens(), tenant("acme"), tenant("other"));
        let now = Timestamp(2_000_000);
        let token = tokens.issue(&acme, &"shop".parse().unwrap(), 1, now).unwrap();
        assert_eq!(tokens.verify(&other, &token, now), None);
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = rest.split_once('.').unwrap();
        let swapped = claims.replace(&claims[8..9], if &claims[8..9] == "A" { "B" } else { "A" });
        assert_eq!(tokens.verify(&acme, &format!("{header}.{swapped}.{signature}"), now), None);
        assert_eq!(tokens.verify(&acme, &format!("{rest}."), now), None);
        assert_eq!(tokens.verify(&acme, "", now), None);
    }
}
