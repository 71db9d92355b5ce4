//! Measures the pushes that are queued for an unavailable service, from its return on. The server
//! has no other load.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use countersign_core::id::{TenantName, UserName};
use countersign_core::port::{Ledger as _, Page};
use countersign_push_services::{Outage, Services};
use countersign_store::Store;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout};

use super::wake::Started;
use crate::bar::Bar;
use crate::dialect::Dialect as _;
use crate::kobil::CALLED_BACK;
use crate::process::{Server, Usage, own_cpu};

/// The answer of Apple's service while it is unavailable.
const AWAY: Outage = Outage { status: 503, reason: "ServiceUnavailable", retry_after: None };
/// Longer than the server's pause before it tries the service again.
const WAIT_MAX: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The first number of these starts, which differs from the live ones' numbers.
const NUMBERS_FROM: u64 = 1 << 40;

/// The measured figures.
pub(super) struct Drained {
    /// The number of pushes that arrived.
    pub(super) pushes: u64,
    /// The number of further requests, for example of pushes that had arrived already.
    pub(super) repeated: u64,
    /// The time from the first push's arrival to the last one's.
    pub(super) elapsed: Duration,
    /// The server's use of resources from the service's return until the queue was empty.
    pub(super) used: Usage,
    pub(super) own_cpu: Duration,
}

/// The devices, the application, and the ledger with the server's queue.
pub(super) struct Backlog<'a> {
    pub(super) started: &'a Started,
    pub(super) tenant: TenantName,
    pub(super) users: Vec<UserName>,
    pub(super) data: &'a Path,
    pub(super) queued: u32,
    pub(super) concurrency: u32,
}

impl Backlog<'_> {
    /// Makes the service unavailable, starts the transactions, makes it available, and waits for
    /// all pushes.
    pub(super) async fn drain(
        &self,
        server: &Server,
        services: &Services,
    ) -> anyhow::Result<Drained> {
        services.trouble(Some(AWAY));
        let bar = Bar::new("starting", self.queued.into());
        self.start(&bar).await?;
        bar.end();
        let store = Store::sqlite(self.data, None)?;
        let mut arriving = self.started.arrivals.expect_all();
        let (before, own_before) = (server.usage().await?, own_cpu()?);
        let requests = services.requests();
        services.trouble(None);
        let bar = Bar::new("sending queued pushes", self.queued.into());
        let (mut came, mut first) = (HashSet::new(), None::<Instant>);
        let mut last = Instant::now();
        while came.len() < self.queued as usize {
            let arrival = timeout(WAIT_MAX, arriving.recv()).await;
            let arrival = arrival.ok().flatten().with_context(|| {
                format!("{} of {} pushes arrived, and then no more", came.len(), self.queued)
            })?;
            first.get_or_insert(arrival.at);
            last = arrival.at;
            if came.insert(arrival.id) {
                bar.add(1);
            }
        }
        bar.end();
        self.settled(&store).await?;
        let used = server.usage().await?.since(before);
        let own_cpu = own_cpu()?.saturating_sub(own_before);
        store.close().await?;
        let pushes = came.len() as u64;
        let repeated = (services.requests() - requests) as u64 - pushes;
        let elapsed = last - first.unwrap_or(last);
        Ok(Drained { pushes, repeated, elapsed, used, own_cpu })
    }

    async fn start(&self, bar: &Bar) -> anyhow::Result<()> {
        let share = self.queued.div_ceil(self.concurrency);
        let starts = (0..self.concurrency).map(|worker| async move {
            let mut line = self.started.application().await?;
            let end = ((worker + 1) * share).min(self.queued);
            for number in worker * share..end {
                let user = &self.users[number as usize % self.users.len()];
                let number = NUMBERS_FROM + u64::from(number);
                self.started.kobil.ask(&mut line, user, number, CALLED_BACK).await?;
                bar.add(1);
            }
            anyhow::Ok(())
        });
        stream::iter(starts).buffer_unordered(self.concurrency as usize).try_collect().await
    }

    /// Waits until the queue is empty.
    async fn settled(&self, store: &Store) -> anyhow::Result<()> {
        let began = Instant::now();
        while !store.deliveries(&self.tenant, false, Page::first(1)).await?.rows.is_empty() {
            ensure!(began.elapsed() < WAIT_MAX, "all pushes arrived, and some are still queued");
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}
