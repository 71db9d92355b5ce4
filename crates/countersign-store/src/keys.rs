//! Private keys that are sealed in the ledger: the adapter of [`Keys`].
//!
//! A key is sealed before it is committed, and opened where it is used. Its sealed form is read
//! again for each use, so that a key that another process has replaced is not used any more.
//! Opening is what costs time: therefore opened signing keys are cached, by their sealed form.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use countersign_core::Fault;
use countersign_core::id::{ClientId, TenantName};
use countersign_core::limited_cache::LimitedCache;
use countersign_core::limits::SIGNING_KEYS_CACHED_MAX;
use countersign_core::port::{CallbackMacs, Keys, PublicKey, Signer, SigningRole, StoredKey};
use countersign_core::secret::Key32;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::Store;
use crate::seal::{Owner, SealContext};

/// The private keys of a ledger's tenants and clients. Clones share the opened keys.
#[derive(Clone)]
pub struct SealedKeys {
    store: Store,
    opened: Arc<Mutex<LimitedCache<OpenedFrom, SealedSigner>>>,
}

/// A signing key, opened. Clones share it.
#[derive(Clone)]
pub struct SealedSigner(Arc<OpenedKey>);

struct OpenedKey {
    pair: EcdsaKeyPair,
    public_key: PublicKey,
}

/// The place of a sealed key, and its sealed form: in another place it does not open.
type OpenedFrom = (TenantName, SigningRole, StoredKey);

/// The keys of a client's callbacks, as they are stored.
#[derive(Clone, Debug)]
pub(crate) struct CallbackKeys {
    pub(crate) newest: StoredKey,
    pub(crate) before: Option<StoredKey>,
}

impl SealedKeys {
    pub(crate) fn of(store: Store) -> Self {
        Self { store, opened: Arc::new(Mutex::new(LimitedCache::new(SIGNING_KEYS_CACHED_MAX))) }
    }

    /// HMAC-SHA256 with a client's sealed key.
    fn mac(
        &self,
        tenant: &TenantName,
        client: &ClientId,
        key: &StoredKey,
        message: &[u8],
    ) -> Result<[u8; 32], Fault> {
        let place = SealContext { tenant, owner: Owner::WebhookKey(client) };
        let key = self.store.master_keys().open(place, key.as_bytes()).map_err(|error| {
            let why = format!("the callback key of client {client} of tenant {tenant}: {error}");
            Fault::new("opening a callback key", why)
        })?;
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), message);
        Ok(mac.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes"))
    }
}

impl Keys for SealedKeys {
    type Signer = SealedSigner;

    async fn generate(
        &self,
        tenant: &TenantName,
        role: SigningRole,
    ) -> Result<(SealedSigner, StoredKey), Fault> {
        const DOING: &str = "generating a signing key";
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let pkcs8 = pkcs8.map_err(Fault::while_doing(DOING))?;
        let signer = SealedSigner::of(pkcs8.as_ref()).map_err(|why| Fault::new(DOING, why))?;
        let sealed = self.store.master_keys().seal(place(tenant, role), pkcs8.as_ref());
        Ok((signer, StoredKey::new(sealed)))
    }

    async fn prepare(&self, tenant: &TenantName, role: SigningRole) -> Result<SealedSigner, Fault> {
        let failed = |why: &dyn fmt::Display| {
            let why = format!("the key for {} of tenant {tenant}: {why}", role.as_str());
            Fault::new("opening a signing key", why)
        };
        let stored = self.store.signing_key(tenant, role).await?;
        let stored = stored.ok_or_else(|| failed(&"there is none"))?;
        let from = (tenant.clone(), role, stored);
        if let Some(signer) = self.opened.lock().get(&from) {
            return Ok(signer.clone());
        }
        let pkcs8 = self.store.master_keys().open(place(tenant, role), from.2.as_bytes());
        let pkcs8 = pkcs8.map_err(|error| failed(&error))?;
        let signer = SealedSigner::of(&pkcs8).map_err(|error| failed(&error))?;
        self.opened.lock().insert(from, signer.clone(), 1);
        Ok(signer)
    }

    async fn generate_callback_key(
        &self,
        tenant: &TenantName,
        client: &ClientId,
    ) -> Result<(Key32, StoredKey), Fault> {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key).map_err(Fault::while_doing("generating a callback key"))?;
        let place = SealContext { tenant, owner: Owner::WebhookKey(client) };
        let sealed = self.store.master_keys().seal(place, &*key);
        Ok((Key32::copied(&key), StoredKey::new(sealed)))
    }

    async fn callback_macs(
        &self,
        tenant: &TenantName,
        client: &ClientId,
        message: &[u8],
    ) -> Result<Option<CallbackMacs>, Fault> {
        let Some(keys) = self.store.callback_keys(tenant, client).await? else { return Ok(None) };
        let mac = |key: &StoredKey| self.mac(tenant, client, key, message);
        let before = keys.before.as_ref().map(mac).transpose()?;
        Ok(Some(CallbackMacs { newest: mac(&keys.newest)?, before }))
    }
}

impl SealedSigner {
    /// The key in this PKCS#8.
    fn of(pkcs8: &[u8]) -> Result<Self, &'static str> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8);
        let pair = pair.map_err(|_| "it is not a key on P-256")?;
        let public_key = pair.public_key().as_ref().try_into();
        let public_key = public_key.map_err(|_| "its public half is not an uncompressed point")?;
        Ok(Self(Arc::new(OpenedKey { pair, public_key })))
    }
}

impl Signer for SealedSigner {
    fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Fault> {
        let signature = self.0.pair.sign(&SystemRandom::new(), message);
        let signature = signature.map_err(Fault::while_doing("signing"))?;
        Ok(signature.as_ref().try_into().expect("a fixed signature on P-256 has 64 bytes"))
    }
}

/// The place to which a signing key is sealed.
fn place(tenant: &TenantName, role: SigningRole) -> SealContext<'_> {
    let owner = match role {
        SigningRole::Authority => Owner::AuthorityKey,
        SigningRole::Tokens => Owner::TokenKey,
    };
    SealContext { tenant, owner }
}

impl fmt::Debug for SealedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedKeys")
    }
}

impl fmt::Debug for SealedSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedSigner")
    }
}
