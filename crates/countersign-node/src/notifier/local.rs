//! The notifier of one node: the devices that are connected to it, and the callers that wait here.
//!
//! A lost notification costs only delay. Each connection has a bounded queue. If it is full, the
//! connection is closed, and its device resumes from the ledger.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_core::device::Device;
use countersign_core::event::{FrequentEvent, NewEvent};
use countersign_core::id::{ClientId, DeviceId, TenantName, TransactionId, UserName};
use countersign_core::port::{Notification, Notifier};
use countersign_core::spec::Recipients;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Decline, End, Transaction};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::history::{self, RefusedCalls};

use super::by_user::{Connected, ConnectionsByUser, UserKey};
use super::expected::ExpectedPolls;
use super::outbox::FleetOutbox;
use super::queue::{QueueReceiver, queue};
use super::waiters::{TooMany, Waiters};

/// The number of devices whose last connection a node remembers; the oldest are forgotten.
const SEEN_MAX: usize = 131_072;

/// Connected devices and waiting callers. Clones share the same state.
#[derive(Clone, Debug)]
pub struct LocalNotifier(Arc<Connections>);

#[derive(Debug, Default)]
struct Connections {
    by_user: Mutex<ConnectionsByUser>,
    expected: Mutex<ExpectedPolls>,
    waiters: Mutex<Waiters<TransactionId, Client, Awaiting>>,
    /// Callers of one client that may wait at once.
    waiting_per_client_max: usize,
    seen: Mutex<Presence>,
    refused: RefusedCalls,
    /// Notified when a delivery is queued.
    delivery_queued: Notify,
    numbers: AtomicU64,
    /// The news for the other nodes of a fleet; `None` if there are no others.
    fleet: Option<FleetOutbox>,
}

type Client = (TenantName, ClientId);

/// A waiting caller: its tenant, and where it is answered.
#[derive(Debug)]
struct Awaiting {
    tenant: TenantName,
    ended: oneshot::Sender<Arc<Transaction>>,
}

/// When devices last connected, in two generations: the older one is dropped when the newer one is
/// full.
#[derive(Debug, Default)]
struct Presence {
    new: HashMap<(TenantName, DeviceId), Timestamp>,
    old: HashMap<(TenantName, DeviceId), Timestamp>,
}

/// The kind of a device's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionKind {
    /// A channel, of which each device has one.
    Channel,
    /// A poll, for as long as it waits.
    Poll,
}

/// A notification to a connection.
#[derive(Clone, Debug)]
pub enum ConnectionEvent {
    /// There is a transaction for the device.
    Offer(Arc<Transaction>),
    /// A transaction has ended.
    Ended(Arc<Transaction>),
    /// Another device of the user was enrolled. Channels alone are told; a device that polls asks
    /// for the list of devices.
    DeviceAdded(Arc<Device>),
    /// The device opened another channel, or one poll too many.
    Replaced,
    /// The tenant, the user or the device was locked, logged out or deleted.
    Locked,
    /// The server is stopping.
    Stopping,
}

impl ConnectionEvent {
    /// Whether a connection that reads `other` too learns nothing from this event.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Offer(one), Self::Offer(other)) | (Self::Ended(one), Self::Ended(other)) => {
                one.spec.id == other.spec.id
            }
            (Self::DeviceAdded(one), Self::DeviceAdded(other)) => one.id == other.id,
            (Self::Replaced, Self::Replaced)
            | (Self::Locked, Self::Locked)
            | (Self::Stopping, Self::Stopping) => true,
            _ => false,
        }
    }
}

/// A device's connection; registered until it is dropped.
#[derive(Debug)]
pub struct Connection {
    connections: Arc<Connections>,
    user: UserKey,
    device: DeviceId,
    number: u64,
    notes: QueueReceiver,
}

/// A waiting caller; registered until it is dropped.
#[derive(Debug)]
pub struct EndWaiter {
    connections: Arc<Connections>,
    client: Client,
    id: TransactionId,
    number: u64,
    ended: oneshot::Receiver<Arc<Transaction>>,
}

impl LocalNotifier {
    /// A notifier in which one client may have `waiting_per_client_max` waiting callers.
    pub fn new(waiting_per_client_max: usize) -> Self {
        Self(Arc::new(Connections { waiting_per_client_max, ..Connections::default() }))
    }

