//! Resolves names and checks the addresses: the checked address is the one that is connected to.
//!
//! The HTTP client uses only this resolver. If a name has another address the next time (DNS
//! rebinding), the very answer that is used is checked again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use countersign_core::id::TenantName;
use countersign_core::limited_cache::LimitedCache;
use countersign_core::time::Timestamp;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::guard::{Forbidden, Guard, Target};
use super::names::{self, Names};

/// The longest that a start of a transaction waits for a look-up.
const CHECK_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long the check of a name is remembered for starts of transactions.
const CHECK_REMEMBERED: Duration = Duration::from_mins(1);
/// The number of names that are remembered.
const CHECKS_MAX: usize = 4_096;

/// The result for each name, and its time.
type Checks = LimitedCache<String, (Timestamp, Result<(), Forbidden>)>;

/// The resolver. Clones share the remembered checks.
#[derive(Clone)]
pub struct Resolver {
    guard: Guard,
    names: Names,
    checks: Arc<Mutex<Checks>>,
}

impl Resolver {
    /// A resolver that checks the addresses that `names` finds.
    pub fn new(guard: Guard, names: Names) -> Self {
        Self { guard, names, checks: Arc::new(Mutex::new(LimitedCache::new(CHECKS_MAX))) }
    }

    /// Checks a callback address when a client gives it, by the addresses that its host's name has
    /// now. An unknown name is accepted, because the delivery checks it again. The look-up counts
    /// for `tenant`.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub async fn check(
        &self,
        tenant: &TenantName,
        url: &Url,
        now: Timestamp,
    ) -> Result<(), Forbidden> {
        let Target::Name(name) = self.guard.check_url(url)? else { return Ok(()) };
        if let Some((until, known)) = self.checks.lock().get(&name)
            && now < *until
        {
            return *known;
        }
        let looking = names::on_behalf_of(tenant, self.addresses(&name));
        let looked = tokio::time::timeout(CHECK_WAIT_MAX, looking).await;
        let judged = match looked {
            Ok(Ok(addresses)) => self.guard.check(&addresses),
            Ok(Err(_)) | Err(_) => Ok(()),
        };
        self.checks.lock().insert(name, (now + CHECK_REMEMBERED, judged), 1);
        judged
    }

    /// Checks the URL of a call that is about to be made. If the host is a name, its addresses are
    /// checked when it is resolved.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn check_url(&self, url: &Url) -> Result<(), Forbidden> {
        self.guard.check_url(url).map(drop)
    }

    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        match self.guard.localhost(name) {
            Some(addresses) => Ok(addresses),
            None => self.names.addresses(name).await,
        }
    }
}

