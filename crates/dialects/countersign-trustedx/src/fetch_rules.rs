//! The rules for addresses from which devices fetch, checked when an application starts a process.
//!
//! The guarantee: an address that is not on the public internet is refused, unless the operator
//! configured its network or its host. Names are not looked up: the device checks them, because it
//! resolves them in its own network.

use countersign_core::id::TenantName;
use countersign_core::spec::Document;
use url::Url;

use countersign_config::FetchHost;
use countersign_http::json_members::{BadBody, bad};
use countersign_wire::guard::Guard;

/// The operator's rules.
#[derive(Debug)]
pub(super) struct FetchRules {
    guard: Guard,
    hosts: Vec<FetchHost>,
}

impl FetchRules {
    /// `guard` permits networks for all tenants; each of `hosts` is permitted for one tenant.
    pub(super) fn new(guard: Guard, hosts: Vec<FetchHost>) -> Self {
        Self { guard, hosts }
    }

    /// Checks both addresses of `document`.
    ///
    /// # Errors
    /// Names the member that is refused.
    pub(super) fn check(&self, tenant: &TenantName, document: &Document) -> Result<(), BadBody> {
        for (address, field) in [
            (&document.digest_url, "input.digest_url"),
            (&document.document_url, "input.document_url"),
        ] {
            let Some(text) = address else { continue };
            let is_permitted = Url::parse(text).is_ok_and(|url| self.permits(tenant, &url));
            if !is_permitted {
                return bad(field, "on the public internet, or at a host that is configured here");
            }
        }
        Ok(())
    }

    fn permits(&self, tenant: &TenantName, url: &Url) -> bool {
        let is_at = |host: &FetchHost| {
            host.tenant == *tenant
                && url.host_str() == Some(&host.host)
                && url.port_or_known_default() == Some(host.port)
        };
        self.guard.check_url(url).is_ok()
            || (self.hosts.iter().any(is_at) && Guard::everywhere().check_url(url).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(allowed: &[&str], hosts: &[&str], url: &str) -> Option<String> {
        let guard = Guard::new(allowed.iter().map(|net| net.parse().unwrap()).collect());
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let rules = FetchRules::new(guard, hosts);
        let digest = Document { digest_url: Some(url.to_owned()), ..Document::default() };
        let document = Document { document_url: Some(url.to_owned()), ..Document::default() };
        let tenant: TenantName = "acme".parse().unwrap();
        let both = [digest, document].map(|one| rules.check(&tenant, &one).err().map(|bad| bad.0));
        let [digest, document] = both;
        assert_eq!(digest.map(|sentence| sentence.replace("digest_url", "document_url")), document);
        document
    }

    #[test]
    fn only_public_addresses_are_fetched_from_unless_the_operator_allows_others() {
        for url in ["https://docs.example/1", "https://8.8.8.8/", "https://[2606:4700::1111]/"] {
            assert_eq!(refused(&[], &[], url), None, "{url}");
        }
        for url in [
            "https://127.0.0.1/",
            "https://10.0.0.1/",
            "https://169.254.169.254/",
            "https://[fe80::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://2130706433/",
            "https://localhost:8443/",
            "https://router.local/",
            "http://docs.example/",
        ] {
            let sentence = "input.document_url must be on the public internet, or at a host that is \
                            configured here";
            assert_eq!(refused(&[], &[], url).as_deref(), Some(sentence), "{url}");
        }
        assert_eq!(refused(&["127.0.0.0/8"], &[], "https://localhost:8443/"), None);
        let hosts = ["acme=files.local:8443", "other=intranet", "acme=169.254.169.254"];
        assert_eq!(refused(&[], &hosts, "https://files.local:8443/1"), None);
        for url in ["https://files.local/1", "https://intranet/", "https://169.254.169.254/"] {
            assert!(refused(&[], &hosts, url).is_some(), "{url}");
        }
    }
}