    /// A notifier of a node in a fleet.
    pub fn in_fleet(waiting_per_client_max: usize) -> Self {
        let fleet = Some(FleetOutbox::default());
        Self(Arc::new(Connections { waiting_per_client_max, fleet, ..Connections::default() }))
    }

    /// The number of this node: 1 if it is alone.
    pub fn node(&self) -> u32 {
        self.0.fleet.as_ref().map_or(1, FleetOutbox::node)
    }

    /// The news for the other nodes, if there are others.
    pub(super) fn outbox(&self) -> Option<&FleetOutbox> {
        self.0.fleet.as_ref()
    }

    /// Connects a device, at `now`. Its new channel replaces its old one. A connection beyond
    /// [`LINES_PER_DEVICE_MAX`](countersign_core::limits::LINES_PER_DEVICE_MAX) replaces the
    /// device's oldest poll.
    pub fn connect(
        &self,
        tenant: &TenantName,
        user: &UserName,
        device: DeviceId,
        kind: ConnectionKind,
        now: Timestamp,
    ) -> Connection {
        self.0.seen.lock().see((tenant.clone(), device), now);
        let (sender, notes) = queue();
        let (user, number) = ((tenant.clone(), user.clone()), self.number());
        let line = Connected { number, device, kind, notes: sender };
        self.0.by_user.lock().join(user.clone(), line);
        self.0.note_presence(&user);
        Connection { connections: Arc::clone(&self.0), user, device, number, notes }
    }

    /// Tells all connections that the server is stopping, and each that is opened from now on. So
    /// an idle connection waits for the notifier alone.
    pub fn stop(&self) {
        self.0.by_user.lock().stop();
    }

    /// When a device last connected to this node, if the node remembers it.
    pub fn last_seen(&self, tenant: &TenantName, device: DeviceId) -> Option<Timestamp> {
        let seen = self.0.seen.lock();
        let device = (tenant.clone(), device);
        seen.new.get(&device).or_else(|| seen.old.get(&device)).copied()
    }

    /// Waits for the end of a transaction, on behalf of a client. Call this before the transaction
    /// is loaded, so that no end is missed in between.
    ///
    /// # Errors
    /// [`TooMany`] if the client already has as many waiting callers as it may.
    pub fn wait(
        &self,
        tenant: &TenantName,
        client: &ClientId,
        id: TransactionId,
    ) -> Result<EndWaiter, TooMany> {
        let (sender, ended) = oneshot::channel();
        let (client, number) = ((tenant.clone(), client.clone()), self.number());
        let max = self.0.waiting_per_client_max;
        let awaiting = Awaiting { tenant: tenant.clone(), ended: sender };
        self.0.waiters.lock().join(client.clone(), id, number, awaiting, max)?;
        Ok(EndWaiter { connections: Arc::clone(&self.0), client, id, number, ended })
    }

    /// Waits until a delivery is queued, since the last call of this function.
    pub async fn delivery_queued(&self) {
        self.0.delivery_queued.notified().await;
    }

    /// The numbers of connected devices and of waiting callers.
    pub fn counts(&self) -> (usize, usize) {
        (self.0.by_user.lock().count(), self.0.waiters.lock().count())
    }

    /// The devices of a user that are online here, when each connected, and when the next poll of
    /// one that is not connected is overdue.
    pub(super) fn present(
        &self,
        user: &UserKey,
        now: Timestamp,
    ) -> Vec<(DeviceId, Timestamp, Option<Timestamp>)> {
        let mut devices: Vec<_> = self.0.by_user.lock().devices(user);
        devices.sort_unstable();
        devices.dedup();
        let mut present: Vec<_> = devices.into_iter().map(|device| (device, None)).collect();
        for (device, overdue) in self.0.expected.lock().of(user, now) {
            if present.iter().all(|(other, _)| *other != device) {
                present.push((device, Some(overdue)));
            }
        }
        let since = |device| self.last_seen(&user.0, device).unwrap_or(now);
        present.into_iter().map(|(device, overdue)| (device, since(device), overdue)).collect()
    }

