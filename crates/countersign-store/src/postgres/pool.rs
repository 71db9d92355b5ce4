//! Connections that are lent, one caller at a time.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::address::Address;
use super::connection::Connection;
use super::health::Health;
use crate::sql::error::StoreError;

/// How long a caller waits for a connection that others use.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The connections for reads of a few rows. Their statements are sent without waiting for those of
/// others, so that few connections carry many.
const SHARED: usize = 2;

/// Connections, which are made when they are needed and kept until they end.
pub(super) struct Pool {
    address: Arc<Address>,
    health: Arc<Health>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    shared: [AsyncMutex<Option<Arc<Connection>>>; SHARED],
    next: AtomicUsize,
}

/// A connection that is lent until this is dropped.
pub(super) struct Lent {
    /// `None` only during `drop`.
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    /// The command that ends what was begun, sent when the connection is given back.
    end: Option<&'static str>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(address: Arc<Address>, health: Arc<Health>, connections_max: usize) -> Self {
        let permits = Arc::new(Semaphore::new(connections_max.max(1)));
        let (shared, next) = Default::default();
        Self { address, health, idle: Arc::default(), permits, shared, next }
    }

    /// A connection that others use at the same time.
    pub(super) async fn share(&self) -> Result<Arc<Connection>, StoreError> {
        let which = self.next.fetch_add(1, Ordering::Relaxed) % SHARED;
        let mut shared = self.shared[which].lock().await;
        if let Some(connection) = shared.as_ref().filter(|one| !one.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(self.connect().await?);
        *shared = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Lends a connection.
    pub(super) async fn lend(&self) -> Result<Lent, StoreError> {
        let waited = timeout(WAIT_MAX, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = waited else {
            return Err(StoreError::Misused("all connections to the database are in use"));
        };
        let connection = loop {
            let Some(idle) = self.idle.lock().pop() else { break self.connect().await? };
            if !idle.is_closed() {
                break idle;
            }
        };
        let idle = Arc::clone(&self.idle);
        Ok(Lent { connection: Some(connection), idle, end: None, _permit: permit })
    }

    async fn connect(&self) -> Result<Connection, tokio_postgres::Error> {
        let connected = self.address.connect(None).await;
        match &connected {
            Ok(_) => self.health.answered(),
            Err(error) => {
                self.health.failed(error);
            }
        }
        connected
    }

    /// Lends a connection for statements that read the same moment.
    pub(super) async fn lend_moment(&self) -> Result<Lent, StoreError> {
        let mut lent = self.lend().await?;
        lent.send("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        lent.end = Some("COMMIT");
        Ok(lent)
    }

    /// Lends a connection for a unit of work.
    pub(super) async fn lend_unit(&self) -> Result<Lent, StoreError> {
        let mut lent = self.lend().await?;
        lent.send("BEGIN");
        lent.end = Some("ROLLBACK");
        Ok(lent)
    }
}

impl Lent {
    /// Gives the connection back after its unit of work was committed.
    pub(super) fn committed(mut self) {
        self.end = None;
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("present until dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if let Some(end) = self.end {
            connection.send(end);
        }
        if !connection.is_closed() {
            self.idle.lock().push(connection);
        }
    }
}
