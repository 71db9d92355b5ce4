//! The hosts from which a device fetches: those on the public internet, and those that its owner
//! allows.
//!
//! The guarantee: the device connects to the addresses that were checked, so a name that resolves
//! to another address later (DNS rebinding) gains nothing, and an application cannot use the device
//! to explore the device's network.

use core::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use countersign_wire::guard::{AllowedHost, Guard};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::fetch::CannotFetch;

/// Resolves a name to its addresses.
type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The hosts from which a device fetches; by default those on the public internet only.
#[derive(Clone)]
pub struct FetchPolicy {
    allowed: Vec<AllowedHost>,
    lookup: Lookup,
}

/// Resolves the names of one fetch, and refuses addresses that its guard does not permit.
pub(super) struct GuardedResolver {
    guard: Guard,
    lookup: Lookup,
}

impl FetchPolicy {
    /// Allows these hosts besides the public internet, whatever their addresses are. Metadata
    /// services of clouds stay forbidden.
    #[must_use]
    pub fn allowing(allowed: Vec<AllowedHost>) -> Self {
        let system = |name: String| {
            async move {
                let found = tokio::net::lookup_host((name, 443)).await?;
                Ok(found.map(|address| address.ip()).collect())
            }
            .boxed()
        };
        Self { allowed, lookup: Arc::new(system) }
    }

    /// Checks `url` without a DNS lookup; the returned resolver checks the addresses.
    ///
    /// # Errors
    /// [`CannotFetch::Forbidden`].
    pub(super) fn resolver(&self, url: &Url) -> Result<GuardedResolver, CannotFetch> {
        let is_allowed = self.allowed.iter().any(|host| host.includes(url));
        let guard = if is_allowed { Guard::everywhere() } else { Guard::default() };
        guard.check_url(url)?;
        Ok(GuardedResolver { guard, lookup: Arc::clone(&self.lookup) })
    }
}

impl Default for FetchPolicy {
    fn default() -> Self {
        Self::allowing(Vec::new())
    }
}

impl fmt::Debug for FetchPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchPolicy").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

/// The interface for the HTTP client, which adds the port itself.
impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, lookup) = (self.guard.clone(), Arc::clone(&self.lookup));
        Box::pin(async move {
            let name = name.as_str();
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let addresses = match guard.localhost(&name) {
                Some(addresses) => addresses,
                None => lookup(name).await?,
            };
            guard.check(&addresses)?;
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &[&str], addresses: &'static [&'static str]) -> FetchPolicy {
        let lookup = move |_| {
            let found = addresses.iter().map(|text| text.parse().unwrap()).collect();
            core::future::ready(Ok(found)).boxed()
        };
        FetchPolicy {
            allowed: allowed.iter().map(|host| host.parse().unwrap()).collect(),
            lookup: Arc::new(lookup),
        }
    }

    async fn connected_to(policy: &FetchPolicy, url: &str) -> Option<usize> {
        let url = Url::parse(url).unwrap();
        let resolver = policy.resolver(&url).ok()?;
        let found = resolver.resolve(url.host_str()?.parse().unwrap()).await.ok()?;
        Some(found.count())
    }

    #[tokio::test]
    async fn a_name_with_a_private_address_is_not_connected_to() {
        let url = "https://rebind.example/";
        assert_eq!(connected_to(&policy(&[], &["8.8.8.8"]), url).await, Some(1));
        assert_eq!(connected_to(&policy(&[], &["10.0.0.1"]), url).await, None);
        assert_eq!(connected_to(&policy(&[], &["8.8.8.8", "127.0.0.1"]), url).await, None);
        assert_eq!(connected_to(&policy(&["other.example"], &["10.0.0.1"]), url).await, None);
        assert_eq!(connected_to(&policy(&["rebind.example:8443"], &["10.0.0.1"]), url).await, None);
        assert_eq!(connected_to(&policy(&["rebind.example"], &["10.0.0.1"]), url).await, Some(1));
        let metadata = policy(&["rebind.example"], &["169.254.169.254"]);
        assert_eq!(connected_to(&metadata, url).await, None);
    }

    #[test]
    fn a_private_address_is_refused_before_any_lookup() {
        let policy = policy(&["10.0.0.7:8443"], &[]);
        for url in
            ["https://127.0.0.1/", "https://[::1]/", "https://10.0.0.7/", "https://router.local/"]
        {
            let refused = policy.resolver(&Url::parse(url).unwrap()).err();
            assert!(matches!(refused, Some(CannotFetch::Forbidden(_))), "{url}");
        }
        assert!(policy.resolver(&Url::parse("https://10.0.0.7:8443/").unwrap()).is_ok());
    }
}
