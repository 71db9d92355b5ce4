//! Name look-ups by the system's resolver; each one holds a thread until it ends.
//!
//! The guarantee: one tenant's slow name servers hold at most `LOOKUPS_PER_TENANT_MAX` threads,
//! and all look-ups together at most `LOOKUPS_MAX`. A look-up counts until the system has
//! answered, even if its caller gave up earlier.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use countersign_core::id::TenantName;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use countersign_node::task;

/// Concurrent look-ups of one tenant.
pub(super) const LOOKUPS_PER_TENANT_MAX: usize = 8;
/// Concurrent look-ups: fewer than the runtime's 512 threads for blocking work.
const LOOKUPS_MAX: usize = 256;
/// The number of tenants from which those without a look-up are forgotten.
const TENANTS_TIDIED_AT: usize = 1_024;

tokio::task_local! {
    /// The tenant for which look-ups are counted.
    static TENANT: TenantName;
}

/// Counts the look-ups that `work` makes for `tenant`.
pub(super) async fn on_behalf_of<F: Future>(tenant: &TenantName, work: F) -> F::Output {
    TENANT.scope(tenant.clone(), work).await
}

/// Counts the look-ups that `work` makes for the current task's tenant, in whichever task it is
/// polled. The HTTP client asks its resolver in the task that makes the call, and may await the
/// answer in another task.
pub(super) fn in_this_tasks_name<T>(
    work: impl Future<Output = T> + Send + 'static,
) -> BoxFuture<'static, T> {
    match TENANT.try_with(Clone::clone) {
        Ok(tenant) => TENANT.scope(tenant, work).boxed(),
        Err(_) => work.boxed(),
    }
}

/// A look-up; it keeps the permits as long as it holds a thread.
type Lookup =
    Arc<dyn Fn(String, Permits) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The permits that a look-up holds.
#[derive(Debug)]
struct Permits {
    _of_tenant: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// Looks names up. Clones share the limits.
#[derive(Clone)]
pub struct Names {
    lookup: Lookup,
    all: Arc<Semaphore>,
    tenants: Arc<Mutex<HashMap<Option<TenantName>, Arc<Semaphore>>>>,
}

impl Names {
    /// The system's resolver.
    pub fn of_system() -> Self {
        Self::looked_up_on_threads(|name| {
            Ok((name, 443).to_socket_addrs()?.map(|address| address.ip()).collect())
        })
    }

    /// A resolver that calls `look` on a thread, which keeps its permits until `look` returns.
    fn looked_up_on_threads(look: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Self::looked_up_by(Arc::new(move |name: String, permits| {
            async move {
                let look = move || {
                    let found = look(&name);
                    drop(permits);
                    found
                };
                task::blocking(look).await?
            }
            .boxed()
        }))
    }

    fn looked_up_by(lookup: Lookup) -> Self {
        let all = Arc::new(Semaphore::new(LOOKUPS_MAX));
        Self { lookup, all, tenants: Arc::default() }
    }

    /// A resolver that gives the answers of `answer`, for tests.
    #[cfg(test)]
    pub(super) fn answered_by<F>(answer: F) -> Self
    where
        F: Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync + 'static,
    {
        Self::looked_up_by(Arc::new(move |name, permits| {
            let answer = answer(name);
            async move {
                let answered = answer.await;
                drop(permits);
                answered
            }
            .boxed()
        }))
    }

    /// The addresses of a name. Waits for a permit; callers set their own timeout.
    ///
    /// # Errors
    /// If the name is not known, or the system does not answer.
    pub async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let own = self.of_tenant(TENANT.try_with(Clone::clone).ok());
        let closed = |_| io::Error::other("the resolver is closed");
        let of_tenant = own.acquire_owned().await.map_err(closed)?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.map_err(closed)?;
        (self.lookup)(name.to_owned(), Permits { _of_tenant: of_tenant, _of_all: of_all }).await
    }

    fn of_tenant(&self, tenant: Option<TenantName>) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock();
        if tenants.len() >= TENANTS_TIDIED_AT {
            // A permit holds its semaphore, and so does a look-up that waits for one.
            tenants.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        let semaphore = || Arc::new(Semaphore::new(LOOKUPS_PER_TENANT_MAX));
        Arc::clone(tenants.entry(tenant).or_insert_with(semaphore))
    }
}

