//! Snapshots: a query's subject and its parts, read at one moment.

use countersign_core::id::TenantName;
use countersign_core::port::{Part, Query, QuerySubject, Snapshot};

use super::error::StoreError;
use super::{Sql, activation, contact, device, end_snapshot, tenant, transaction, user};
use crate::master_key::MasterKeys;

/// Whether one statement reads the snapshot, so that it needs no SQL transaction.
pub(crate) fn is_one_statement(query: Query<'_>) -> bool {
    let is_one = matches!(
        query.subject,
        QuerySubject::Tenant
            | QuerySubject::User(_)
            | QuerySubject::Device(_)
            | QuerySubject::Serial(_)
            | QuerySubject::Identity(_)
    );
    is_one && query.parts.is_empty()
}

/// Reads a snapshot.
pub(crate) async fn load(
    sql: &impl Sql,
    tenant: &TenantName,
    query: Query<'_>,
    keys: &MasterKeys,
) -> Result<Snapshot, StoreError> {
    let mut found = load_subject(sql, tenant, query.subject, keys).await?;
    for part in query.parts {
        load_part(sql, tenant, query.subject, *part, &mut found, keys).await?;
    }
    Ok(found)
}

/// What is read, for the message of a fault.
pub(crate) fn doing(query: Query<'_>) -> &'static str {
    match query.subject {
        QuerySubject::Tenant => "reading a tenant",
        QuerySubject::User(_) => "reading a user",
        QuerySubject::Device(_) => "reading a device",
        QuerySubject::Serial(_) => "finding a device",
        QuerySubject::Identity(_) => "finding an identity",
        QuerySubject::Transaction(_) => "loading a transaction",
        QuerySubject::End(_) => "reading what came of a transaction",
    }
}

/// Reads the subject.
async fn load_subject(
    sql: &impl Sql,
    tenant: &TenantName,
    subject: QuerySubject<'_>,
    keys: &MasterKeys,
) -> Result<Snapshot, StoreError> {
    let mut found = Snapshot::default();
    match subject {
        QuerySubject::Tenant => found.tenant = tenant::load(sql, tenant).await?,
        QuerySubject::User(name) => found.user = user::load(sql, tenant, name).await?,
        QuerySubject::Device(id) => found.device = device::load(sql, tenant, id, keys).await?,
        QuerySubject::Serial(serial) => {
            found.device = device::load_by_serial(sql, tenant, serial, keys).await?;
        }
        QuerySubject::Identity(id) => {
            found.device = device::load_by_identity(sql, tenant, id, keys).await?;
        }
        QuerySubject::Transaction(handle) => {
            found.transaction = transaction::load(sql, tenant, handle).await?;
        }
        QuerySubject::End(id) => found.end = end_snapshot::load(sql, tenant, id, keys).await?,
    }
    Ok(found)
}

/// Reads one part.
async fn load_part(
    sql: &impl Sql,
    tenant: &TenantName,
    subject: QuerySubject<'_>,
    part: Part<'_>,
    found: &mut Snapshot,
    keys: &MasterKeys,
) -> Result<(), StoreError> {
    let user = found.user_name(subject);
    match (part, user) {
        (Part::Tenant, _) => found.tenant = tenant::load(sql, tenant).await?,
        (Part::Transaction(handle), _) => {
            found.transaction = transaction::load(sql, tenant, handle).await?;
        }
        (Part::Contacts, _) => {
            if let Some(id) = found.transaction_id(subject) {
                found.contacts = contact::list(sql, tenant, id).await?;
            }
        }
        (Part::User, Some(name)) => found.user = user::load(sql, tenant, name).await?,
        (Part::Devices, Some(name)) => {
            found.devices = device::list_of_user(sql, tenant, name, keys).await?;
        }
        (Part::OpenOfClient(client), _) => {
            found.open = transaction::open_of_client(sql, tenant, client).await?;
        }
        (Part::Open, Some(name)) => found.open = transaction::open(sql, tenant, name).await?,
        (Part::Activations(now), Some(name)) => {
            found.activations = activation::list(sql, tenant, name, now, keys).await?;
        }
        (Part::User | Part::Devices | Part::Open | Part::Activations(_), None) => {}
    }
    Ok(())
}
