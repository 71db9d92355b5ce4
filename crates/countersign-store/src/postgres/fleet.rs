//! What a node does beside the ledger when it shares the database with others: it renews its lease,
//! notes where its devices are connected, and sends and receives short messages.
//!
//! Messages go by `LISTEN` and `NOTIFY`, in commits of their own and never in those of the ledger:
//! a commit with a `NOTIFY` waits for all others that have one.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::Fault;
use tokio::sync::mpsc;

use super::address::Address;
use super::connection::Connection;
use super::presence::{self, NOW, UserPresence};
use crate::sql::Sql as _;
use crate::sql::error::StoreError;
use crate::sql::value::values;

/// The lease of a node. It renews it more often.
const LEASE: Duration = Duration::from_secs(6);

/// How long the row of a node that has ended is kept, so that its devices can come back.
const KEPT: Duration = Duration::from_mins(10);

/// Messages that wait to be read. A node that has more connects again, and asks the ledger.
const MESSAGES_MAX: usize = 1_024;

/// The longest message, in bytes. PostgreSQL allows fewer than 8,000.
pub const MESSAGE_MAX: usize = 7_900;

/// Makes the connections of a node of a fleet.
#[derive(Clone)]
pub struct Fleet {
    pub(super) address: Arc<Address>,
}

/// A node of a fleet, as long as its connection holds.
pub struct FleetNode {
    connection: Connection,
    number: i64,
    channel: String,
}

/// The messages of a fleet, as long as their connection holds.
pub struct FleetMessages {
    messages: mpsc::Receiver<String>,
    /// Held, because its end ends the connection.
    _connection: Connection,
}

impl core::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Fleet")
    }
}

impl Fleet {
    /// Joins the fleet, again under its `number` if the node had one.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn join(&self, number: Option<u32>) -> Result<FleetNode, Fault> {
        let join = async {
            let connection = self.address.connect(None).await?;
            // Where devices are is a hint: its commits need not wait for the disk.
            connection.client().batch_execute("SET synchronous_commit TO off").await?;
            let lease = number_of(LEASE);
            let number = if let Some(number) = number {
                i64::from(number)
            } else {
                let insert =
                    format!("INSERT INTO nodes (until) VALUES ({NOW} + ?1) RETURNING number");
                connection.value(&insert, values![lease]).await?
            };
            let channel = self.channel();
            let node = FleetNode { connection, number, channel };
            node.renew().await?;
            Ok(node)
        };
        join.await.map_err(|error: StoreError| error.while_doing("joining the fleet"))
    }

    /// Begins to receive the messages of the fleet.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn listen(&self) -> Result<FleetMessages, Fault> {
        let (told, messages) = mpsc::channel(MESSAGES_MAX);
        let listen = async {
            let connection = self.address.connect(Some(told)).await?;
            let listen = format!("LISTEN \"{}\"", self.channel());
            connection.client().batch_execute(&listen).await?;
            Ok(FleetMessages { messages, _connection: connection })
        };
        listen.await.map_err(|error: StoreError| error.while_doing("listening to the fleet"))
    }

    /// The channel of the fleet. Each schema of a database has its own.
    fn channel(&self) -> String {
        format!("countersign.{}", self.address.schema)
    }
}

impl FleetNode {
    /// The number of the node.
    pub fn number(&self) -> u32 {
        u32::try_from(self.number).unwrap_or(u32::MAX)
    }

    /// Renews the node's lease, and removes nodes that ended long ago.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn beat(&self) -> Result<(), Fault> {
        let beat = async {
            self.renew().await?;
            let ended = format!("DELETE FROM nodes WHERE until < {NOW} - ?1");
            if self.connection.execute(&ended, values![number_of(KEPT)]).await? > 0 {
                let forget = "DELETE FROM presence
                    WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE number = presence.node)";
                self.connection.execute(forget, &[]).await?;
            }
            Ok(())
        };
        beat.await.map_err(|error: StoreError| error.while_doing("renewing the lease of this node"))
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let renew = format!(
            "INSERT INTO nodes (number, until) VALUES (?1, {NOW} + ?2)
             ON CONFLICT (number) DO UPDATE SET until = excluded.until"
        );
        self.connection.execute(&renew, values![self.number, number_of(LEASE)]).await?;
        Ok(())
    }

    /// Notes where the devices of these users are.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn note(&self, users: &[UserPresence]) -> Result<(), Fault> {
        let noted = presence::write(&self.connection, self.number, users).await;
        noted.map_err(|error| error.while_doing("noting where devices are"))
    }

    /// Sends a message of at most [`MESSAGE_MAX`] bytes to all nodes, this one included.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn send(&self, message: &str) -> Result<(), Fault> {
        let send = "SELECT 1 FROM pg_notify(?1, ?2)";
        let sent = self.connection.query(send, values![self.channel, message]).await;
        sent.map(drop).map_err(|error| error.while_doing("sending to the fleet"))
    }

    /// Gives the lease back, so that no device counts as connected here.
    pub async fn leave(self) {
        let leave = "UPDATE nodes SET until = 0 WHERE number = ?1";
        // If the database is away, the lease ends by itself.
        let _ = self.connection.execute(leave, values![self.number]).await;
    }
}

impl FleetMessages {
    /// The next message; `None` if the connection has ended.
    pub async fn next(&mut self) -> Option<String> {
        self.messages.recv().await
    }
}

fn number_of(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