    /// The users who have a device connected or expected here.
    pub(super) fn users(&self) -> Vec<UserKey> {
        let mut users = self.0.by_user.lock().users();
        users.extend(self.0.expected.lock().users());
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Whether a device of the user is connected here.
    pub(super) fn has_user(&self, user: &UserKey) -> bool {
        self.0.by_user.lock().covers(user, &Recipients::Any)
    }

    /// Whether a caller waits here for the transaction.
    pub(super) fn is_awaited(&self, id: TransactionId) -> bool {
        self.0.waiters.lock().has(id)
    }

    /// The transactions whose end is awaited here, each with its tenant.
    pub(super) fn awaited(&self) -> Vec<(TenantName, TransactionId)> {
        self.0.waiters.lock().all().map(|(id, one)| (one.tenant.clone(), id)).collect()
    }

    fn number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Notifies the recipients' connections. A connection whose queue is full is closed, by
    /// dropping its sender.
    fn tell(&self, transaction: &Transaction, notes: &[ConnectionEvent]) {
        let spec = &transaction.spec;
        let user = (spec.tenant.clone(), spec.user.clone());
        self.0.by_user.lock().keep(&user, |line| {
            !spec.recipients.includes(line.device)
                || notes.iter().all(|note| line.notes.send(note.clone()).is_ok())
        });
    }
}

impl Presence {
    fn see(&mut self, device: (TenantName, DeviceId), now: Timestamp) {
        if self.new.len() >= SEEN_MAX / 2 {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(device, now);
    }
}

impl LocalNotifier {
    /// Has a refused call recorded as an event, unless its tenant has too many.
    pub fn note_refused(&self, event: NewEvent) {
        self.0.refused.note(event);
    }

    /// The refused calls that are to be recorded; `None` if another task has them.
    pub(crate) fn refused_calls(&self) -> Option<mpsc::Receiver<NewEvent>> {
        self.0.refused.take()
    }
}

impl Connections {
    /// Notes that the user's devices here are not the same any more.
    fn note_presence(&self, user: &UserKey) {
        if let Some(fleet) = &self.fleet {
            fleet.note_presence(user.clone());
        }
    }
}

impl Notifier for LocalNotifier {
    fn notify(&self, notification: Notification) {
        if let Some(fleet) = &self.0.fleet {
            fleet.announce(&notification);
        }
        self.notify_here(notification);
    }

    fn recorded(&self, frequent: FrequentEvent, others: &[NewEvent]) {
        history::recorded(frequent, others);
    }

    fn connected(&self, tenant: &TenantName, user: &UserName, recipients: &Recipients) -> bool {
        self.0.by_user.lock().covers(&(tenant.clone(), user.clone()), recipients)
    }

    fn online(
        &self,
        tenant: &TenantName,
        user: &UserName,
        recipients: &Recipients,
        now: Timestamp,
    ) -> bool {
        self.connected(tenant, user, recipients)
            || self.0.expected.lock().covers(&(tenant.clone(), user.clone()), recipients, now)
    }
}

impl LocalNotifier {
    /// Notifies the devices and callers of this node.
    pub(super) fn notify_here(&self, notification: Notification) {
        match notification {
            Notification::Offer(transaction) => {
                self.tell(&transaction, &[ConnectionEvent::Offer(Arc::clone(&transaction))]);
            }
            Notification::Ended(transaction) => {
                let ended = ConnectionEvent::Ended(Arc::clone(&transaction));
                match transaction.end() {
                    Some(End::Locked { .. } | End::Declined { reason: Decline::NotMe, .. }) => {
                        self.tell(&transaction, &[ended, ConnectionEvent::Locked]);
                    }
                    _ => self.tell(&transaction, &[ended]),
                }
                let waiting = self.0.waiters.lock().wake(transaction.spec.id);
                for Awaiting { ended, .. } in waiting {
                    // A caller that hung up is not notified; the ledger has the end.
                    let _ = ended.send(Arc::clone(&transaction));
                }
            }
            Notification::NewDelivery => self.0.delivery_queued.notify_one(),
            Notification::DeviceAdded(device) => {
                let user = (device.tenant.clone(), device.user.clone());
                self.0.by_user.lock().keep(&user, |line| {
                    let is_told = line.device != device.id && line.kind == ConnectionKind::Channel;
                    let event = || ConnectionEvent::DeviceAdded(Arc::clone(&device));
                    !is_told || line.notes.send(event()).is_ok()
                });
            }
            Notification::Disconnect { tenant, user, recipients } => {
                // Removed at once: from here on the device is not online.
                let user = (tenant, user);
                self.0.by_user.lock().keep(&user, |line| {
                    let hung_up = recipients.includes(line.device);
                    if hung_up {
                        // If the queue is full, removing it closes the connection anyway.
                        let _ = line.notes.send(ConnectionEvent::Locked);
                    }
                    !hung_up
                });
                // Only now, so that no poll that was connected is expected again.
                self.0.expected.lock().forget(&user, &recipients);
                self.0.note_presence(&user);
            }
            Notification::DisconnectTenant(tenant) => {
                let users = if self.0.fleet.is_some() { self.users() } else { Vec::new() };
                for line in self.0.by_user.lock().remove_tenant(&tenant) {
                    let _ = line.notes.send(ConnectionEvent::Locked);
                }
                // Only now, as above.
                self.0.expected.lock().forget_tenant(&tenant);
                for user in users.iter().filter(|user| user.0 == tenant) {
                    self.0.note_presence(user);
                }
            }
        }
    }
}

impl Connection {
    /// The next notification. `None` if the connection was closed because its queue was full.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        self.notes.next().await
    }

