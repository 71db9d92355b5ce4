//! Fetches the digest at a `digest_url` by the server itself, only from hosts that an operator
//! allows for the tenant, and only at addresses that the guard permits.
//!
//! The guarantee: if a host is allowed, a signature is accepted only over the digest that the host
//! gives when the signature arrives. For other hosts, the device's statement is accepted.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::engine::Submission;
use countersign_core::id::{TenantName, TransactionId};
use countersign_core::port::Handle;
use countersign_core::refusal::{DeviceError, DeviceRefusal, Fault};
use countersign_core::spec::Document;
use countersign_proof::BadProof;
use countersign_proof::raw::Hash;
use reqwest::Certificate;
use serde::Deserialize;
use url::Url;

use countersign_config::FetchHost;
use countersign_egress::fetch::{FetchLimits, fetch};
use countersign_egress::resolve::Resolver;
use countersign_node::Core;

/// A digest with its algorithm has up to 200 bytes; a device waits for the answer to its signature.
const LIMITS: FetchLimits = FetchLimits { wait: Duration::from_secs(5), bytes: 4 * 1024 };
const ASKING: &str = "asking a digest_url";

/// Fetches digests. Clones share the same state.
#[derive(Clone)]
pub struct DigestUrlVerifier(Arc<Permit>);

struct Permit {
    resolver: Resolver,
    hosts: Vec<FetchHost>,
}

/// The answer of a `digest_url`.
#[derive(Deserialize)]
struct DigestAnswer {
    digest_value: String,
    digest_algorithm: String,
}

impl DigestUrlVerifier {
    /// A verifier for these hosts, if this resolver permits their addresses.
    pub fn new(resolver: Resolver, hosts: Vec<FetchHost>) -> Self {
        Self(Arc::new(Permit { resolver, hosts }))
    }

    /// Checks that a device's raw signature is over the digest at the transaction's `digest_url`.
    /// Accepts any other signature without a check.
    ///
    /// # Errors
    /// Refuses another digest, and fails if the host does not answer; the device may try again.
    pub async fn check(
        &self,
        core: &Core,
        tenant: &TenantName,
        id: TransactionId,
        submission: &Submission<'_>,
    ) -> Result<(), DeviceError> {
        let Submission::Raw(raw) = submission else { return Ok(()) };
        if self.0.hosts.iter().all(|host| host.tenant != *tenant) {
            return Ok(());
        }
        // The engine reports a transaction that is unknown or has ended.
        let found =
            core.read().transaction(tenant, &Handle::Id(id)).await?.map(|found| found.value);
        let Some(found) = found.filter(|found| !found.state.is_ended()) else { return Ok(()) };
        let spec = &found.spec;
        let Some(document) = &spec.document else { return Ok(()) };
        let Some(url) = self.asked(tenant, document) else { return Ok(()) };
        let given = Some(spec.content.bytes.as_slice()).filter(|bytes| !bytes.is_empty());
        let Some(signed) = given.or(raw.digest) else { return Ok(()) };
        let (told, by) = self.ask(tenant, url, document).await?;
        if told != signed || by != raw.algorithm.hash() {
            return Err(DeviceRefusal::BadProof(BadProof::OtherContent).into());
        }
        Ok(())
    }

    /// The address to fetch from, if its host is allowed.
    fn asked(&self, tenant: &TenantName, document: &Document) -> Option<Url> {
        let url = Url::parse(document.digest_url.as_deref()?).ok()?;
        let (host, port) = (url.host_str()?, url.port_or_known_default()?);
        let is = |allowed: &FetchHost| {
            allowed.tenant == *tenant && allowed.host == host && allowed.port == port
        };
        self.0.hosts.iter().any(is).then_some(url)
    }

    async fn ask(
        &self,
        tenant: &TenantName,
        url: Url,
        document: &Document,
    ) -> Result<(Vec<u8>, Hash), Fault> {
        let roots = document.root_certs.iter().map(|der| Certificate::from_der(der));
        let roots = roots.collect::<Result<Vec<_>, _>>().map_err(Fault::while_doing(ASKING))?;
        let body = fetch(&self.0.resolver, tenant, url, roots, LIMITS).await;
        let body = body.map_err(Fault::while_doing(ASKING))?;
        let DigestAnswer { digest_value, digest_algorithm } =
            serde_json::from_slice(&body).map_err(Fault::while_doing(ASKING))?;
        let digest = BASE64.decode(digest_value).map_err(Fault::while_doing(ASKING))?;
        Ok((digest, digest_algorithm.parse().map_err(Fault::while_doing(ASKING))?))
    }
}