/// For a client that calls addresses of the operator; they are not checked. The client fills in the
/// ports.
impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        in_this_tasks_name(async move {
            let addresses = names.addresses(name.as_str()).await?;
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// A resolver whose look-ups never end, and hold their threads.
    fn hanging() -> (Names, Arc<Mutex<Vec<Permits>>>) {
        let held = Arc::new(Mutex::new(Vec::new()));
        let holds = Arc::clone(&held);
        let lookup = move |name: String, permits| {
            if name.starts_with("good") {
                return std::future::ready(Ok(vec![[192, 0, 2, 1].into()])).boxed();
            }
            holds.lock().push(permits);
            pending().boxed()
        };
        (Names::looked_up_by(Arc::new(lookup)), held)
    }

    async fn ask(names: &Names, tenant: &str, name: &str) -> bool {
        let tenant = tenant.parse().unwrap();
        let asked = on_behalf_of(&tenant, names.addresses(name));
        timeout(Duration::from_secs(2), asked).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_whose_names_hang_holds_few_threads_and_no_other_tenant_waits() {
        let (names, held) = hanging();
        for nth in 0..100 {
            assert!(!ask(&names, "acme", &format!("hangs-{nth}.example")).await);
        }
        assert_eq!(held.lock().len(), LOOKUPS_PER_TENANT_MAX, "given up, and still held");
        assert!(!ask(&names, "acme", "good.example").await);
        assert!(ask(&names, "globex", "good.example").await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_comes_back_is_free_for_the_next_look_up() {
        let (names, held) = hanging();
        for nth in 0..LOOKUPS_PER_TENANT_MAX {
            assert!(!ask(&names, "acme", &format!("hangs-{nth}.example")).await);
        }
        assert!(!ask(&names, "acme", "good.example").await);
        held.lock().pop();
        assert!(ask(&names, "acme", "good.example").await);
    }

    /// The look-ups run on threads, as the system's do, and their callers have given up.
    #[tokio::test]
    #[expect(clippy::await_holding_lock, reason = "the threads that look names up wait for it")]
    async fn a_thread_counts_until_it_comes_back_although_its_caller_gave_up() {
        static HANGS: Mutex<()> = Mutex::new(());
        let look = |name: &str| {
            if !name.starts_with("good") {
                drop(HANGS.lock());
            }
            Ok(vec![[192, 0, 2, 1].into()])
        };
        let (names, hanging) = (Names::looked_up_on_threads(look), HANGS.lock());
        let ask = async |tenant: &str, name: &str, wait: Duration| {
            let tenant = tenant.parse().unwrap();
            let asked = on_behalf_of(&tenant, names.addresses(name));
            timeout(wait, asked).await.is_ok()
        };
        for _ in 0..LOOKUPS_PER_TENANT_MAX {
            assert!(!ask("acme", "hangs.example", Duration::from_millis(20)).await);
        }
        assert!(!ask("acme", "good.example", Duration::from_millis(200)).await);
        assert!(ask("globex", "good.example", Duration::from_secs(20)).await);
        drop(hanging);
        assert!(ask("acme", "good.example", Duration::from_secs(20)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn all_tenants_together_hold_no_more_threads_than_there_are_for_names() {
        let (names, held) = hanging();
        for tenant in 0..=LOOKUPS_MAX / LOOKUPS_PER_TENANT_MAX {
            for nth in 0..LOOKUPS_PER_TENANT_MAX {
                ask(&names, &format!("tenant-{tenant}"), &format!("hangs-{nth}.example")).await;
            }
        }
        assert_eq!(held.lock().len(), LOOKUPS_MAX);
    }

    #[tokio::test]
    async fn tenants_without_a_look_up_are_forgotten() {
        let (names, _) = hanging();
        for tenant in 0..3 * TENANTS_TIDIED_AT {
            assert!(ask(&names, &format!("tenant-{tenant}"), "good.example").await);
        }
        assert!(names.tenants.lock().len() <= TENANTS_TIDIED_AT);
    }
}