    /// Ends a long poll that is answered at `now`. The device stays online until its next poll is
    /// overdue, unless it was disconnected meanwhile.
    pub fn answered(self, now: Timestamp) {
        // Held until the next poll is expected, so that no disconnection comes in between.
        let by_user = self.connections.by_user.lock();
        if by_user.has(&self.user, self.number) {
            self.connections.expected.lock().expect(self.user.clone(), self.device, now);
        }
        drop(by_user);
        // Dropping the connection notes where the device is.
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.by_user.lock().leave(&self.user, self.number);
        self.connections.note_presence(&self.user);
    }
}

impl EndWaiter {
    /// The transaction that is awaited.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// Waits for another transaction's end instead.
    ///
    /// # Errors
    /// [`TooMany`] if another caller of the client took the place in between.
    pub fn turn_to(self, id: TransactionId) -> Result<Self, TooMany> {
        let connections = LocalNotifier(Arc::clone(&self.connections));
        let (tenant, client) = self.client.clone();
        drop(self);
        connections.wait(&tenant, &client, id)
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> Arc<Transaction> {
        (&mut self.ended).await.expect("a waiter is removed only when it is dropped or woken")
    }
}

impl Drop for EndWaiter {
    fn drop(&mut self) {
        self.connections.waiters.lock().leave(&self.client, self.id, self.number);
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::limits::POLL_GAP_MAX;
    use futures_util::FutureExt as _;

    use super::*;

    fn connect(connections: &LocalNotifier, user: &str, device: u64, at: u64) -> Connection {
        let device = DeviceId::try_from(device).unwrap();
        let (tenant, user) = ("acme".parse().unwrap(), user.parse().unwrap());
        connections.connect(&tenant, &user, device, ConnectionKind::Channel, Timestamp(at))
    }

    fn disconnect(connections: &LocalNotifier, user: &str, recipients: Recipients) {
        let (tenant, user) = ("acme".parse().unwrap(), user.parse().unwrap());
        connections.notify(Notification::Disconnect { tenant, user, recipients });
    }

    #[tokio::test]
    async fn who_is_hung_up_on_is_offline_at_once_and_hears_why() {
        let connections = LocalNotifier::new(2);
        let (mut one, mut two) =
            (connect(&connections, "jane", 1, 5), connect(&connections, "jane", 2, 5));
        let joes = connect(&connections, "joe", 3, 5);
        let first = Recipients::Device(DeviceId::try_from(1).unwrap());
        let online = |user: &str, recipients: &Recipients| {
            let (tenant, user) = ("acme".parse().unwrap(), user.parse().unwrap());
            connections.online(&tenant, &user, recipients, Timestamp(5))
        };
        disconnect(&connections, "jane", first.clone());
        assert!(!online("jane", &first) && online("jane", &Recipients::Any));
        assert!(matches!(one.next().await, Some(ConnectionEvent::Locked)));
        assert!(one.next().await.is_none(), "nothing comes after that");
        disconnect(&connections, "jane", Recipients::Any);
        assert!(!online("jane", &Recipients::Any) && online("joe", &Recipients::Any));
        assert!(matches!(two.next().await, Some(ConnectionEvent::Locked)));
        drop((one, two, joes));
        assert_eq!(connections.counts(), (0, 0));
    }

    #[tokio::test]
    async fn all_devices_of_a_locked_tenant_are_hung_up_on_and_no_others() {
        let connections = LocalNotifier::new(2);
        let mut theirs = ["jane", "joe"].map(|user| connect(&connections, user, 1, 5));
        let (beta, jane): (TenantName, UserName) =
            ("beta".parse().unwrap(), "jane".parse().unwrap());
        let device = DeviceId::try_from(1).unwrap();
        let other = connections.connect(&beta, &jane, device, ConnectionKind::Poll, Timestamp(5));
        connections.notify(Notification::DisconnectTenant("acme".parse().unwrap()));
        for one in &mut theirs {
            assert!(matches!(one.next().await, Some(ConnectionEvent::Locked)));
            assert!(one.next().await.is_none(), "nothing comes after that");
        }
        assert_eq!(connections.counts(), (1, 0));
        assert!(connections.online(&beta, &jane, &Recipients::Any, Timestamp(5)));
        drop((theirs, other));
        assert_eq!(connections.counts(), (0, 0));
    }

    #[test]
    fn a_connection_hears_that_the_server_stops_and_so_does_one_that_comes_later() {
        let connections = LocalNotifier::new(2);
        let mut before = connect(&connections, "jane", 1, 5);
        connections.stop();
        let mut later = connect(&connections, "joe", 2, 5);
        for one in [&mut before, &mut later] {
            let heard = one.next().now_or_never();
            assert!(matches!(heard, Some(Some(ConnectionEvent::Stopping))), "{heard:?}");
        }
        assert_eq!(connections.counts(), (2, 0), "they are connected until they close");
    }

    #[test]
    fn a_device_that_polls_is_online_between_its_polls_and_not_after_it_was_logged_out() {
        let connections = LocalNotifier::new(2);
        let (acme, jane): (TenantName, UserName) =
            ("acme".parse().unwrap(), "jane".parse().unwrap());
        let device = DeviceId::try_from(1).unwrap();
        let poll = |at| connections.connect(&acme, &jane, device, ConnectionKind::Poll, at);
        let online = |at| connections.online(&acme, &jane, &Recipients::Any, at);
        let is_connected = || connections.connected(&acme, &jane, &Recipients::Any);
        let (now, overdue) = (Timestamp(5), Timestamp(5) + POLL_GAP_MAX);
        poll(now).answered(now);
        assert!(online(now) && !online(overdue) && !is_connected());
        // The caller of this one hung up before the answer.
        drop(poll(overdue));
        assert!(!online(overdue));
        let last = poll(overdue);
        disconnect(&connections, "jane", Recipients::Any);
        last.answered(overdue);
        assert!(!online(overdue), "it was logged out before its poll was answered");
        poll(overdue).answered(overdue);
        disconnect(&connections, "jane", Recipients::Any);
        assert!(!online(overdue), "it was logged out between two polls");
        poll(overdue).answered(overdue);
        connections.notify(Notification::DisconnectTenant(acme.clone()));
        assert!(!online(overdue), "its tenant was locked");
    }

    #[test]
    fn when_a_device_came_is_remembered_after_it_has_gone_within_bounds() {
        let connections = LocalNotifier::new(2);
        let acme: TenantName = "acme".parse().unwrap();
        let seen = |device| connections.last_seen(&acme, DeviceId::try_from(device).unwrap());
        drop(connect(&connections, "jane", 1, 5));
        drop(connect(&connections, "jane", 1, 7));
        assert_eq!((seen(1), seen(2)), (Some(Timestamp(7)), None));
        for device in 0..SEEN_MAX as u64 {
            connections
                .0
                .seen
                .lock()
                .see((acme.clone(), DeviceId::drawn(u128::from(device) << 1)), Timestamp(9));
        }
        let seen = connections.0.seen.lock();
        assert!(seen.new.len() + seen.old.len() <= SEEN_MAX);
    }

    #[tokio::test]
    async fn a_client_that_may_have_two_waiting_callers_gets_no_third_until_one_leaves() {
        let connections = LocalNotifier::new(2);
        let (acme, shop) = ("acme".parse().unwrap(), "shop".parse().unwrap());
        let wait = |id| connections.wait(&acme, &shop, TransactionId(id));
        let (one, two) = (wait(1).unwrap(), wait(1).unwrap());
        assert_eq!(wait(2).err(), Some(TooMany));
        assert!(connections.wait(&acme, &"bank".parse().unwrap(), TransactionId(1)).is_ok());
        let one = one.turn_to(TransactionId(3)).unwrap();
        assert_eq!((one.id(), wait(2).err()), (TransactionId(3), Some(TooMany)));
        drop(two);
        assert!(wait(2).is_ok());
        drop(one);
        assert_eq!(connections.counts(), (0, 0));
    }
}
