//! The port of the ledger, and the list of its methods.

use core::future::Future;

use super::{
    ApiKeyCursor, CertificateEnds, Claim, Claimed, Commit, Committed, Credential, CredentialKey,
    DeliveryCursor, DeviceCursor, DeviceFilter, DomainFilter, Due, Listed, OutboxEntry, Page,
    Presence, Purge, Query, Reader, Settle, Settled, Snapshot, TransactionCursor, Versioned,
};
use crate::device::Device;
use crate::event::RecordedEvent;
use crate::id::{ClientId, DeviceId, TenantName, TransactionId, UserName};
use crate::push_policy::PushSnapshot;
use crate::refusal::Fault;
use crate::tenant::{ApiKey, Client, TenantDomain};
use crate::time::Timestamp;
use crate::transaction::Transaction;
use crate::user::User;

/// The durable store of tenants, clients, users, devices, transactions, events and deliveries.
///
/// A call's writes are visible to every later read, on every node, after any crash, from the moment
/// the call is answered. Every read and write names its tenant, and reaches no other tenant's rows,
/// unless its description says otherwise. The adapter seals secrets at rest; in memory they are
/// `Secret`s.
///
/// The methods are few, so that an adapter is easy to write. Callers read through
/// [`Ledger::read`], which has a function for each thing that is read. `for_each_ledger_method!`
/// has the list of the methods, from which forwarding is generated.
pub trait Ledger: Send + Sync {
    /// Writes one unit of work, if everything on which it was decided still holds. The mark of a
    /// single-use signature is written with it and stays for good, whatever is removed later.
    fn commit(&self, commit: Commit) -> impl Future<Output = Result<Committed, Fault>> + Send;

    /// Reads the query's subject and parts, all at one moment.
    fn snapshot(
        &self,
        tenant: &TenantName,
        query: Query<'_>,
    ) -> impl Future<Output = Result<Snapshot, Fault>> + Send;

    /// Reads the snapshots on which pushes are decided, all at one moment: one for each pair of
    /// device and transaction, in the order of the pairs. `None` if there is no such device.
    fn push_snapshots(
        &self,
        who: &[(TenantName, DeviceId, TransactionId)],
    ) -> impl Future<Output = Result<Vec<Option<PushSnapshot>>, Fault>> + Send;

    /// Where the devices of a user are online, as the nodes that share this ledger have noted it.
    /// It is a hint, and empty if one node has the ledger alone.
    fn presence(
        &self,
        tenant: &TenantName,
        user: &UserName,
    ) -> impl Future<Output = Result<Vec<Presence>, Fault>> + Send;

    /// Finds the credential of a caller, in any tenant if the key names none.
    fn credential(
        &self,
        key: CredentialKey<'_>,
    ) -> impl Future<Output = Result<Option<Credential>, Fault>> + Send;

    /// Lists the transactions of one user or of all users, newest first. Evidence of removed
    /// transactions comes after all others.
    ///
    /// A transaction that retention removes during a walk over the pages may come again as
    /// evidence.
    fn transactions(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        page: Page<TransactionCursor>,
    ) -> impl Future<Output = Result<Listed<Versioned<Transaction>, TransactionCursor>, Fault>> + Send;

    /// Lists the devices that a filter selects, without retired ones, by user and sequence.
    fn devices(
        &self,
        tenant: &TenantName,
        filter: DeviceFilter<'_>,
        page: Page<DeviceCursor>,
    ) -> impl Future<Output = Result<Listed<Versioned<Device>, DeviceCursor>, Fault>> + Send;

    /// Lists the names of all tenants, in order.
    fn tenants(
        &self,
        page: Page<TenantName>,
    ) -> impl Future<Output = Result<Listed<TenantName, TenantName>, Fault>> + Send;

    /// Lists the domains that a filter selects, in order. A deleted tenant has none.
    fn domains(
        &self,
        filter: DomainFilter<'_>,
    ) -> impl Future<Output = Result<Vec<TenantDomain>, Fault>> + Send;

    /// Lists the clients of a tenant, by id.
    fn clients(
        &self,
        tenant: &TenantName,
        page: Page<ClientId>,
    ) -> impl Future<Output = Result<Listed<Client, ClientId>, Fault>> + Send;

    /// Lists the users of a tenant, by name.
    fn users(
        &self,
        tenant: &TenantName,
        page: Page<UserName>,
    ) -> impl Future<Output = Result<Listed<Versioned<User>, UserName>, Fault>> + Send;

    /// Lists the API keys that are valid for `tenant`, or all, oldest first.
    fn api_keys(
        &self,
        tenant: Option<&TenantName>,
        page: Page<ApiKeyCursor>,
    ) -> impl Future<Output = Result<Listed<ApiKey, ApiKeyCursor>, Fault>> + Send;

    /// Lists a tenant's unsettled deliveries, oldest first; only those that were given up, if so
    /// asked.
    fn deliveries(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        page: Page<DeliveryCursor>,
    ) -> impl Future<Output = Result<Listed<OutboxEntry, DeliveryCursor>, Fault>> + Send;