/// The HTTP client's interface. The client fills in the ports.
impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        names::in_this_tasks_name(async move {
            let name = name.as_str();
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let addresses = resolver.addresses(&name).await?;
            resolver.guard.check(&addresses)?;
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    /// A resolver that gets these answers one after the other, and the last one from then on.
    fn world(
        allowed: &[&str],
        answers: &'static [&'static [&'static str]],
    ) -> (Resolver, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let lookup = move |_| {
            let at = count.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            let found = match answers[at] {
                [] => Err(io::Error::other("no such name")),
                found => Ok(found.iter().map(|text| text.parse().unwrap()).collect()),
            };
            std::future::ready(found).boxed()
        };
        let guard = Guard::new(allowed.iter().map(|net| net.parse().unwrap()).collect());
        (Resolver::new(guard, Names::answered_by(lookup)), asked)
    }

    fn acme() -> TenantName {
        "acme".parse().unwrap()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    async fn connected_to(resolver: &Resolver, name: &str) -> Option<Vec<String>> {
        let found = resolver.resolve(name.parse().unwrap()).await.ok()?;
        Some(found.map(|address| address.ip().to_string()).collect())
    }

    #[tokio::test]
    async fn a_name_that_turns_to_the_loopback_later_is_not_connected_to() {
        let (resolver, _) = world(&[], &[&["8.8.8.8"], &["127.0.0.1"], &["8.8.8.8", "10.0.0.1"]]);
        let shop = url("https://rebind.example/");
        assert_eq!(resolver.check(&acme(), &shop, Timestamp(0)).await, Ok(()));
        assert_eq!(connected_to(&resolver, "rebind.example").await, None);
        assert_eq!(connected_to(&resolver, "rebind.example.").await, None, "one of two");
    }

    #[tokio::test]
    async fn a_name_is_refused_at_the_start_by_what_it_means_now() {
        let (resolver, asked) = world(&[], &[&["10.0.0.1"], &["8.8.8.8"]]);
        let shop = url("https://shop.example/");
        let refused = Err(Forbidden::NotPublic);
        assert_eq!(resolver.check(&acme(), &shop, Timestamp(0)).await, refused);
        assert_eq!(resolver.check(&acme(), &shop, Timestamp(59_999)).await, refused, "remembered");
        assert_eq!(resolver.check(&acme(), &shop, Timestamp(60_000)).await, Ok(()));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert_eq!(resolver.check(&acme(), &url("https://127.1/"), Timestamp(0)).await, refused);
        assert_eq!(asked.load(Ordering::Relaxed), 2, "an address needs no look-up");
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_now_is_left_to_the_delivery() {
        let (resolver, _) = world(&[], &[&[]]);
        assert_eq!(
            resolver.check(&acme(), &url("https://later.example/"), Timestamp(0)).await,
            Ok(())
        );
        assert_eq!(connected_to(&resolver, "later.example").await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_server_that_hangs_holds_a_caller_for_two_seconds() {
        let hanging = Names::answered_by(|_| std::future::pending().boxed());
        let resolver = Resolver::new(Guard::default(), hanging);
        let begun = tokio::time::Instant::now();
        assert_eq!(
            resolver.check(&acme(), &url("https://slow.example/"), Timestamp(0)).await,
            Ok(())
        );
        assert_eq!(begun.elapsed(), CHECK_WAIT_MAX);
    }

    #[tokio::test]
    async fn localhost_is_not_looked_up() {
        let (resolver, asked) = world(&["127.0.0.0/8"], &[&["8.8.8.8"]]);
        assert_eq!(
            resolver.check(&acme(), &url("https://localhost:8443/"), Timestamp(0)).await,
            Ok(())
        );
        assert_eq!(connected_to(&resolver, "localhost").await, Some(vec!["127.0.0.1".into()]));
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        let (elsewhere, _) = world(&["10.0.0.0/8"], &[&["8.8.8.8"]]);
        assert!(elsewhere.check(&acme(), &url("https://localhost/"), Timestamp(0)).await.is_err());
        assert_eq!(connected_to(&elsewhere, "a.localhost").await, None);
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let (resolver, _) = world(&[], &[&["8.8.8.8"]]);
        for nth in 0..=CHECKS_MAX {
            let name = url(&format!("https://n{nth}.example/"));
            resolver.check(&acme(), &name, Timestamp(0)).await.unwrap();
        }
        assert_eq!(resolver.checks.lock().len(), CHECKS_MAX);
        let known = |name: &str| resolver.checks.lock().get(&name.to_owned()).is_some();
        let latest = format!("n{CHECKS_MAX}.example");
        assert_eq!((known(&latest), known("n0.example")), (true, false), "the oldest is gone");
    }

    /// A name server of acme's hangs, and globex's answers.
    fn hanging_for_acme() -> Resolver {
        let lookup = |name: String| {
            if name.starts_with("hangs") {
                return std::future::pending().boxed();
            }
            std::future::ready(Ok(vec![[10, 0, 0, 1].into()])).boxed()
        };
        Resolver::new(Guard::default(), Names::answered_by(lookup))
    }

    /// More look-ups than one tenant may have at once.
    const MANY: usize = names::LOOKUPS_PER_TENANT_MAX + 1;

    #[tokio::test(start_paused = true)]
    async fn a_check_is_counted_for_its_tenant() {
        let (resolver, globex) = (hanging_for_acme(), "globex".parse().unwrap());
        let acme = acme();
        let hanging = (0..MANY).map(|nth| format!("https://hangs-{nth}.example/"));
        let hanging = hanging.map(|url| {
            let (resolver, acme) = (resolver.clone(), acme.clone());
            tokio::spawn(
                async move { resolver.check(&acme, &url.parse().unwrap(), Timestamp(0)).await },
            )
        });
        let hanging: Vec<_> = hanging.collect();
        tokio::task::yield_now().await;
        let private = "https://private.example/".parse().unwrap();
        let judged = resolver.check(&globex, &private, Timestamp(0)).await;
        assert!(judged.is_err(), "it was not looked up in time");
        drop(hanging);
    }

    /// The HTTP client awaits the answer in a task of its own.
    #[tokio::test(start_paused = true)]
    #[expect(clippy::async_yields_async, reason = "another task awaits the answer")]
    async fn a_look_up_is_counted_for_the_tenant_of_the_task_that_asked() {
        let (resolver, globex) = (hanging_for_acme(), "globex".parse().unwrap());
        let ask = async |tenant: &TenantName, name: &str| {
            let asked = async { resolver.resolve(name.parse().unwrap()) };
            tokio::spawn(names::on_behalf_of(tenant, asked).await)
        };
        for nth in 0..MANY {
            ask(&acme(), &format!("hangs-{nth}.example")).await;
        }
        tokio::task::yield_now().await;
        let answered = ask(&globex, "private.example").await;
        let answered = tokio::time::timeout(CHECK_WAIT_MAX, answered).await;
        assert!(answered.expect("it waits for acme's").unwrap().is_err(), "its address is private");
    }
}
