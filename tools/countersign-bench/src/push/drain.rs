//! What is queued to a service that was away, sent when it is back: the server does nothing else
//! meanwhile.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use countersign_core::id::{TenantName, UserName};
use countersign_core::port::Ledger as _;
use countersign_push_services::{Outage, Services};
use countersign_store::Store;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout};

use super::wake::Started;
use crate::bar::Bar;
use crate::dialect::Dialect as _;
use crate::kobil::CALLED_BACK;
use crate::process::{Server, Usage, own_cpu};

/// As Apple's service says that it is not well.
const AWAY: Outage = Outage { status: 503, reason: "ServiceUnavailable", retry_after: None };
/// Longer than the server leaves a service alone.
const WAIT_MAX: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// These starts' numbers are none of the live ones'.
const NUMBERS_FROM: u64 = 1 << 40;

/// What was measured.
pub(super) struct Drained {
    /// That came.
    pub(super) pushes: u64,
    /// Requests besides, among them those of pushes that came already.
    pub(super) repeated: u64,
    /// From the first push that came to the last one.
    pub(super) elapsed: Duration,
    /// Of the server, from when the service was back until the last debt was settled.
    pub(super) used: Usage,
    pub(super) own_cpu: Duration,
}

/// Who is asked, by whom, and where the server keeps what it owes.
pub(super) struct Backlog<'a> {
    pub(super) started: &'a Started,
    pub(super) tenant: TenantName,
    pub(super) users: Vec<UserName>,
    pub(super) data: &'a Path,
    pub(super) queued: u32,
    pub(super) concurrency: u32,
}

impl Backlog<'_> {
    /// Sends the service away, starts what it is queued, has it come back, and waits for all of it.
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
        let bar = Bar::new("being sent what is queued", self.queued.into());
        let (mut came, mut first) = (HashSet::new(), None::<Instant>);
        let mut last = Instant::now();
        while came.len() < self.queued as usize {
            let arrival = timeout(WAIT_MAX, arriving.recv()).await;
            let arrival = arrival.ok().flatten().with_context(|| {
                format!("{} of {} pushes came, and then none", came.len(), self.queued)
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

    /// Waits until nothing is queued any more.
    async fn settled(&self, store: &Store) -> anyhow::Result<()> {
        let began = Instant::now();
        while !store.deliveries(&self.tenant, false, 1).await?.is_empty() {
            ensure!(began.elapsed() < WAIT_MAX, "all pushes came, and some are still queued");
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}