    /// Lists the events of a tenant, or of the whole server, in the order of their numbers. The
    /// cursor is an event's number.
    fn events(
        &self,
        tenant: Option<&TenantName>,
        page: Page<u64>,
    ) -> impl Future<Output = Result<Listed<RecordedEvent, u64>, Fault>> + Send;

    /// Finds at most `limit` open transactions of all tenants whose deadline is `now` or earlier,
    /// earliest first.
    fn due(&self, now: Timestamp, limit: u16) -> impl Future<Output = Result<Due, Fault>> + Send;

    /// Counts the certificates of the enabled identities of all tenants by their ends: those that
    /// have ended before `now`, and those that end between `now` and `until`. Those of retired
    /// devices do not count.
    fn certificate_ends(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<CertificateEnds, Fault>> + Send;

    /// Leases due deliveries of all tenants, within the capacity. No other node gets them before
    /// the lease ends. Each lease has its own number.
    ///
    /// [`crate::delivery::selection`] chooses them: each destination gets its share, and within a
    /// destination the earliest come first.
    fn claim(&self, claim: Claim) -> impl Future<Output = Result<Claimed, Fault>> + Send;

    /// Records what became of deliveries.
    fn settle(&self, settle: Settle) -> impl Future<Output = Result<Settled, Fault>> + Send;

    /// Removes at most `limit` rows of all tenants whose retention has passed, the oldest first,
    /// and answers how many.
    fn purge(&self, what: Purge, limit: u16) -> impl Future<Output = Result<u16, Fault>> + Send;

    /// The reads of this ledger, one function for each.
    fn read(&self) -> Reader<'_, Self>
    where
        Self: Sized,
    {
        Reader::new(self)
    }
}

/// Calls the macro `$forward` with all methods of [`Ledger`](crate::port::Ledger) that an adapter
/// implements: the name, the arguments, and the answer without its `Result`.
///
/// A wrapper of a ledger defines a macro that turns each line into a method, and calls it in its
/// `impl Ledger`.
#[macro_export]
macro_rules! for_each_ledger_method {
    ($forward:ident) => {
        $forward! {
            commit(commit: $crate::port::Commit) -> $crate::port::Committed;
            snapshot(tenant: &$crate::id::TenantName, query: $crate::port::Query<'_>)
                -> $crate::port::Snapshot;
            push_snapshots(
                who: &[($crate::id::TenantName, $crate::id::DeviceId, $crate::id::TransactionId)]
            ) -> Vec<Option<$crate::push_policy::PushSnapshot>>;
            presence(tenant: &$crate::id::TenantName, user: &$crate::id::UserName)
                -> Vec<$crate::port::Presence>;
            credential(key: $crate::port::CredentialKey<'_>) -> Option<$crate::port::Credential>;
            transactions(
                tenant: &$crate::id::TenantName,
                user: Option<&$crate::id::UserName>,
                page: $crate::port::Page<$crate::port::TransactionCursor>
            ) -> $crate::port::Listed<
                $crate::port::Versioned<$crate::transaction::Transaction>,
                $crate::port::TransactionCursor
            >;
            devices(
                tenant: &$crate::id::TenantName,
                filter: $crate::port::DeviceFilter<'_>,
                page: $crate::port::Page<$crate::port::DeviceCursor>
            ) -> $crate::port::Listed<
                $crate::port::Versioned<$crate::device::Device>,
                $crate::port::DeviceCursor
            >;
            tenants(page: $crate::port::Page<$crate::id::TenantName>)
                -> $crate::port::Listed<$crate::id::TenantName, $crate::id::TenantName>;
            domains(filter: $crate::port::DomainFilter<'_>) -> Vec<$crate::tenant::TenantDomain>;
            clients(
                tenant: &$crate::id::TenantName,
                page: $crate::port::Page<$crate::id::ClientId>
            ) -> $crate::port::Listed<$crate::tenant::Client, $crate::id::ClientId>;
            users(
                tenant: &$crate::id::TenantName,
                page: $crate::port::Page<$crate::id::UserName>
            ) -> $crate::port::Listed<
                $crate::port::Versioned<$crate::user::User>,
                $crate::id::UserName
            >;
            api_keys(
                tenant: Option<&$crate::id::TenantName>,
                page: $crate::port::Page<$crate::port::ApiKeyCursor>
            ) -> $crate::port::Listed<$crate::tenant::ApiKey, $crate::port::ApiKeyCursor>;
            deliveries(
                tenant: &$crate::id::TenantName,
                dead_letters: bool,
                page: $crate::port::Page<$crate::port::DeliveryCursor>
            ) -> $crate::port::Listed<$crate::port::OutboxEntry, $crate::port::DeliveryCursor>;
            events(tenant: Option<&$crate::id::TenantName>, page: $crate::port::Page<u64>)
                -> $crate::port::Listed<$crate::event::RecordedEvent, u64>;
            due(now: $crate::time::Timestamp, limit: u16) -> $crate::port::Due;
            certificate_ends(now: $crate::time::Timestamp, until: $crate::time::Timestamp)
                -> $crate::port::CertificateEnds;
            claim(claim: $crate::port::Claim) -> $crate::port::Claimed;
            settle(settle: $crate::port::Settle) -> $crate::port::Settled;
            purge(what: $crate::port::Purge, limit: u16) -> u16;
        }
    };
}
