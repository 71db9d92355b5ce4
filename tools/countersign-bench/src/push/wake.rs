//! Starts with a push, and starts without one.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use countersign_push_services::{Received, Services};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::crowd::Keys;
use crate::dialect::{Cycle, Dialect};
use crate::http_connection::HttpConnection;
use crate::kobil::{CALLED_BACK, Kobil};
use crate::task::Tasks;

/// A push that arrived.
pub(super) struct Arrival {
    pub(super) at: Instant,
    /// The same for a repeated push.
    pub(super) id: String,
}

/// The receivers of pushes, by the device's token. Clones share the same map.
#[derive(Clone, Default)]
pub(super) struct Arrivals(Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Arrival>>>>);

impl Arrivals {
    /// The receivers for these services, for as long as they run.
    pub(super) fn of(services: &mut Services, tasks: &Tasks) -> Self {
        let (arrivals, mut received) = (Self::default(), services.received());
        let told = arrivals.clone();
        tasks.spawn(async move {
            while let Some(push) = received.recv().await {
                told.tell(&push);
            }
        });
        arrivals
    }

    fn tell(&self, push: &Received) {
        let id = push.headers.get("apns-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let arrival = Arrival { at: push.at.into(), id: id.to_owned() };
        if let Some(waiting) = self.0.lock().get(&push.token) {
            let _ = waiting.send(arrival); // The receiver is gone if its device has failed.
        }
    }

    /// Returns a new receiver for this device's pushes.
    fn expect(&self, token: &str) -> mpsc::UnboundedReceiver<Arrival> {
        let (waiting, arriving) = mpsc::unbounded_channel();
        self.0.lock().insert(token.to_owned(), waiting);
        arriving
    }

    /// Returns a new receiver for all devices' pushes.
    pub(super) fn expect_all(&self) -> mpsc::UnboundedReceiver<Arrival> {
        let (all, arriving) = mpsc::unbounded_channel();
        self.0.lock().values_mut().for_each(|waiting| waiting.clone_from(&all));
        arriving
    }
}

/// One turn of an application: a start until its push arrived, or, for a device without a push
/// address, until its answer.
#[derive(Clone)]
pub(super) struct Started {
    pub(super) kobil: Kobil,
    pub(super) arrivals: Arrivals,
}

impl Dialect for Started {
    type Application = HttpConnection;
    /// The receiver of a device's pushes, if it has a push address.
    type Device = Option<mpsc::UnboundedReceiver<Arrival>>;

    async fn application(&self) -> anyhow::Result<HttpConnection> {
        self.kobil.application().await
    }

    async fn device(&self, keys: &Keys) -> anyhow::Result<Self::Device> {
        Ok(keys.push_token.as_ref().map(|token| self.arrivals.expect(token)))
    }

    async fn cycle(
        &self,
        line: &mut HttpConnection,
        device: &mut Self::Device,
        keys: &Keys,
        number: u64,
    ) -> anyhow::Result<Cycle> {
        let asked = async {
            self.kobil.ask(line, &keys.user, number, CALLED_BACK).await?;
            anyhow::Ok(Instant::now())
        };
        let (began, came) = match device {
            None => {
                let began = asked.await?;
                (began, began)
            }
            Some(pushes) => {
                let pushed = async { pushes.recv().await.context("the service is gone") };
                let (began, arrival) = tokio::try_join!(asked, pushed)?;
                (began, arrival.at)
            }
        };
        Ok(Cycle { completed: began, acknowledged: began, answered: came, polls: 0 })
    }

    async fn look_after(_: &mut Self::Device) -> anyhow::Result<()> {
        Ok(()) // The device has no connection.
    }

    async fn renew(&self) -> anyhow::Result<()> {
        self.kobil.renew().await
    }
}
