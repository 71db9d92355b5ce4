//! The contract for the domains of tenants: unique among all names and domains, and removed with
//! their tenant.

use countersign_core::id::{DomainName, TenantName};
use countersign_core::limits::DOMAINS_PER_TENANT_MAX;
use countersign_core::port::{Change, Commit, Committed, DomainFilter, Ledger as _};
use countersign_core::tenant::{TenantDomain, TenantState};
use countersign_store::Store;

use crate::on_every_store;
use crate::world::{Changes as _, populate};

fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}

fn pair(domain: &str, of: &str) -> TenantDomain {
    TenantDomain { domain: domain.parse().unwrap(), tenant: tenant(of) }
}

async fn write(store: &Store, change: Change) -> Committed {
    store.commit(Commit { change, events: Vec::new() }).await.unwrap()
}

async fn add(store: &Store, domain: &str, of: &str) -> Committed {
    write(store, Change::AddDomain(pair(domain, of))).await
}

async fn owner(store: &Store, domain: &str) -> Option<String> {
    let domain: DomainName = domain.parse().unwrap();
    let found = store.domains(DomainFilter::Domain(&domain)).await.unwrap();
    assert!(found.len() <= 1);
    found.first().map(|found| found.tenant.to_string())
}

#[tokio::test]
async fn a_domain_belongs_to_one_tenant_and_is_no_tenants_name() {
    on_every_store(async |store| {
        populate(&store).await;
        assert_eq!(add(&store, "mydomain.com", "acme").await, Committed::Written);
        assert_eq!(add(&store, "master", "acme").await, Committed::Written);
        for (taken, of) in [("mydomain.com", "beta"), ("mydomain.com", "acme"), ("beta", "acme")] {
            assert_eq!(add(&store, taken, of).await, Committed::Exists, "{taken} of {of}");
        }
        assert_eq!(owner(&store, "mydomain.com").await.as_deref(), Some("acme"));
        assert_eq!(owner(&store, "other.com").await, None);
        let acme = tenant("acme");
        let listed = store.domains(DomainFilter::Tenant(&acme)).await.unwrap();
        assert_eq!(listed, [pair("master", "acme"), pair("mydomain.com", "acme")]);
        let others = Change::RemoveDomain(pair("mydomain.com", "beta"));
        assert_eq!(write(&store, others).await, Committed::Stale);
        let own = || Change::RemoveDomain(pair("mydomain.com", "acme"));
        assert_eq!(write(&store, own()).await, Committed::Written);
        assert_eq!(write(&store, own()).await, Committed::Stale);
        assert_eq!(add(&store, "mydomain.com", "beta").await, Committed::Written);
        assert_eq!(owner(&store, "mydomain.com").await.as_deref(), Some("beta"));
    })
    .await;
}

#[tokio::test]
async fn a_tenant_has_a_bounded_number_of_domains_which_go_with_it() {
    on_every_store(async |store| {
        populate(&store).await;
        for nth in 0..DOMAINS_PER_TENANT_MAX {
            let added = add(&store, &format!("d{nth}.example"), "acme").await;
            assert_eq!(added, Committed::Written);
        }
        assert_eq!(add(&store, "more.example", "acme").await, Committed::TooMany);
        let (expected, state) = (TenantState::Active, TenantState::Locked);
        let lock = Change::SetTenantState { tenant: tenant("acme"), expected, state };
        assert_eq!(store.change(&tenant("acme"), lock).await.unwrap(), Committed::Written);
        let delete = Change::DeleteTenant { tenant: tenant("acme"), with_evidence: false };
        assert_eq!(write(&store, delete).await, Committed::Written);
        assert_eq!(owner(&store, "d0.example").await, None);
        assert_eq!(add(&store, "d0.example", "beta").await, Committed::Written);
    })
    .await;
}
